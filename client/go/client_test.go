package redlockd

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

var background = context.Background()

func expectReason(t *testing.T, err error, reason string) {
	t.Helper()
	if ReasonOf(err) != reason {
		t.Fatalf("%v (%q), not %q", err, ReasonOf(err), reason)
	}
}

func TestALockFromBeginToEnd(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	lock := acquire(t, c, "k")
	if !lock.Held() || lock.Err() != nil || lock.Key() != "k" || !strings.HasPrefix(lock.Token(), "rl-") || len(lock.Token()) != 35 {
		t.Fatalf("%+v", lock)
	}
	if lock.FencingToken() != 1 || d.holder("k") != lock.Token() {
		t.Fatal("not held")
	}
	if err := lock.Extend(background, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := lock.TryExtend(background, time.Minute); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 2; i++ {
		if err := lock.Release(background); err != nil {
			t.Fatal(err)
		}
	}
	if lock.Held() || lock.Err() != nil || d.holder("k") != "" {
		t.Fatal("still held")
	}
	expectReason(t, lock.Extend(background, time.Minute), LockNotHeld)
}

func TestManyLocksShareOneStream(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	var all sync.WaitGroup
	for i := 0; i < 50; i++ {
		key := string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		all.Add(1)
		go func() {
			defer all.Done()
			for j := 0; j < 20; j++ {
				if err := acquire(t, c, key).Release(background); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	all.Wait()
	if d.streams() != 1 {
		t.Fatalf("%d streams", d.streams())
	}
}

func TestBadValuesAreRejectedBeforeAnythingIsSent(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	other := acquire(t, c, "other")
	long := strings.Repeat("x", 600)
	for field, bad := range map[string]func() error{
		"key: must have":       func() error { _, err := c.Acquire(background, "", AcquireOptions{}); return err },
		"key: must have 1":     func() error { _, err := c.Acquire(background, long, AcquireOptions{}); return err },
		"key: must be UTF-8":   func() error { _, err := c.Acquire(background, "\xff", AcquireOptions{}); return err },
		"key: must not":        func() error { _, err := c.Acquire(background, "redlockd:x", AcquireOptions{}); return err },
		"ttl: ":                func() error { _, err := c.Acquire(background, "k", AcquireOptions{TTL: 1}); return err },
		"ttl: must":            func() error { return other.Extend(background, -1) },
		"owner: must have":     func() error { _, err := c.Acquire(background, "k", AcquireOptions{Owner: long}); return err },
		"owner: must be":       func() error { _, err := c.Acquire(background, "k", AcquireOptions{Owner: "\xff"}); return err },
		"token: must have":     func() error { _, err := c.Acquire(background, "k", AcquireOptions{Token: long}); return err },
		"token: must be UTF-8": func() error { _, err := c.Acquire(background, "k", AcquireOptions{Token: "\xff"}); return err },
		"margin: ":             func() error { _, err := c.Acquire(background, "k", AcquireOptions{Margin: -1}); return err },
		"margin: must be from 0 to 333.333333ms (a third of the TTL": func() error {
			_, err := c.Acquire(background, "k", AcquireOptions{TTL: time.Second, Margin: 334 * time.Millisecond})
			return err
		},
		"grace: ":   func() error { _, err := New([]string{"localhost:1"}, Options{Grace: 1}); return err },
		"endpoints": func() error { _, err := New(nil, Options{}); return err },
		"endpoints: localhost:0: the port must be a number from 1 to 65535": func() error {
			_, err := New([]string{"localhost:0"}, Options{})
			return err
		},
		`endpoints: "" must be "host:port"`:                func() error { _, err := New([]string{""}, Options{}); return err },
		`endpoints: "localhost" must be "host:port"`:       func() error { _, err := New([]string{"localhost"}, Options{}); return err },
		`endpoints: "[::1]" must be "host:port"`:           func() error { _, err := New([]string{"[::1]"}, Options{}); return err },
		`endpoints: "http://localhost:1" must be`:          func() error { _, err := New([]string{"http://localhost:1"}, Options{}); return err },
		`endpoints: localhost:: the port must be a number`: func() error { _, err := New([]string{"localhost:"}, Options{}); return err },
		"endpoints: [::1]:65536: the port": func() error {
			_, err := New([]string{"localhost:65535", "[::1]:65536"}, Options{})
			return err
		},
	} {
		err := bad()
		expectReason(t, err, InvalidArgument)
		if !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%v does not begin with %q", err, field)
		}
	}
	if !other.Held() || d.streams() != 1 || len(d.holders) != 1 {
		t.Fatal("another lock was harmed")
	}
}

func TestAWaiterHearsItsPositionAndCanGiveUp(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	held := acquire(t, c, "k")
	ctx, cancel := context.WithCancel(background)
	heard := 0
	_, err := c.Acquire(ctx, "k", AcquireOptions{OnQueued: func(position int) {
		heard = position
		_ = held.Validity() // no mutex is held
		cancel()
	}})
	expectReason(t, err, Canceled)
	if !errors.Is(err, context.Canceled) || heard != 2 {
		t.Fatal(err, heard)
	}
	_, err = c.Acquire(background, "k", AcquireOptions{Try: true})
	expectReason(t, err, LockAlreadyHeld)
	ctx, cancel = context.WithTimeout(background, 20*time.Millisecond)
	defer cancel()
	_, err = c.Acquire(ctx, "k", AcquireOptions{})
	expectReason(t, err, DeadlineExceeded)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	_, err = c.Acquire(ctx, "k", AcquireOptions{})
	expectReason(t, err, DeadlineExceeded)
	eventually(t, "the waiters are gone", func() bool {
		d.mutex.Lock()
		defer d.mutex.Unlock()
		return len(d.waiting) == 0
	})
}

func TestAPanicOfOnQueuedIsLoggedAndTheWaitGoesOn(t *testing.T) {
	d, log := startDaemon(t), &logged{}
	c := newTestClient(t, Options{Logger: log.logger()}, d)
	held := acquire(t, c, "k")
	heard := make(chan struct{})
	go func() { <-heard; _ = held.Release(background) }()
	lock, err := c.Acquire(background, "k", AcquireOptions{OnQueued: func(int) { close(heard); panic("the callback") }})
	if err != nil || !lock.Held() {
		t.Fatal(err)
	}
	log.contains(t, "AcquireOptions.OnQueued panicked")
	log.contains(t, "the callback")
}

func TestALossEndsTheWork(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	err := c.Do(background, "k", AcquireOptions{}, func(ctx context.Context, lock *Lock) error {
		d.send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_LOST, Key: "k", Reason: LockNotHeld, Message: "taken away",
			Lease: &pb.Lease{Key: "k", Token: lock.Token()}})
		<-ctx.Done()
		<-lock.Lost()
		if lock.Held() {
			t.Error("held after its loss")
		}
		return ctx.Err()
	})
	expectReason(t, err, LockNotHeld)
	if !strings.Contains(err.Error(), "taken away") {
		t.Fatal(err)
	}
}

func TestTheErrorOfTheWorkIsThatOfDo(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	own := errors.New("own")
	if err := c.Do(background, "k", AcquireOptions{}, func(context.Context, *Lock) error { return own }); err != own {
		t.Fatal(err)
	}
	if d.holder("k") != "" {
		t.Fatal("still held")
	}
}

func TestTheLocksMoveWhenADaemonDrainsOrDies(t *testing.T) {
	first, second := startDaemon(t), startDaemon(t)
	second.holders = first.holders // the same nodes; their mutexes do not matter while one daemon is idle
	second.fence = 100
	c := newTestClient(t, Options{}, first, second)
	lock := acquire(t, c, "k")
	first.send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_DRAINING})
	eventually(t, "adopted", func() bool { return lock.FencingToken() == 101 })
	second.server.Stop()
	eventually(t, "adopted again", func() bool { return first.streams() == 2 && lock.FencingToken() >= 101 })
	if err := lock.Release(background); err != nil || lock.Err() != nil {
		t.Fatal(err, lock.Err())
	}
}

