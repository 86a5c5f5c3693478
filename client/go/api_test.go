package redlockd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const own = "token-of-the-caller"

func is(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("%v (%q) is not %v", err, ReasonOf(err), target)
		}
	}
}

func none(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(background, 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestADetachedLockIsHandedOver(t *testing.T) {
	server := realDaemon(t)
	first, second := realClient(t, server), realClient(t, server)
	lease, err := first.AcquireDetached(soon(t), "k", AcquireOptions{TTL: time.Minute})
	none(t, err)
	if lease.Key() != "k" || lease.FencingToken() == 0 || lease.Validity() <= 50*time.Second || len(lease.Token()) != 35 {
		t.Fatal(lease, lease.Validity())
	}
	first.Close() // does not release it
	_, err = second.TryAcquire(soon(t), "k", AcquireOptions{})
	is(t, err, ErrAlreadyHeld)
	_, err = second.AcquireDetached(soon(t), "k", AcquireOptions{Try: true})
	is(t, err, ErrAlreadyHeld)
	ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
	defer cancel()
	_, err = second.AcquireDetached(ctx, "k", AcquireOptions{})
	is(t, err, ErrTimeout, context.DeadlineExceeded)

	longer, err := second.Extend(background, "k", lease.Token(), 2*time.Minute)
	none(t, err)
	if longer.Validity() < 100*time.Second || longer.Token() != lease.Token() || longer.FencingToken() < lease.FencingToken() {
		t.Fatal(longer, longer.Validity())
	}
	_, err = second.TryExtend(background, "k", lease.Token(), time.Minute)
	none(t, err)
	_, err = second.ExtendWithRetry(background, "k", lease.Token(), time.Minute, RetryPolicy{MaxRetries: 2})
	none(t, err)

	lock, err := second.Adopt(soon(t), "k", lease.Token(), AdoptOptions{TTL: time.Second})
	none(t, err)
	same, err := second.Adopt(soon(t), "k", lease.Token(), AdoptOptions{TTL: time.Second}) // this client has it
	none(t, err)
	if same != lock {
		t.Error("a second Lock for the same lease")
	}
	same, err = second.AcquireOrExtend(soon(t), "k", lease.Token(), AcquireOptions{TTL: time.Second})
	none(t, err)
	if same != lock {
		t.Error("a second Lock for the same lease")
	}
	_, err = second.Acquire(soon(t), "k", AcquireOptions{Token: lease.Token()})
	is(t, err, ErrAlreadyHeld)
	server.Reset() // the lock moves to another Session
	acquire(t, second, "other")
	time.Sleep(100 * time.Millisecond)
	if lock.FencingToken() < lease.FencingToken() || !lock.Held() {
		t.Fatal(lock, lock.Err())
	}
	none(t, lock.Release(background))
	is(t, second.Release(background, "k", lease.Token()), ErrNotHeld)
	_, err = second.Extend(background, "k", lease.Token(), time.Minute)
	is(t, err, ErrNotHeld)
	_, err = second.Adopt(soon(t), "k", lease.Token(), AdoptOptions{})
	is(t, err, ErrNotHeld)
}

// An adoption must win over those of a client that had the lock before, and over its end.
func TestALockIsTakenOverFromAnotherClient(t *testing.T) {
	server := realDaemon(t)
	first, second := realClient(t, server), realClient(t, server)
	lock, err := first.AcquireOrExtend(soon(t), "k", own, AcquireOptions{TTL: time.Minute})
	none(t, err)
	for range 3 { // each move is an adoption
		server.Reset()
		acquire(t, first, "other").release(t)
	}
	mine, err := second.AcquireOrExtend(soon(t), "k", own, AcquireOptions{TTL: time.Minute})
	none(t, err)
	if mine.Token() != own || mine.FencingToken() < lock.FencingToken() {
		t.Fatal(mine)
	}
	server.Reset()
	acquire(t, second, "another").release(t)
	if !mine.Held() {
		t.Fatal(mine.Err())
	}
	none(t, mine.Release(background))
	select {
	case <-lock.Lost():
	case <-time.After(60 * time.Second):
		t.Fatal("the first holder does not hear of it")
	}
	is(t, lock.Err(), ErrLockLost, ErrNotHeld)
	is(t, lock.Release(background), ErrLockLost)
}

func TestADetachedCallRidesOutARestart(t *testing.T) {
	server := realDaemon(t)
	client := realClient(t, server)
	held, err := client.AcquireDetached(soon(t), "k", AcquireOptions{TTL: time.Minute})
	none(t, err)
	got := make(chan error, 1)
	go func() {
		_, err := client.AcquireDetached(soon(t), "k", AcquireOptions{TTL: time.Minute})
		got <- err
	}()
	time.Sleep(50 * time.Millisecond)
	none(t, server.Crash())
	none(t, client.Release(soon(t), "k", held.Token()))
	none(t, <-got)
}

func TestCallsWithoutADaemon(t *testing.T) {
	d := startDaemon(t)
	d.server.Stop()
	c := newTestClient(t, Options{}, d, d)
	_, err := c.AcquireDetached(background, "k", AcquireOptions{Try: true})
	is(t, err, ErrUnreachable)
	for _, call := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := c.AcquireDetached(ctx, "k", AcquireOptions{}); return err },
		func(ctx context.Context) error { _, err := c.Extend(ctx, "k", own, time.Minute); return err },
		func(ctx context.Context) error { return c.Release(ctx, "k", own) },
		func(ctx context.Context) error { _, err := c.Adopt(ctx, "k", own, AdoptOptions{}); return err },
		func(ctx context.Context) error {
			_, err := c.AcquireOrExtend(ctx, "k", own, AcquireOptions{})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(background, 150*time.Millisecond)
		err := call(ctx)
		cancel()
		is(t, err, ErrUnreachable, context.DeadlineExceeded)
		if !strings.Contains(err.Error(), d.address) {
			t.Errorf("%v does not name the endpoint", err)
		}
		ctx, stop := context.WithCancelCause(background)
		cause := errors.New("the reason of the caller")
		time.AfterFunc(20*time.Millisecond, func() { stop(cause) })
		is(t, call(ctx), ErrCanceled, context.Canceled, cause)
	}
	c.Close()
	_, err = c.AcquireDetached(background, "k", AcquireOptions{})
	is(t, err, ErrCanceled)
	is(t, c.Release(background, "k", own), ErrCanceled)
}

func TestAWatchKeepsLocksAlive(t *testing.T) {
	server := realDaemon(t)
	client := realClient(t, server)
	events := make(chan WatchEvent, 1000)
	items := []WatchItem{{Key: "a", Token: own, TTL: time.Second, Interval: 100 * time.Millisecond},
		{Key: "b", Token: own, TTL: 2 * time.Second}}
	watch, err := client.Watch(background, items, WatchOptions{OnEvent: func(event WatchEvent) {
		events <- event
		panic("contained")
	}})
	none(t, err)
	next := func(kind WatchKind, key string) WatchEvent {
		t.Helper()
		for over := time.After(30 * time.Second); ; {
			select {
			case event := <-events:
				if event.Kind == kind && event.Key == key {
					return event
				}
			case <-over:
				t.Fatalf("no event %d of %q", kind, key)
			}
		}
	}
	is(t, next(WatchLost, "a").Err, ErrLockLost, ErrNotHeld) // before it is acquired
	_, err = client.AcquireDetached(soon(t), "a", AcquireOptions{TTL: 10 * time.Second, Token: own})
	none(t, err)
	_, err = client.AcquireDetached(soon(t), "b", AcquireOptions{TTL: 10 * time.Second, Token: own})
	none(t, err)
	if next(WatchExtended, "a").Validity <= 0 || next(WatchExtended, "b").Validity <= 0 {
		t.Fatal("no validity")
	}
	none(t, server.Crash())
	if next(WatchInterrupted, "").Err == nil {
		t.Fatal("no reason")
	}
	next(WatchExtended, "a")
	none(t, server.Lose("a"))
	is(t, next(WatchLost, "a").Err, ErrLockLost)
	watch.Close()
	watch.Close()
	<-watch.Done()
	close(events)
	var last WatchEvent
	ends := 0
	for event := range events {
		if last = event; event.Kind == WatchEnded {
			ends++
		}
	}
	if last.Kind != WatchEnded || ends != 1 {
		t.Fatal(last, ends)
	}
	is(t, last.Err, ErrCanceled, context.Canceled)
}

func TestAWatchEndsWithItsContextAfterALossOrWithTheClient(t *testing.T) {
	server := realDaemon(t)
	client := realClient(t, server)
	var last WatchEvent
	options := WatchOptions{OnEvent: func(event WatchEvent) { last = event }}
	items := []WatchItem{{Key: "a", Token: own, TTL: time.Minute}}

	ctx, cancel := context.WithCancelCause(background)
	watch, err := client.Watch(ctx, items, options)
	none(t, err)
	cause := errors.New("the reason of the caller")
	cancel(cause)
	<-watch.Done()
	is(t, last.Err, ErrCanceled, cause)

	options.StopAfterLoss = true
	lost := make(chan error, 1)
	options.OnEvent = func(event WatchEvent) {
		if last = event; event.Kind == WatchLost {
			lost <- event.Err
		}
	}
	watch, err = client.Watch(background, items, options)
	none(t, err)
	is(t, <-lost, ErrLockLost)
	time.Sleep(100 * time.Millisecond) // it is idle
	watch.Close()
	<-watch.Done()
	is(t, last.Err, ErrCanceled)

	options.StopAfterLoss = false
	watch, err = client.Watch(background, items, options)
	none(t, err)
	client.Close()
	<-watch.Done()
	is(t, last.Err, ErrCanceled)
	_, err = client.Watch(background, items, options)
	is(t, err, ErrCanceled)
}

func TestBadItemsOfAWatch(t *testing.T) {
	c := newTestClient(t, Options{}, startDaemon(t))
	for field, items := range map[string][]WatchItem{
		"items: none": nil, "key": {{Token: own}}, "token": {{Key: "k"}}, "ttl": {{Key: "k", Token: own, TTL: 1}},
		"interval":        {{Key: "k", Token: own, Interval: time.Minute}},
		"items: \"k\" is": {{Key: "k", Token: own}, {Key: "k", Token: "other"}},
	} {
		_, err := c.Watch(background, items, WatchOptions{})
		is(t, err, ErrInvalidArgument)
		if !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%v does not begin with %q", err, field)
		}
	}
}

