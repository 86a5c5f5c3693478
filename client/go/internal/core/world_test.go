package core

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const (
	testGrace = 4 * time.Second
	testTTL   = 30 * time.Second
	// The daemon's clock has another epoch.
	daemonAhead = 1000 * time.Hour
)

// world is a machine with a recording host, and with daemons that the test simulates.
type world struct {
	t         *testing.T
	m         *Machine
	now       Instant
	opened    []int // the endpoint of each session, from number 1 on
	cancelled map[uint64]bool
	tokens    int
	suspended bool
}

func newWorld(t *testing.T, endpoints int) *world {
	w := &world{t: t, now: Instant(time.Hour), cancelled: map[uint64]bool{}}
	w.m = New(Config{Endpoints: endpoints, Grace: testGrace}, w, w.now)
	return w
}

func (w *world) Open(session uint64, endpoint int) {
	w.opened = append(w.opened, endpoint)
	if session != uint64(len(w.opened)) {
		w.t.Fatalf("session %d opened as number %d", session, len(w.opened))
	}
}
func (w *world) Cancel(session uint64) { w.cancelled[session] = true }
func (w *world) Jitter() float64       { return 1 }
func (w *world) OnReady(int)           {}

func (w *world) OnEnded(int, bool, *Failure) {}

func (w *world) NewToken() string {
	w.tokens++
	return fmt.Sprintf("rl-%d", w.tokens)
}

// session is the number of the last Session.
func (w *world) session() uint64 { return uint64(len(w.opened)) }

// pass lets time pass with a driver that is never late.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	until := w.now.Add(d)
	for w.m.NextWake() <= until {
		w.now = later(w.now, w.m.NextWake())
		w.m.Tick(w.now)
	}
	w.now = until
	w.m.Tick(w.now)
}

// holdUp lets time pass while the driver does not run.
func (w *world) holdUp(d time.Duration) { w.now = w.now.Add(d) }

// suspend lets time pass while the computer is suspended.
func (w *world) suspend(d time.Duration) {
	w.holdUp(d)
	w.suspended = true
}

func (w *world) Suspended() bool {
	suspended := w.suspended
	w.suspended = false
	return suspended
}

// sent takes all operations that the machine wants to send.
func (w *world) sent() []*pb.SessionOperation {
	var all []*pb.SessionOperation
	for {
		message := w.m.TakeMessage(w.now, w.session())
		if message == nil {
			return all
		}
		all = append(all, message.Operations...)
	}
}

// namesOf returns the key of a message that does not say how the key is locked.
func namesOf(message interface {
	GetKey() string
	GetKeys() []string
}) Key {
	return KeyOf(&pb.Lease{Key: message.GetKey(), Keys: message.GetKeys()})
}

// kinds describes operations: "acquire k rl-1".
func kinds(operations []*pb.SessionOperation) []string {
	all := []string{}
	for _, o := range operations {
		switch x := o.Operation.(type) {
		case *pb.SessionOperation_Acquire:
			kind := "acquire"
			if x.Acquire.ExtendIfHeld {
				kind = "reacquire"
			}
			all = append(all, fmt.Sprintf("%s %s %s", kind, KeyOf(x.Acquire), x.Acquire.GetToken()))
		case *pb.SessionOperation_Extend:
			all = append(all, fmt.Sprintf("extend %s %s", KeyOf(x.Extend), x.Extend.Token))
		case *pb.SessionOperation_Release:
			all = append(all, fmt.Sprintf("release %s %s", namesOf(x.Release), x.Release.Token))
		case *pb.SessionOperation_GiveUp:
			all = append(all, fmt.Sprintf("give up %s %s", namesOf(x.GiveUp), x.GiveUp.Token))
		case *pb.SessionOperation_Adopt:
			all = append(all, fmt.Sprintf("adopt %s %s #%d", KeyOf(x.Adopt), x.Adopt.Token, x.Adopt.GetSequence()))
		case *pb.SessionOperation_Cancel:
			all = append(all, fmt.Sprintf("cancel %d", o.Id))
		case *pb.SessionOperation_Ping:
			all = append(all, "ping")
		case *pb.SessionOperation_Close:
			all = append(all, "close")
		}
	}
	return all
}

func (w *world) expect(operations []*pb.SessionOperation, want ...string) []*pb.SessionOperation {
	w.t.Helper()
	got := kinds(operations)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Fatalf("sent %q, not %q", got, want)
	}
	return operations
}

// message returns a message that the daemon makes now.
func (w *world) message(results ...*pb.SessionResult) *pb.SessionResponse {
	return &pb.SessionResponse{Results: results, Clock: durationpb.New(time.Duration(w.now) + daemonAhead)}
}

func (w *world) reply(results ...*pb.SessionResult) {
	w.m.OnMessage(w.now, w.session(), w.message(results...))
}

