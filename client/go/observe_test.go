package redlockd

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// observation is one call of Observe at a fakeDaemon.
type observation struct {
	key  string
	send chan *pb.ObserveResponse
	end  chan error
	over <-chan struct{} // closed once the client has ended the call
}

func (d *fakeDaemon) Observe(r *pb.ObserveRequest, stream pb.LockService_ObserveServer) error {
	o := &observation{key: r.Key, send: make(chan *pb.ObserveResponse), end: make(chan error), over: stream.Context().Done()}
	d.mutex.Lock()
	refuse := d.refuse
	d.mutex.Unlock()
	if refuse != codes.OK {
		d.observers <- o
		return status.Error(refuse, "refused by the test")
	}
	d.observers <- o
	for {
		select {
		case message := <-o.send:
			if err := stream.Send(message); err != nil {
				return err
			}
		case err := <-o.end:
			return err
		case <-o.over:
			return nil
		}
	}
}

func reported(reason string, code codes.Code) error {
	failure, _ := status.New(code, "reported by the test").WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: errorDomain})
	return failure.Err()
}

func heldState(fence uint64, value string) *pb.ObserveResponse {
	return &pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_HELD, Holders: 1, Owner: "one", Value: value, FencingToken: fence}
}

var (
	vacantState    = &pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_VACANT}
	undecidedState = &pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_UNDECIDED, Message: "two nodes are silent"}
)

// reader runs a loop over an observer. Its body lasts until the test asks for the next state.
type reader struct {
	reports chan report
	proceed chan struct{}
	quit    chan struct{} // ends the loop
	inBody  bool
}

type report struct {
	state KeyState
	err   error
}

func observe(ctx context.Context, t *testing.T, c *Client, key string) *reader {
	r := &reader{reports: make(chan report), proceed: make(chan struct{}), quit: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	go func() {
		defer close(r.reports)
		for state, err := range c.Observe(ctx, key) {
			select {
			case r.reports <- report{state, err}:
			case <-t.Context().Done():
				return
			}
			select {
			case <-r.proceed:
			case <-r.quit:
				return
			case <-t.Context().Done():
				return
			}
		}
	}()
	return r
}

// next returns what the loop gets next; false: the loop is over.
func (r *reader) next(t *testing.T) (report, bool) {
	t.Helper()
	if r.inBody {
		r.proceed <- struct{}{}
	}
	select {
	case next, more := <-r.reports:
		r.inBody = more
		return next, more
	case <-time.After(30 * time.Second):
		t.Fatal("the observer reports nothing")
		return report{}, false
	}
}

func (r *reader) sees(t *testing.T, state HolderState, fence uint64, value string) KeyState {
	t.Helper()
	next, more := r.next(t)
	if state != StateUndecided && next.state.Message == "no daemon has answered yet" { // the machine is busy
		next, more = r.next(t)
	}
	if s := next.state; next.err != nil || !more || s.State != state || s.FencingToken != fence || s.Value != value {
		t.Fatalf("%v %+v", more, next)
	}
	return next.state
}

// ends reads the error, which is the last report.
func (r *reader) ends(t *testing.T, targets ...error) error {
	t.Helper()
	next, _ := r.next(t)
	is(t, next.err, targets...)
	if last, more := r.next(t); more {
		t.Fatalf("after the error: %+v", last)
	}
	return next.err
}

// noObserverIsLeft waits until no goroutine of an observer runs.
func noObserverIsLeft(t *testing.T, c *Client) {
	t.Helper()
	eventually(t, "all goroutines have ended", func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		c.calls.mutex.Lock()
		defer c.calls.mutex.Unlock()
		return !strings.Contains(string(stacks), "(*observer)") && c.calls.users == 0
	})
}

func TestAnObserverReportsEachChange(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	for _, key := range []string{"k", Shared("k"), Semaphore("k", 3), Slot("k", 3, 1)} {
		r := observe(soon(t), t, c, key)
		o := <-d.observers
		if o.key != "k" {
			t.Fatalf("%q is observed", o.key)
		}
		o.send <- vacantState
		r.sees(t, StateVacant, 0, "")
		o.send <- heldState(7, "a")
		r.sees(t, StateHeld, 7, "a")
		o.send <- heldState(7, "b")
		r.sees(t, StateHeld, 7, "b")
		o.send <- undecidedState
		if s := r.sees(t, StateUndecided, 0, ""); s.Message != "two nodes are silent" {
			t.Fatal(s)
		}
		o.send <- heldState(7, "b")
		r.sees(t, StateHeld, 7, "b")
		close(r.quit)
	}
	noObserverIsLeft(t, c)
}