// A secret must not get into logs by accident.
func TestNoTokenIsShown(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	lock, err := c.Acquire(background, "k", AcquireOptions{Token: own})
	none(t, err)
	token := own
	lease := Lease{key: "k", token: &token}
	item := WatchItem{Key: "k", Token: own}
	type inside struct {
		lock  *Lock
		lease Lease
	}
	var log logged
	for _, value := range []any{lock, *lock, lease, &lease, item, AcquireOptions{Token: own}, inside{lock, lease}, []Lease{lease}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, own) || strings.Contains(text, fmt.Sprintf("%x", own)) {
				t.Errorf("%s of %T shows the token: %s", verb, value, text)
			}
		}
		if text, err := json.Marshal(value); strings.Contains(string(text), own) {
			t.Errorf("JSON of %T shows the token: %s, %v", value, text, err)
		}
		log.logger().Info("value", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("value", "value", value)
	}
	if strings.Contains(log.String(), own) {
		t.Error(log.String())
	}
	if text := lock.String(); text != `redlockd.Lock("k", held)` {
		t.Error(text)
	}
	none(t, lock.Release(background))
	if text := lock.String(); text != `redlockd.Lock("k", released)` {
		t.Error(text)
	}
}

func TestTheContextOfALockEndsWithItsLoss(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	lock := acquire(t, c, "k")
	ctx, cancel := lock.WithContext(background)
	defer cancel()
	other, end := lock.WithContext(background)
	end()
	is(t, context.Cause(other), context.Canceled)
	if len(lock.inside) != 1 {
		t.Fatal("the ended context is kept")
	}
	d.send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_LOST, Key: "k", Lease: &pb.Lease{Key: "k", Token: lock.Token()}})
	<-ctx.Done()
	is(t, context.Cause(ctx), ErrLockLost)
	late, cancel := lock.WithContext(background)
	defer cancel()
	is(t, context.Cause(late), ErrLockLost)
	is(t, lock.Extend(background, time.Minute), ErrLockLost)
}

