package redlockd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

func (d *fakeDaemon) Proclaim(_ context.Context, r *pb.ProclaimRequest) (*pb.ProclaimResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.proclaimed = append(d.proclaimed, r)
	switch {
	case d.outage != "":
		return nil, reported(d.outage, codes.Unavailable)
	case d.refuse != codes.OK:
		return nil, status.Error(d.refuse, "refused by the test")
	case d.heldBy(keyOf(r), r.Token) == "":
		return nil, reported(LockNotHeld, codes.FailedPrecondition)
	}
	return &pb.ProclaimResponse{}, nil
}

// proclaims returns the number of calls.
func (d *fakeDaemon) proclaims() int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return len(d.proclaimed)
}

func (d *unaryDaemon) Proclaim(_ context.Context, r *pb.ProclaimRequest) (*pb.ProclaimResponse, error) {
	d.requests <- r
	return &pb.ProclaimResponse{}, nil
}

// sent fails the test if the message is another one.
func sent(t *testing.T, got any, want proto.Message) {
	t.Helper()
	if message, ok := got.(proto.Message); !ok || !proto.Equal(message, want) {
		t.Fatalf("sent %v, not %v", got, want)
	}
}

// lose reports to the holder that a lock is lost.
func (d *fakeDaemon) lose(lock *Lock) {
	d.send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_LOST, Key: lock.Keys()[0], Reason: LockNotHeld, Message: "by the test",
		Lease: &pb.Lease{Key: lock.Keys()[0], Token: lock.Token()}})
}

func TestBadValuesDelaysAndTimesToKeepAreRefused(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	lock := acquire(t, c, "held")
	long := strings.Repeat("x", 4097)
	acquires := map[string]func(AcquireOptions) error{
		"acquire": func(o AcquireOptions) error { _, err := c.Acquire(background, "k", o); return err },
		"try":     func(o AcquireOptions) error { _, err := c.TryAcquire(background, "k", o); return err },
		"acquire or extend": func(o AcquireOptions) error {
			_, err := c.AcquireOrExtend(background, "k", own, o)
			return err
		},
		"acquire detached": func(o AcquireOptions) error { _, err := c.AcquireDetached(background, "k", o); return err },
		"do": func(o AcquireOptions) error {
			return c.Do(background, "k", o, func(context.Context, *Lock) error { return nil })
		},
	}
	values := map[string]func(string) error{
		"proclaim":          func(value string) error { return lock.Proclaim(background, value) },
		"proclaim by token": func(value string) error { return c.Proclaim(background, "k", own, value) },
		"campaign": func(value string) error {
			_, err := c.Election("k").Campaign(background, value, AcquireOptions{})
			return err
		},
	}
	for name, call := range acquires {
		values[name] = func(value string) error { return call(AcquireOptions{Value: value}) }
		err := call(AcquireOptions{LockDelay: -1})
		is(t, err, ErrInvalidArgument)
		if err.Error() != "lockDelay: must not be negative: -1ns" {
			t.Error(name, err)
		}
	}
	for name, call := range values {
		for value, message := range map[string]string{long: "value: must have at most 4096 bytes, not 4097", "\xff": `value: must be UTF-8: "\xff"`} {
			err := call(value)
			is(t, err, ErrInvalidArgument)
			if err.Error() != message {
				t.Error(name, err)
			}
		}
	}
	for _, keepFor := range []time.Duration{0, -time.Second, time.Millisecond - 1} {
		is(t, lock.ReleaseAndKeep(background, keepFor), ErrInvalidArgument)
		is(t, c.ReleaseAndKeep(background, "k", own, keepFor), ErrInvalidArgument)
		if keepFor != 0 {
			is(t, acquires["do"](AcquireOptions{KeepFor: keepFor}), ErrInvalidArgument)
		}
	}
	if !lock.Held() || len(d.acquired) != 1 || len(d.released)+d.proclaims() != 0 {
		t.Fatal("something was sent", lock)
	}
	none(t, lock.Proclaim(background, long[1:]))
}

