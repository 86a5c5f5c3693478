package redlockd

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const (
	// Without a stream, a state is good for at least this long.
	doubtAfter = time.Second
	// The first state of a stream arrives within about a second, unless the daemon does not run.
	firstStateTimeout = 3 * time.Second
)

// HolderState says what is known of the holder of a key.
type HolderState int

const (
	StateHeld      HolderState = iota + 1 // a quorum of nodes names the same holder
	StateVacant                           // a quorum of nodes has no holder
	StateUndecided                        // neither could be confirmed: the key may be held
)

// String returns the name of the state, as in "HELD".
func (s HolderState) String() string {
	switch s {
	case StateHeld:
		return "HELD"
	case StateVacant:
		return "VACANT"
	case StateUndecided:
		return "UNDECIDED"
	}
	return ""
}

// KeyState is the state of a key at the time when the daemon reported it. The fields after State belong to StateHeld, if
// not stated otherwise.
type KeyState struct {
	State        HolderState
	Holders      int           // their number: more than 1 only if they share the key or if it is a semaphore
	Owner        string        // the label of the exclusive holder
	Value        string        // that the exclusive holder publishes; "": none
	FencingToken uint64        // of the holder, or the highest of the holders and of those before
	HeldFor      time.Duration // how long the exclusive holder has held the key; 0: unknown
	Remaining    time.Duration // until the lock expires unless it is extended. Extensions are not reported.
	HeldBy       []Holder      // in the order of their fencing tokens
	Shared       bool          // the holders share the key
	MaxHolders   int           // the limit of the semaphore; 0: the key is none
	KeptFor      time.Duration // of StateVacant: how long nobody will get the key. See Lock.ReleaseAndKeep and AcquireOptions.LockDelay.
	Message      string        // of StateUndecided: why, for people
}

// Holder is one holder of a key.
type Holder struct {
	Owner        string        // its label
	Identity     string        // who it is, as the daemon that granted the lock has authenticated it; "": unknown
	Peer         string        // the address from which the lock was acquired; "": unknown
	Daemon       string        // that granted the lock, as in "host-1:50051"
	FencingToken uint64        // see Lock.FencingToken
	Slot         int           // of the semaphore; 0: the key is none
	HeldFor      time.Duration // how long it has held the lock; 0: unknown
	Remaining    time.Duration // until the lock expires unless it is extended
	Value        string        // that it publishes; "": none
}

// same reports whether s says nothing new after other.
func (s KeyState) same(other KeyState) bool {
	return s.State == other.State && s.Holders == other.Holders && s.FencingToken == other.FencingToken &&
		s.Value == other.Value && s.Owner == other.Owner && (s.KeptFor > 0) == (other.KeptFor > 0) && slices.EqualFunc(s.HeldBy, other.HeldBy, func(a, b Holder) bool {
		return a.FencingToken == b.FencingToken && a.Slot == b.Slot && a.Value == b.Value && a.Owner == b.Owner
	})
}

// Observe reports who holds a key, and every change: the holder, its value, or that there is none. To observe begins with
// the loop and ends with it, with ctx, or when the client is closed.
//
//	for state, err := range client.Observe(ctx, "reports") {
//		if err != nil {
//			return err // always the last
//		}
//		fmt.Println(state.State, state.Value)
//	}
//
// The observer reconnects by itself, to other daemons too. If it has no connection for a second, and, after StateHeld, for
// what was left of KeyState.Remaining, it reports StateUndecided once, with the reason, and keeps trying. It ends with an
// error if a daemon refuses the call (ErrUnauthenticated, ErrPermissionDenied, ErrInvalidArgument, ErrUnimplemented), if
// ctx ends, or with ErrCanceled if the client is closed.
//
// No two reports in a row are the same, and the fencing tokens never decrease. A loop that is slow
// gets only the latest state. The states are for information: only a Lock, or storage that compares
// fencing tokens, can prove who holds a key. key is a single key, whether exclusive, Shared or a Semaphore.
func (c *Client) Observe(ctx context.Context, key string) iter.Seq2[KeyState, error] {
	return func(yield func(KeyState, error) bool) {
		o, err := c.observe(ctx, core.Key(key))
		if err != nil {
			yield(KeyState{}, err)
			return
		}
		defer o.cancel()
		for state := range o.reports {
			if !yield(state, nil) {
				return
			}
		}
		yield(KeyState{}, o.end)
	}
}