func TestAPanicOfTheWorkReleasesTheLock(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	func() {
		defer func() { _ = recover() }()
		_ = c.Do(background, "k", AcquireOptions{}, func(context.Context, *Lock) error { panic("the work") })
	}()
	if d.holder("k") != "" {
		t.Fatal("still held")
	}
}

func TestTheErrorSaysWhatIsKnownOfTheHolder(t *testing.T) {
	for _, c := range []struct {
		reason, holder string
		heldFor        time.Duration
		message        string
	}{
		{LockAlreadyHeld, "", 0, "k: why"},
		{LockAlreadyHeld, "", time.Second, "k: why"},
		{LockAlreadyHeld, "them", time.Second, `k: held by "them" for 1.000 s`},
		{MaxRetriesExceeded, "them", 0, `k: held by "them"; the retries are used up`},
		{DeadlineExceeded, "", 0, "k: why"},
		{DeadlineExceeded, "", time.Second, "k: held for 1.000 s; why"},
		{DeadlineExceeded, "them", time.Hour, `k: held by "them" for 3600.000 s; why`},
	} {
		err := errorOf("k", &core.Failure{Reason: c.reason, Message: "why", Holder: c.holder, HeldFor: c.heldFor})
		if err.Error() != c.message || err.Holder != c.holder || err.HeldFor != c.heldFor {
			t.Error(c, err)
		}
	}
}