func TestTheEndOfAKeptKeyIsReported(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	r := observe(soon(t), t, c, "k")
	o := <-d.observers
	o.send <- &pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_VACANT, KeptFor: durationpb.New(2 * time.Minute)}
	if s := r.sees(t, StateVacant, 0, ""); s.KeptFor != 2*time.Minute {
		t.Fatal(s)
	}
	o.send <- &pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_VACANT, KeptFor: durationpb.New(time.Minute)} // not reported
	o.send <- vacantState
	if s := r.sees(t, StateVacant, 0, ""); s.KeptFor != 0 {
		t.Fatal(s)
	}
	close(r.quit)
	noObserverIsLeft(t, c)
}

func TestAStateHasAllThatTheDaemonReports(t *testing.T) {
	got := stateOf(&pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_HELD, Holders: 2, Owner: "o", Value: "v", FencingToken: 9,
		HeldFor: durationpb.New(1), Remaining: durationpb.New(2), Mode: pb.LockMode_LOCK_MODE_SHARED, MaxHolders: 3,
		KeptFor: durationpb.New(4), Message: "m", HeldBy: []*pb.Holder{{Owner: "ho", Identity: "hi", Peer: "hp", Daemon: "hd",
			HeldFor: durationpb.New(5), FencingToken: 8, Slot: 2, Remaining: durationpb.New(6), Value: "hv"}}})
	want := KeyState{State: StateHeld, Holders: 2, Owner: "o", Value: "v", FencingToken: 9, HeldFor: 1, Remaining: 2, Shared: true,
		MaxHolders: 3, KeptFor: 4, Message: "m", HeldBy: []Holder{{Owner: "ho", Identity: "hi", Peer: "hp", Daemon: "hd",
			HeldFor: 5, FencingToken: 8, Slot: 2, Remaining: 6, Value: "hv"}}}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v", got)
	}
	for state, text := range map[HolderState]string{StateHeld: "HELD", StateVacant: "VACANT", StateUndecided: "UNDECIDED", 0: ""} {
		if state.String() != text {
			t.Error(state)
		}
	}
	if s := stateOf(&pb.ObserveResponse{State: 99}); s.State != StateUndecided {
		t.Error("a state that is not known yet is ", s.State)
	}
}

func TestAnObserverMovesToAnotherDaemonAndRepeatsNothing(t *testing.T) {
	first, second := startDaemon(t), startDaemon(t)
	c := newTestClient(t, Options{}, first, second)
	r := observe(soon(t), t, c, "k")
	o := <-first.observers
	o.send <- heldState(7, "a")
	r.sees(t, StateHeld, 7, "a")
	for i, end := range []error{status.Error(codes.Unavailable, "broken"), reported(Draining, codes.Unavailable),
		reported(Overloaded, codes.ResourceExhausted), nil} {
		o.end <- end
		o = <-[]*fakeDaemon{second, first}[i%2].observers
		o.send <- heldState(7, "a")
	}
	o.send <- heldState(7, "b")
	r.sees(t, StateHeld, 7, "b")
	other := heldState(7, "b")
	other.Owner = "two"
	o.send <- other
	r.sees(t, StateHeld, 7, "b")
	other = heldState(7, "b")
	other.Owner, other.HeldBy = "two", []*pb.Holder{{FencingToken: 7, Value: "c"}}
	o.send <- other
	r.sees(t, StateHeld, 7, "b")
}

func TestFencingTokensNeverGoBackwards(t *testing.T) {
	first, second := startDaemon(t), startDaemon(t)
	c := newTestClient(t, Options{}, first, second)
	r := observe(soon(t), t, c, "k")
	o := <-first.observers
	o.send <- heldState(7, "a")
	r.sees(t, StateHeld, 7, "a")
	o.end <- nil
	o = <-second.observers
	o.send <- heldState(6, "stale")
	if s := r.sees(t, StateUndecided, 0, ""); !strings.Contains(s.Message, "lower") {
		t.Fatal(s)
	}
	o.send <- heldState(7, "a")
	r.sees(t, StateHeld, 7, "a")
	shares := &pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_HELD, Holders: 2, Mode: pb.LockMode_LOCK_MODE_SHARED, FencingToken: 9}
	o.send <- shares
	r.sees(t, StateHeld, 9, "")
	one := &pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_HELD, Holders: 1, Mode: pb.LockMode_LOCK_MODE_SHARED, FencingToken: 8}
	o.send <- one // the second holder has released its share
	if s := r.sees(t, StateHeld, 9, ""); s.Holders != 1 {
		t.Fatal(s)
	}
	one = &pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_HELD, Holders: 1, Mode: pb.LockMode_LOCK_MODE_SHARED, FencingToken: 6}
	o.send <- one // from before the exclusive holder
	r.sees(t, StateUndecided, 0, "")
	o.send <- heldState(8, "stale") // from before the second share
	o.send <- vacantState
	r.sees(t, StateVacant, 0, "")
	slot := &pb.ObserveResponse{State: pb.HolderState_HOLDER_STATE_HELD, Holders: 1, MaxHolders: 3, FencingToken: 8}
	o.send <- slot
	if s := r.sees(t, StateHeld, 9, ""); s.MaxHolders != 3 {
		t.Fatal(s)
	}
}