func TestNoDaemonDoesNotReadAsContention(t *testing.T) {
	d := startDaemon(t)
	d.server.Stop()
	c := newTestClient(t, Options{}, d)
	_, err := c.Acquire(background, "k", AcquireOptions{Try: true})
	expectReason(t, err, Unreachable)
	ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
	defer cancel()
	_, err = c.Acquire(ctx, "k", AcquireOptions{})
	expectReason(t, err, Unreachable)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), d.address) {
		t.Fatal(err)
	}
}

func TestTheBearerTokenAndItsRefusal(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{Token: func(context.Context) (string, error) { return "secret", nil }}, d)
	acquire(t, c, "k")
	if d.bearer[0] != "Bearer secret" {
		t.Fatal(d.bearer)
	}
	d.set(func() { d.refuse = codes.Unauthenticated })
	_, err := newTestClient(t, Options{}, d).Acquire(background, "k", AcquireOptions{})
	expectReason(t, err, Unauthenticated)
	for _, token := range []func(context.Context) (string, error){
		func(context.Context) (string, error) { panic("no token") },
		func(context.Context) (string, error) { return "", errors.New("no token") },
	} {
		c := newTestClient(t, Options{Token: token}, d)
		_, err = c.Acquire(background, "k", AcquireOptions{})
		expectReason(t, err, Unauthenticated)
		if !strings.Contains(err.Error(), "no token") {
			t.Fatal(err)
		}
		_, err = c.AcquireDetached(background, "k", AcquireOptions{})
		expectReason(t, err, Unauthenticated)
	}
}