func TestValuesDelaysAndTimesToKeepAreSent(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{Owner: "one"}, d)
	ctx := soon(t)
	lock, err := c.Acquire(ctx, Together("a", "b"), AcquireOptions{TTL: time.Minute, Value: "v", LockDelay: time.Second, Token: own})
	none(t, err)
	token := own
	sent(t, d.acquired[0], &pb.AcquireRequest{Keys: []string{"a", "b"}, Token: &token, Ttl: durationpb.New(time.Minute), Owner: "one",
		Value: "v", LockDelay: durationpb.New(time.Second)})
	none(t, lock.Proclaim(ctx, "w"))
	sent(t, d.proclaimed[0], &pb.ProclaimRequest{Keys: []string{"a", "b"}, Token: own, Value: "w"})
	none(t, c.Proclaim(ctx, lock.Key(), own, ""))
	sent(t, d.proclaimed[1], &pb.ProclaimRequest{Keys: []string{"a", "b"}, Token: own})
	none(t, lock.ReleaseAndKeep(ctx, time.Hour))
	sent(t, d.released[0], &pb.ReleaseRequest{Keys: []string{"a", "b"}, Token: own, KeepFor: durationpb.New(time.Hour)})
	none(t, lock.Release(ctx)) // does nothing
	lock, err = c.AcquireOrExtend(ctx, "k", own, AcquireOptions{TTL: time.Minute, Value: "v", LockDelay: time.Second})
	none(t, err)
	sent(t, d.acquired[1], &pb.AcquireRequest{Key: "k", Token: &token, Ttl: durationpb.New(time.Minute), Owner: "one",
		Value: "v", LockDelay: durationpb.New(time.Second)})
	none(t, lock.Release(ctx))
	if d.released[1].KeepFor != nil {
		t.Fatal(d.released[1])
	}
}

func TestDetachedCallsSendThem(t *testing.T) {
	d, c := startUnaryDaemon(t)
	ctx := soon(t)
	token := own
	_, err := c.AcquireDetached(ctx, "k", AcquireOptions{TTL: time.Minute, Value: "v", LockDelay: time.Second, Token: own, Owner: "one"})
	none(t, err)
	sent(t, <-d.requests, &pb.AcquireRequest{Key: "k", Token: &token, Ttl: durationpb.New(time.Minute), Owner: "one",
		Value: "v", LockDelay: durationpb.New(time.Second)})
	none(t, c.Proclaim(ctx, Semaphore("k", 3), own, "w"))
	sent(t, <-d.requests, &pb.ProclaimRequest{Key: "k", Token: own, Value: "w"})
	none(t, c.ReleaseAndKeep(ctx, "k", own, time.Hour))
	sent(t, <-d.requests, &pb.ReleaseRequest{Key: "k", Token: own, KeepFor: durationpb.New(time.Hour)})
	none(t, c.Release(ctx, "k", own))
	sent(t, <-d.requests, &pb.ReleaseRequest{Key: "k", Token: own})
}

func TestDoKeepsTheKeyUnlessTheLockIsLost(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	options := AcquireOptions{KeepFor: time.Hour}
	failed := errors.New("the job failed")
	if err := c.Do(background, "k", options, func(context.Context, *Lock) error { return failed }); err != failed {
		t.Fatal(err)
	}
	none(t, c.Do(background, "k", options, func(ctx context.Context, lock *Lock) error { return lock.Release(ctx) }))
	err := c.Do(background, "k", options, func(ctx context.Context, lock *Lock) error {
		d.lose(lock)
		<-ctx.Done()
		return nil
	})
	is(t, err, ErrLockLost)
	eventually(t, "what is left is released", func() bool {
		d.mutex.Lock()
		defer d.mutex.Unlock()
		return len(d.released) == 3
	})
	for i, keepFor := range []time.Duration{time.Hour, 0, 0} {
		if d.released[i].KeepFor.AsDuration() != keepFor {
			t.Error(d.released)
		}
	}
	work := func(context.Context, *Lock) error { return nil }
	err = c.Do(background, "long", AcquireOptions{KeepFor: maxTTL + 1}, work)
	is(t, err, ErrInvalidArgument)
	if !strings.HasSuffix(err.Error(), "the key is not kept") {
		t.Error(err)
	}
	none(t, c.Do(background, "long", AcquireOptions{}, work))
	work = func(context.Context, *Lock) error { return failed }
	if err := c.Do(background, "long", AcquireOptions{KeepFor: maxTTL + 1}, work); err != failed {
		t.Error(err)
	}
}