func TestAnOutageIsReportedOnce(t *testing.T) {
	d := startDaemon(t)
	d.set(func() { d.refuse = codes.Unavailable })
	c := newTestClient(t, Options{}, d)
	r := observe(soon(t), t, c, "k")
	isUndecided := func() {
		t.Helper()
		if s := r.sees(t, StateUndecided, 0, ""); !strings.Contains(s.Message, d.address+": refused by the test") {
			t.Fatal(s)
		}
	}
	connected := func() *observation {
		d.set(func() { d.refuse = codes.OK })
		for {
			select {
			case o := <-d.observers:
				select {
				case <-o.over: // it was refused
				case <-time.After(100 * time.Millisecond):
					return o
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the observer does not retry")
			}
		}
	}
	isUndecided() // at the start
	for range 10 {
		<-d.observers
	}
	o := connected()
	o.send <- vacantState
	r.sees(t, StateVacant, 0, "") // UNDECIDED is not repeated
	d.set(func() { d.refuse = codes.Unavailable })
	o.end <- nil
	isUndecided()

	held := heldState(7, "a")
	held.Remaining = durationpb.New(1700 * time.Millisecond)
	o = connected()
	begun := time.Now()
	o.send <- held
	r.sees(t, StateHeld, 7, "a")
	d.set(func() { d.refuse = codes.Unavailable })
	o.end <- nil
	isUndecided()
	if took := time.Since(begun); took < 1700*time.Millisecond {
		t.Fatalf("undecided after %v", took)
	}

	o = connected()
	o.send <- vacantState
	r.sees(t, StateVacant, 0, "")
	o.send <- undecidedState
	r.sees(t, StateUndecided, 0, "")
	o.end <- nil // the key is still undecided
	o = connected()
	o.send <- vacantState
	r.sees(t, StateVacant, 0, "")
}

func TestAShortBreakIsNotReported(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	r := observe(soon(t), t, c, "k")
	o := <-d.observers
	held := heldState(7, "a")
	held.Remaining = durationpb.New(20 * time.Millisecond) // extensions are not reported
	o.send <- held
	r.sees(t, StateHeld, 7, "a")
	time.Sleep(50 * time.Millisecond)
	o.end <- nil
	o = <-d.observers
	o.send <- held
	o.send <- heldState(8, "b")
	r.sees(t, StateHeld, 8, "b")
	time.Sleep(1200 * time.Millisecond) // longer than the patience with the start and the break
	o.send <- heldState(9, "c")
	r.sees(t, StateHeld, 9, "c")
}

func TestADaemonThatReportsNoStateIsLeft(t *testing.T) {
	first, second := startDaemon(t), startDaemon(t)
	c := newTestClient(t, Options{}, first, second)
	r := observe(soon(t), t, c, "k")
	silent := <-first.observers
	r.sees(t, StateUndecided, 0, "")
	o := <-second.observers
	<-silent.over
	o.send <- vacantState
	r.sees(t, StateVacant, 0, "")
}

func TestASlowReaderGetsTheLatestState(t *testing.T) {
	c := newTestClient(t, Options{}, startDaemon(t))
	o := newObserver(soon(t), c, "k")
	defer o.cancel()
	go o.run()
	for fence := range uint64(100) {
		o.messages <- heldState(fence, "")
	}
	if s := <-o.reports; s.FencingToken != 99 {
		t.Fatal(s)
	}
	o.messages <- vacantState
	o.messages <- heldState(99, "") // what the reader knows
	o.messages <- heldState(99, "")
	select {
	case s := <-o.reports:
		t.Fatal(s)
	case <-time.After(50 * time.Millisecond):
	}
	o.messages <- undecidedState
	o.messages <- vacantState
	if s := <-o.reports; s.State != StateVacant {
		t.Fatal(s)
	}
}

func TestARefusalEndsTheObserver(t *testing.T) {
	first, second := startDaemon(t), startDaemon(t)
	c := newTestClient(t, Options{}, first, second)
	for code, target := range map[codes.Code]error{codes.Unauthenticated: ErrUnauthenticated, codes.PermissionDenied: ErrPermissionDenied,
		codes.InvalidArgument: ErrInvalidArgument, codes.Unimplemented: ErrUnimplemented} {
		first.set(func() { first.refuse = code })
		err := observe(soon(t), t, c, "k").ends(t, target)
		if !strings.Contains(err.Error(), "k: "+first.address+": refused by the test") {
			t.Error(err)
		}
		first.set(func() { first.refuse = codes.OK })
		r := observe(soon(t), t, c, "k")
		for o := range first.observers {
			select {
			case <-o.over:
				continue
			case o.send <- vacantState:
			}
			r.sees(t, StateVacant, 0, "")
			o.end <- status.Error(code, "refused during the stream")
			break
		}
		r.ends(t, target)
	}
	if len(second.observers) != 0 {
		t.Error("the observer has asked another daemon")
	}
	noObserverIsLeft(t, c)
}

func TestOnlyOneKeyIsObserved(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	for _, key := range []string{"", "redlockd:x", "\xff", Together("a", "b"), Shared(Together("a", "b")), Semaphore("k", 1)} {
		observe(soon(t), t, c, key).ends(t, ErrInvalidArgument)
	}
	if len(d.observers) != 0 {
		t.Error("a call was made")
	}
}

// The loop, its context or the client end an observer, whatever it does at this time.
func TestAnObserverEndsAtOnce(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, d *fakeDaemon, r *reader) *observation{
		"before the first state": func(_ *testing.T, d *fakeDaemon, r *reader) *observation {
			return nil
		},
		"after a state": func(t *testing.T, d *fakeDaemon, r *reader) *observation {
			o := <-d.observers
			o.send <- vacantState
			r.sees(t, StateVacant, 0, "")
			return o
		},
		"with a state that is not read": func(t *testing.T, d *fakeDaemon, r *reader) *observation {
			o := <-d.observers
			o.send <- vacantState
			r.sees(t, StateVacant, 0, "")
			o.send <- heldState(1, "")
			return o
		},
		"undecided, between two tries": func(t *testing.T, d *fakeDaemon, r *reader) *observation {
			d.server.Stop()
			r.sees(t, StateUndecided, 0, "")
			return nil
		},
	} {
		for _, by := range []string{"loop", "context", "client"} {
			t.Run(name+" by the "+by, func(t *testing.T) {
				d := startDaemon(t)
				c := newTestClient(t, Options{}, d)
				ctx, cancel := context.WithCancelCause(soon(t))
				defer cancel(nil)
				cause := errors.New("the reason of the caller")
				r := observe(ctx, t, c, "k")
				o := begin(t, d, r)
				switch by {
				case "loop":
					if !r.inBody {
						t.Skip("the loop waits for a state")
					}
					close(r.quit)
				case "context":
					cancel(cause)
					r.last(t, ErrCanceled, context.Canceled, cause)
				case "client":
					c.Close()
					if err := r.last(t, ErrCanceled); !strings.Contains(err.Error(), "k: the client was closed") {
						t.Error(err)
					}
					observe(soon(t), t, c, "k").ends(t, ErrCanceled)
				}
				if o != nil {
					<-o.over
				}
				noObserverIsLeft(t, c)
			})
		}
	}
}

// last reads up to the error.
func (r *reader) last(t *testing.T, targets ...error) error {
	t.Helper()
	for {
		if next, more := r.next(t); next.err != nil || !more {
			is(t, next.err, targets...)
			return next.err
		}
	}
}

func TestTheDeadlineOfAnObserverNamesTheOutage(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	ctx, cancel := context.WithTimeout(background, 3*time.Second)
	defer cancel()
	r := observe(ctx, t, c, "k")
	go func() { (<-d.observers).send <- vacantState }()
	r.sees(t, StateVacant, 0, "")
	r.ends(t, ErrTimeout, context.DeadlineExceeded)
	d.server.Stop()
	ctx, cancel = context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	err := observe(ctx, t, c, "k").ends(t, ErrUnreachable, context.DeadlineExceeded)
	if !strings.Contains(err.Error(), d.address) {
		t.Error(err)
	}
}

func TestThePanicOfALoopEndsItsObserver(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	go func() { (<-d.observers).send <- vacantState }()
	func() {
		defer func() { _ = recover() }()
		for range c.Observe(soon(t), "k") {
			panic("the loop")
		}
	}()
	noObserverIsLeft(t, c)
}