func TestABearerTokenThatNoHeaderCanCarryIsRefused(t *testing.T) {
	d := startDaemon(t)
	for _, each := range []string{"two\nlines", "caf\u00e9", "a\x00z"} {
		token := each
		c := newTestClient(t, Options{Token: func(context.Context) (string, error) { return token, nil }}, d)
		_, err := c.Acquire(background, "k", AcquireOptions{})
		expectReason(t, err, Unauthenticated)
		if strings.Contains(err.Error(), token) {
			t.Errorf("the error contains the token: %v", err)
		}
	}
}

func TestReleaseAndCloseAreBounded(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{Grace: time.Minute}, d)
	lock, second := acquire(t, c, "k"), acquire(t, c, "l")
	d.set(func() { d.mute = true })
	begun := time.Now()
	ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	expectReason(t, lock.Release(ctx), DeadlineExceeded)
	if err := lock.Release(background); err != nil || time.Since(begun) > time.Second {
		t.Fatal(err, time.Since(begun))
	}
	expectReason(t, second.Release(background), DeadlineExceeded)
	if took := time.Since(begun); took < 2*time.Second || took > 3*time.Second {
		t.Fatal(took)
	}
	begun = time.Now()
	c.Close()
	if took := time.Since(begun); took < 1900*time.Millisecond || took > 3*time.Second {
		t.Fatal(took)
	}
}

func TestAReleaseGoesOnInTheBackground(t *testing.T) {
	first, second := startDaemon(t), startDaemon(t)
	second.holders = first.holders
	c := newTestClient(t, Options{}, first, second)
	lock := acquire(t, c, "k")
	first.set(func() { first.silent, first.mute = true, true })
	ctx, cancel := context.WithTimeout(background, 10*time.Millisecond)
	defer cancel()
	expectReason(t, lock.Release(ctx), DeadlineExceeded)
	first.server.Stop()
	eventually(t, "released at the other daemon", func() bool { return second.holder("k") == "" })
}

func TestCloseEndsWaitersAndReleases(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	lock := acquire(t, c, "k")
	failed := make(chan error)
	go func() {
		_, err := c.Acquire(background, "k", AcquireOptions{})
		failed <- err
	}()
	eventually(t, "it waits", func() bool {
		d.mutex.Lock()
		defer d.mutex.Unlock()
		return len(d.waiting) == 1
	})
	c.Close()
	expectReason(t, <-failed, Canceled)
	<-lock.Lost()
	expectReason(t, lock.Err(), LockNotHeld)
	if d.holder("k") != "" {
		t.Fatal("still held")
	}
	if err := lock.Release(background); err != nil {
		t.Fatal(err)
	}
	c.Close()
	_, err := c.Acquire(background, "k", AcquireOptions{})
	expectReason(t, err, Canceled)
}

func TestTheClockRuns(t *testing.T) {
	begun := systemNow()
	time.Sleep(20 * time.Millisecond)
	if passed := systemNow().Sub(begun); passed < 19*time.Millisecond || passed > 5*time.Second {
		t.Fatal(passed)
	}
}

// Timers do not run during a suspend, so the driver must read the clock soon after it.
func TestASuspendIsNoticedWithinASecond(t *testing.T) {
	d := startDaemon(t)
	var suspended atomic.Int64
	clock := func() core.Instant { return systemNow().Add(time.Duration(suspended.Load())) }
	options, endpoints := Options{Grace: time.Minute}, []string{d.address}
	c, err := newClient(endpoints, options, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	lock := acquire(t, c, "k")
	time.Sleep(50 * time.Millisecond) // the driver sleeps
	suspended.Store(int64(2 * time.Minute))
	if lock.Held() {
		t.Fatal("held after its end")
	}
	select {
	case <-lock.Lost():
	case <-time.After(1500 * time.Millisecond):
		t.Fatal("the loss is not signalled")
	}
}

func TestTheListOfEndpointsMayBeUsedAgain(t *testing.T) {
	d, endpoints := startDaemon(t), []string{"127.0.0.1:1", ""}
	endpoints[1] = d.address
	c, err := New(endpoints, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	clear(endpoints)
	acquire(t, c, "k")
}

func TestEveryFormOfAnAddressIsAccepted(t *testing.T) {
	c, err := New([]string{"unix:/nowhere", "unix:///nowhere", "[::1]:1", "127.0.0.1:1", "localhost:1", "dns:///localhost:1"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestASingleTryExtendsAHeldLockOnce(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	lock, err := c.Acquire(soon(t), "k", AcquireOptions{Token: "own"})
	if err != nil {
		t.Fatal(err)
	}
	for i, options := range []AcquireOptions{{}, {Try: true}, {Retry: &RetryPolicy{MaxRetries: 2}}} {
		again, err := c.AcquireOrExtend(soon(t), "k", "own", options)
		if err != nil || again != lock {
			t.Fatal(again, err)
		}
		var retry *pb.RetryPolicy
		d.set(func() { retry = d.extended[i].Retry })
		if got := retry.GetMaxRetries(); (retry == nil) != (i == 0) || got != []int32{0, 0, 2}[i] {
			t.Fatalf("%d: %v", i, retry)
		}
	}
}