func (c *Client) observe(ctx context.Context, key core.Key) (*observer, error) {
	if err := checkObserved(key); err != nil {
		return nil, err
	}
	if !c.calls.enter(false) {
		return nil, closedError(key)
	}
	o := newObserver(ctx, c, key)
	go func() {
		defer c.calls.leave()
		c.calls.follow(o.ctx, o.stream)
	}()
	go o.run()
	return o, nil
}

// observer is one loop over Client.Observe. One goroutine follows the streams and another, run, decides what is reported.
// The fields of the last group belong to the latter.
type observer struct {
	client   *Client
	key      core.Key
	ctx      context.Context
	cancel   context.CancelFunc
	messages chan *pb.ObserveResponse
	failures chan *core.Failure // why a stream has ended
	reports  chan KeyState      // for the loop. When it is closed, end is set.
	end      error

	reported   KeyState // the last that the loop has received
	pending    KeyState // that the loop has yet to receive
	fences     fences
	heldUntil  core.Instant  // the end of the remaining time of the last state, if the key was held
	doubtful   *core.Failure // why there is no decided state from a stream; nil: there is one
	doubtTimer *time.Timer   // runs while the last state may still be good although doubtful is set
}

func newObserver(ctx context.Context, c *Client, key core.Key) *observer {
	o := &observer{client: c, key: key, messages: make(chan *pb.ObserveResponse), failures: make(chan *core.Failure),
		reports: make(chan KeyState), doubtTimer: time.NewTimer(doubtAfter),
		doubtful: &core.Failure{Reason: core.Unreachable, Message: "no daemon has answered yet"}}
	o.ctx, o.cancel = c.untilClosed(ctx)
	return o
}

// fences is the highest fencing tokens that were seen: of exclusive holders, and of all.
type fences struct{ exclusive, any uint64 }

// pass reports whether a state may follow those before. An exclusive holder follows all holders. The holders of shares and
// slots follow only the exclusive ones: when one of them leaves, the highest fencing token of the others may be lower. The
// state then keeps the higher one, as within a stream of the daemon.
func (f *fences) pass(s *KeyState) bool {
	switch several := s.Shared || s.MaxHolders != 0; {
	case s.State != StateHeld:
		return true
	case several && s.FencingToken < f.exclusive, !several && s.FencingToken < f.any:
		return false
	case !several:
		f.exclusive = s.FencingToken
	}
	f.any = max(f.any, s.FencingToken)
	s.FencingToken = f.any
	return true
}

func (o *observer) stream(endpoint int) (more bool) {
	failure := o.receive(endpoint)
	if o.ctx.Err() != nil { // it says nothing about the key
		return false
	}
	failure.Message = o.client.calls.transport.name(endpoint) + ": " + failure.Message
	select {
	case o.failures <- failure:
	case <-o.ctx.Done():
	}
	return !failure.Final()
}

// receive receives states from one endpoint until the stream ends.
func (o *observer) receive(endpoint int) *core.Failure {
	// Without the caller's deadline: the daemon could end the stream shortly before it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(o.ctx))
	defer cancel()
	defer context.AfterFunc(o.ctx, cancel)()
	authorized, stub, failure := o.client.calls.open(ctx, endpoint)
	if failure != nil {
		return failure
	}
	name, _ := o.key.Fields()
	stream, err := stub.Observe(authorized, &pb.ObserveRequest{Key: name})
	if err != nil {
		return brokenBy(err)
	}
	silence := time.AfterFunc(firstStateTimeout, cancel)
	defer silence.Stop()
	for first := true; ; first = false {
		message, err := stream.Recv()
		switch inTime := silence.Stop() || !first; {
		case err != nil && !inTime:
			return &core.Failure{Reason: core.Unreachable, Message: "the daemon does not report a state"}
		case err != nil:
			return brokenBy(err)
		}
		select {
		case o.messages <- message:
		case <-ctx.Done():
		}
	}
}