func TestOnlyTheHolderProclaims(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	lock := acquire(t, c, "k")
	d.set(func() { d.holders["k"] = "another" })
	err := lock.Proclaim(background, "v")
	is(t, err, ErrNotHeld)
	if errors.Is(err, ErrLockLost) || !lock.Held() {
		t.Fatal("the answer has ended the trust: ", err)
	}
	is(t, c.Proclaim(background, "k", lock.Token(), "v"), ErrNotHeld)
	before := d.proclaims()
	d.lose(lock)
	<-lock.Lost()
	is(t, lock.Proclaim(background, "v"), ErrLockLost, ErrNotHeld)
	released := acquire(t, c, "other")
	none(t, released.Release(background))
	err = released.Proclaim(background, "v")
	is(t, err, ErrNotHeld)
	if errors.Is(err, ErrLockLost) || d.proclaims() != before {
		t.Fatal(err, d.proclaimed[before:])
	}
	is(t, c.Proclaim(background, "", own, "v"), ErrInvalidArgument)
	is(t, c.Proclaim(background, "k", "", "v"), ErrInvalidArgument)
}

func TestAProclaimMovesToAnotherDaemon(t *testing.T) {
	first, second := startDaemon(t), startDaemon(t)
	second.holders = first.holders
	c := newTestClient(t, Options{}, first, second)
	lock := acquire(t, c, "k")
	first.set(func() { first.refuse = codes.Unavailable })
	none(t, lock.Proclaim(background, "v"))
	if first.proclaims() != 1 || second.proclaims() != 1 {
		t.Fatal(first.proclaims(), second.proclaims())
	}
}

func TestAProclaimThatRetriesEndsWithTheLock(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	for _, each := range []struct {
		end    func(*Lock, context.CancelFunc)
		target error
	}{
		{func(lock *Lock, _ context.CancelFunc) { lock.release(t) }, ErrNotHeld},
		{func(lock *Lock, _ context.CancelFunc) { d.lose(lock); <-lock.Lost() }, ErrLockLost},
		{func(_ *Lock, cancel context.CancelFunc) { cancel() }, ErrCanceled},
	} {
		lock := acquire(t, c, "k")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		d.set(func() { d.refuse, d.proclaimed = codes.Unavailable, nil })
		ended := make(chan error)
		go func() { ended <- lock.Proclaim(ctx, "v") }()
		eventually(t, "it retries", func() bool { return d.proclaims() >= 3 })
		each.end(lock, cancel)
		before := d.proclaims()
		err := <-ended
		is(t, err, each.target)
		if lock.Held() == (each.target != ErrCanceled) {
			t.Fatal(err, lock)
		}
		if d.proclaims() > before+1 { // one may have been under way
			t.Error("it was sent again")
		}
		d.set(func() { d.refuse, d.holders = codes.OK, map[string]string{} })
	}
	lock := acquire(t, c, "k")
	d.set(func() { d.refuse = codes.Unavailable })
	ctx, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	is(t, lock.Proclaim(ctx, "v"), ErrUnreachable, context.DeadlineExceeded)
	for _, reason := range []string{QuorumUnavailable, NodeSetMismatch} {
		d.set(func() { d.outage, d.proclaimed = reason, nil })
		ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
		defer cancel()
		err := c.Proclaim(ctx, "k", lock.Token(), "v")
		is(t, err, context.DeadlineExceeded)
		expectReason(t, err, reason)
		if d.proclaims() < 2 {
			t.Error("it was not repeated after " + reason)
		}
	}
	d.set(func() { d.outage, d.refuse = "", codes.Unimplemented })
	is(t, lock.Proclaim(background, "v"), ErrUnimplemented)
}