func (w *world) event(kind pb.EventType, key Key, token string, validity time.Duration) {
	message := w.message()
	message.Events = []*pb.WatchResponse{eventOf(kind, lease(key, token, 0, validity))}
	w.m.OnMessage(w.now, w.session(), message)
}

func ok(o *pb.SessionOperation) *pb.SessionResult { return &pb.SessionResult{Id: o.Id} }

func failed(o *pb.SessionOperation, reason string) *pb.SessionResult {
	return &pb.SessionResult{Id: o.Id, Status: &pb.OperationStatus{Code: 1, Reason: reason, Message: "because"}}
}

// lease takes the key with the slot of a semaphore.
func lease(key Key, token string, fence uint64, validity time.Duration) *pb.Lease {
	one, several := key.Fields()
	slot, _ := key.Slot()
	return &pb.Lease{Key: one, Keys: several, Mode: key.Mode(), MaxHolders: int32(key.MaxHolders()), Slot: int32(slot), Token: token, FencingToken: fence, Validity: durationpb.New(validity)}
}

// granted answers an acquire, an adopt or an extend. A token has slot 2 of a semaphore unless the operation names another.
func granted(o *pb.SessionOperation, fence uint64, validity time.Duration) *pb.SessionResult {
	key, token, slot := KeyOf(o.GetAcquire()), o.GetAcquire().GetToken(), int32(0)
	if x := o.GetAdopt(); x != nil {
		key, token, slot = KeyOf(x), x.Token, x.Slot
	}
	if x := o.GetExtend(); x != nil {
		key, token, slot = KeyOf(x), x.Token, x.Slot
	}
	if slot == 0 {
		slot = 2
	}
	return &pb.SessionResult{Id: o.Id, Lease: lease(key.InSlot(int(slot)), token, fence, validity)}
}

// getReady answers the first ping and returns the operations that follow it.
func (w *world) getReady() []*pb.SessionOperation {
	w.t.Helper()
	first := w.m.TakeMessage(w.now, w.session())
	if first == nil || len(first.Operations) != 1 || first.Operations[0].GetPing() == nil {
		w.t.Fatalf("the first message is %v", first)
	}
	if first.DisconnectGrace.AsDuration() != testGrace {
		w.t.Fatalf("the grace is %v", first.DisconnectGrace)
	}
	w.reply(ok(first.Operations[0]))
	return w.sent()
}

// user is a caller of Acquire.
type user struct {
	acquisition *Acquisition
	lease       *Lease
	failure     *Failure
	done        int
	losses      int
	loss        *Failure
	positions   []int
}

func (w *world) acquire(what Acquire) *user {
	u := &user{}
	if what.TTL == 0 {
		what.TTL = testTTL
	}
	if what.Margin == 0 {
		what.Margin = DefaultMargin(what.TTL, testGrace)
	}
	what.Done = func(l *Lease, f *Failure) { u.lease, u.failure, u.done = l, f, u.done+1 }
	what.Queued = func(position int) { u.positions = append(u.positions, position) }
	what.Lost = func(f *Failure) { u.losses++; u.loss = f }
	u.acquisition = w.m.Acquire(w.now, what)
	return u
}

// hold acquires a lock on the current Session.
func (w *world) hold(key Key) *user {
	w.t.Helper()
	u := w.acquire(Acquire{Key: key})
	w.reply(granted(w.sent()[0], 7, testTTL))
	if u.lease == nil {
		w.t.Fatalf("not granted: %v", u.failure)
	}
	return u
}

func (w *world) breakOff() {
	w.m.OnBroken(w.now, w.session(), &Failure{Reason: Unreachable, Message: "reset"})
}

// outcome collects what Release, Extend and Close report.
type outcome struct {
	done    int
	failure *Failure
}

func (o *outcome) on(f *Failure) { o.done, o.failure = o.done+1, f }

func (o *outcome) reason() string {
	switch {
	case o.done == 0:
		return "pending"
	case o.failure == nil:
		return "OK"
	}
	return o.failure.Reason
}

func (w *world) release(u *user) *outcome {
	o := &outcome{}
	w.m.Release(w.now, u.lease, 0, o.on)
	return o
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v, not %v", what, got, want)
	}
}

const extended = pb.EventType_EVENT_TYPE_EXTENDED

func extendedEvent(key Key, token string, validity time.Duration) *pb.WatchResponse {
	return eventOf(extended, lease(key, token, 0, validity))
}

func eventOf(kind pb.EventType, lease *pb.Lease) *pb.WatchResponse {
	return &pb.WatchResponse{Type: kind, Key: lease.Key, Keys: lease.Keys, Mode: lease.Mode,
		MaxHolders: lease.MaxHolders, Slot: lease.Slot, Lease: lease}
}