func (o *observer) run() {
	defer close(o.reports)
	defer o.doubtTimer.Stop()
	for {
		var reports chan KeyState // blocks while nothing is pending
		if o.pending.State != 0 {
			reports = o.reports
		}
		select {
		case reports <- o.pending:
			o.reported, o.pending = o.pending, KeyState{}
		case message := <-o.messages:
			o.onState(stateOf(message))
		case failure := <-o.failures:
			if failure.Final() {
				o.end = errorOf(o.key, failure)
				return
			}
			o.doubt(failure)
		case <-o.doubtTimer.C:
			o.report(KeyState{State: StateUndecided, Message: o.doubtful.Message})
		case <-o.ctx.Done():
			o.end = o.ended()
			return
		}
	}
}

func (o *observer) onState(s KeyState) {
	if !o.fences.pass(&s) {
		o.doubt(&core.Failure{Reason: core.QuorumUnavailable, Message: "a daemon has reported a fencing token that is lower than one before"})
		return
	}
	o.doubtTimer.Stop()
	o.doubtful, o.heldUntil = nil, 0
	switch s.State {
	case StateHeld:
		o.heldUntil = o.client.calls.clock().Add(s.Remaining)
	case StateUndecided:
		o.doubtful = &core.Failure{Reason: core.QuorumUnavailable, Message: s.Message}
	}
	o.report(s)
}

// doubt notes why there is no state from a stream. The timer runs from the first time on.
func (o *observer) doubt(failure *core.Failure) {
	if o.doubtful == nil {
		o.doubtTimer.Reset(max(doubtAfter, o.heldUntil.Sub(o.client.calls.clock())))
	}
	o.doubtful = failure
}

// report replaces a state that the loop has not received yet.
func (o *observer) report(s KeyState) {
	if s.same(o.reported) {
		s = KeyState{}
	}
	o.pending = s
}

// ended returns why the loop ends, after the caller's context or the client has ended it.
func (o *observer) ended() error {
	switch {
	case o.client.ctx.Err() != nil:
		return closedError(o.key)
	case o.ctx.Err() == context.DeadlineExceeded && o.doubtful != nil:
		return errorOf(o.key, o.doubtful).because(o.ctx)
	}
	return endedBy(o.ctx, o.key, "the deadline has passed")
}

func stateOf(message *pb.ObserveResponse) KeyState {
	s := KeyState{State: StateUndecided, Holders: int(message.GetHolders()), Owner: message.GetOwner(), Value: message.GetValue(),
		FencingToken: message.GetFencingToken(), HeldFor: message.GetHeldFor().AsDuration(), Remaining: message.GetRemaining().AsDuration(),
		Shared: message.GetMode() == pb.LockMode_LOCK_MODE_SHARED, MaxHolders: int(message.GetMaxHolders()),
		KeptFor: message.GetKeptFor().AsDuration(), Message: message.GetMessage()}
	switch message.GetState() {
	case pb.HolderState_HOLDER_STATE_HELD:
		s.State = StateHeld
	case pb.HolderState_HOLDER_STATE_VACANT:
		s.State = StateVacant
	}
	for _, h := range message.GetHeldBy() {
		s.HeldBy = append(s.HeldBy, Holder{Owner: h.GetOwner(), Identity: h.GetIdentity(), Peer: h.GetPeer(), Daemon: h.GetDaemon(),
			FencingToken: h.GetFencingToken(), Slot: int(h.GetSlot()), HeldFor: h.GetHeldFor().AsDuration(),
			Remaining: h.GetRemaining().AsDuration(), Value: h.GetValue()})
	}
	return s
}