func TestAnElectionFromCampaignToResignation(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{Owner: "one"}, d)
	ctx := soon(t)
	first, second := c.Election("e"), c.Election("e")
	is(t, first.Proclaim(ctx, "early"), ErrNotHeld)
	is(t, first.Resign(ctx), ErrNotHeld)

	token := own
	lock, err := first.Campaign(ctx, "a", AcquireOptions{TTL: time.Minute, Token: own, Value: "ignored", LockDelay: time.Second})
	none(t, err)
	sent(t, d.acquired[0], &pb.AcquireRequest{Key: "e", Token: &token, Ttl: durationpb.New(time.Minute), Owner: "one", Value: "a",
		LockDelay: durationpb.New(time.Second)})
	if !lock.Held() || lock.FencingToken() == 0 {
		t.Fatal(lock)
	}
	_, err = second.Campaign(ctx, "b", AcquireOptions{Try: true})
	is(t, err, ErrAlreadyHeld)
	is(t, second.Resign(ctx), ErrNotHeld)
	none(t, first.Proclaim(ctx, "c"))
	sent(t, d.proclaimed[0], &pb.ProclaimRequest{Key: "e", Token: own, Value: "c"})

	won := make(chan *Lock)
	go func() {
		lock, err := second.Campaign(ctx, "b", AcquireOptions{})
		if err != nil {
			t.Error(err)
		}
		won <- lock
	}()
	eventually(t, "the second candidate waits", func() bool {
		d.mutex.Lock()
		defer d.mutex.Unlock()
		return len(d.waiting) == 1
	})
	none(t, first.Resign(ctx))
	if lock.Held() {
		t.Fatal("still held")
	}
	next := <-won
	is(t, first.Proclaim(ctx, "late"), ErrNotHeld)
	is(t, first.Resign(ctx), ErrNotHeld)

	d.lose(next)
	<-next.Lost()
	is(t, second.Proclaim(ctx, "late"), ErrLockLost)
	is(t, second.Resign(ctx), ErrLockLost)
	is(t, second.Resign(ctx), ErrNotHeld)

	d.set(func() { d.holders = map[string]string{} })
	lock, err = first.Campaign(ctx, "a", AcquireOptions{})
	none(t, err)
	none(t, lock.Release(ctx)) // resigns
	is(t, first.Proclaim(ctx, "late"), ErrNotHeld)
	is(t, first.Resign(ctx), ErrNotHeld)
}

func TestTheLeaderIsTheFirstDecidedState(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	e := c.Election("e")
	for want, messages := range map[HolderState][]*pb.ObserveResponse{
		StateHeld: {undecidedState, heldState(7, "a")}, StateVacant: {vacantState},
	} {
		go func() {
			o := <-d.observers
			for _, message := range messages {
				o.send <- message
			}
		}()
		s, err := e.Leader(soon(t))
		none(t, err)
		if s.State != want || want == StateHeld && (s.Value != "a" || s.FencingToken != 7) {
			t.Fatal(s)
		}
	}
	noObserverIsLeft(t, c)
}

func TestAnUnknownLeaderIsAnError(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	e := c.Election("e")
	ctx, cancel := context.WithTimeout(background, 3*time.Second)
	defer cancel()
	go func() { (<-d.observers).send <- undecidedState }()
	_, err := e.Leader(ctx)
	is(t, err, ErrQuorumUnavailable, context.DeadlineExceeded)
	if err.Error() != "e: two nodes are silent" {
		t.Error(err)
	}
	d.server.Stop()
	_, err = e.Leader(background) // bounded by itself
	is(t, err, ErrUnreachable, context.DeadlineExceeded)
	if !strings.Contains(err.Error(), d.address) {
		t.Error(err)
	}
	cancelled, cancel := context.WithCancel(background)
	cancel()
	_, err = e.Leader(cancelled)
	is(t, err, ErrCanceled, context.Canceled)
	noObserverIsLeft(t, c)
}

func TestAnElectionObserves(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	go func() { (<-d.observers).send <- heldState(7, "a") }()
	for state, err := range c.Election("e").Observe(soon(t)) {
		none(t, err)
		if state.Value != "a" {
			t.Error(state)
		}
		break
	}
	noObserverIsLeft(t, c)
}

func TestAnElectionHasOneKey(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	for _, name := range []string{"", "redlockd:x", Together("a", "b"), Shared("k"), Semaphore("k", 3)} {
		_, err := c.Election(name).Campaign(background, "v", AcquireOptions{})
		is(t, err, ErrInvalidArgument)
		_, err = c.Election(name).Leader(background)
		is(t, err, ErrInvalidArgument)
	}
	if len(d.acquired)+len(d.observers) != 0 {
		t.Error("something was sent")
	}
}