func TestTheDefaultOwnerAndTheHolderInTheError(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	acquire(t, c, "k")
	parts := strings.Split(d.owner("k"), "/")
	if len(parts) != 3 || parts[2] != "go.test" {
		t.Fatal(parts)
	}
	_, err := c.TryAcquire(background, "k", AcquireOptions{})
	var why *Error
	if !errors.As(err, &why) || why.Holder != d.owner("k") || err.Error() != fmt.Sprintf("k: held by %q", why.Holder) {
		t.Fatal(err)
	}
	d.set(func() { d.heldFor = "12.045" })
	_, err = c.TryAcquire(background, "k", AcquireOptions{})
	if !errors.As(err, &why) || why.HeldFor != 12045*time.Millisecond ||
		err.Error() != fmt.Sprintf("k: held by %q for 12.045 s", why.Holder) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	_, err = c.Acquire(ctx, "k", AcquireOptions{})
	is(t, err, ErrTimeout, context.DeadlineExceeded)
	if err.Error() != fmt.Sprintf("k: held by %q for 12.045 s; not acquired within the time to wait", why.Holder) {
		t.Fatal(err)
	}
	d.set(func() { d.lastReason = QuorumUnavailable })
	ctx, cancel = context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	_, err = c.Acquire(ctx, "k", AcquireOptions{})
	is(t, err, ErrQuorumUnavailable, context.DeadlineExceeded)
	if errors.Is(err, ErrTimeout) || errors.Is(err, ErrAlreadyHeld) {
		t.Fatal("an outage reads as contention: ", err)
	}
	for text, want := range map[string]string{"": "", "short": "short", strings.Repeat("é", 64): strings.Repeat("é", 64),
		"x" + strings.Repeat("é", 64): "x" + strings.Repeat("é", 63), "a\xffb": "a?b"} {
		if got := cutLabel(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestARetryPolicyIsChecked(t *testing.T) {
	c := newTestClient(t, Options{}, startDaemon(t))
	for _, policy := range []RetryPolicy{{MaxRetries: -2}, {MaxRetries: 1 << 40}, {MinDelay: -1}} {
		_, err := c.Acquire(background, "k", AcquireOptions{Retry: &policy})
		is(t, err, ErrInvalidArgument)
		_, err = c.ExtendWithRetry(background, "k", own, time.Minute, policy)
		is(t, err, ErrInvalidArgument)
	}
	message := (&RetryPolicy{MaxRetries: NoLimit, MaxJitter: -1}).message()
	if message.GetMaxRetries() != -1 || message.MinDelay != nil || message.MaxJitter.AsDuration() != 0 || message.MaxJitter == nil {
		t.Fatal(message)
	}
}

func TestRetriesAreUsedUp(t *testing.T) {
	client := realClient(t, realDaemon(t))
	acquire(t, client, "k")
	_, err := client.Acquire(soon(t), "k", AcquireOptions{Retry: &RetryPolicy{MaxRetries: 2, MaxJitter: time.Millisecond}})
	is(t, err, ErrMaxRetriesExceeded)
	_, err = client.AcquireDetached(soon(t), "k", AcquireOptions{Retry: &RetryPolicy{MaxRetries: 2, MaxJitter: time.Millisecond}})
	is(t, err, ErrMaxRetriesExceeded)
}

func TestATokenMayBeUsedAgainAfterAFailedCall(t *testing.T) {
	server := realDaemon(t)
	c, holder := realClient(t, server), realClient(t, server)
	for range 20 {
		other := acquire(t, holder, "k")
		ctx, cancel := context.WithCancel(background)
		ended := make(chan error)
		go func() {
			_, err := c.Acquire(ctx, "k", AcquireOptions{Token: own})
			ended <- err
		}()
		eventually(t, "the call waits", func() (waits bool) {
			c.driver.do(func(m *core.Machine, _ core.Instant) { waits = m.InUse("k", own) })
			return waits
		})
		cancel()
		is(t, <-ended, ErrCanceled)
		none(t, other.Release(background))
		lock, err := c.Acquire(soon(t), "k", AcquireOptions{Token: own})
		none(t, err)
		none(t, lock.Release(background))
	}
}
