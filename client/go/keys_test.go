package redlockd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

func names(count, length int) []string {
	var all []string
	for i := range count {
		all = append(all, fmt.Sprintf("%0*d", length, i))
	}
	return all
}

func TestBadKeysTogetherFailOnlyTheirCall(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	other := acquire(t, c, "other")
	for _, bad := range []struct {
		keys []string
		why  string
	}{
		{nil, "key: must have 1 to 512 bytes, not 0"},
		{[]string{""}, "key: must have 1 to 512 bytes, not 0"},
		{[]string{"a", ""}, "key: must have 1 to 512 bytes, not 0"},
		{[]string{"a", strings.Repeat("x", 513)}, "key: must have 1 to 512 bytes, not 513"},
		{[]string{"a", "redlockd:x"}, "key: must not begin with"},
		{[]string{"a", "\xff"}, "key: must be UTF-8"},
		{[]string{"a\xffb"}, "key: must be UTF-8"},
		{[]string{"\xffa\xffb"}, "key: must be UTF-8"},
		{[]string{"a", Shared("b")}, "key: must be UTF-8"},
		{[]string{"b", "a", "b"}, `keys: "b" is there twice`},
		{names(65, 2), "keys: must be at most 64, not 65"},
		{names(17, 482), "keys: must have at most 8192 bytes together, not 8194"},
	} {
		key := Together(bad.keys...)
		for name, call := range map[string]func() error{
			"Acquire":         func() error { _, err := c.Acquire(background, key, AcquireOptions{}); return err },
			"TryAcquire":      func() error { _, err := c.TryAcquire(background, key, AcquireOptions{}); return err },
			"AcquireDetached": func() error { _, err := c.AcquireDetached(background, key, AcquireOptions{}); return err },
			"AcquireOrExtend": func() error { _, err := c.AcquireOrExtend(background, key, own, AcquireOptions{}); return err },
			"Adopt":           func() error { _, err := c.Adopt(background, key, own, AdoptOptions{}); return err },
			"Extend":          func() error { _, err := c.Extend(background, key, own, time.Minute); return err },
			"Release":         func() error { return c.Release(background, key, own) },
			"Watch": func() error {
				_, err := c.Watch(background, []WatchItem{{Key: key, Token: own}}, WatchOptions{})
				return err
			},
		} {
			err := call()
			is(t, err, ErrInvalidArgument)
			if !strings.HasPrefix(err.Error(), bad.why) {
				t.Errorf("%s: %v does not begin with %q", name, err, bad.why)
			}
		}
	}
	if !other.Held() || d.streams() != 1 || len(d.holders) != 1 {
		t.Fatal("another lock was harmed")
	}
	for _, good := range [][]string{names(64, 2), names(64, 128), {"a"}} { // 128 * 64 = 8192
		acquire(t, c, Together(good...))
	}
}

func TestWhatIsShownOfSeveralKeysAreTheirNames(t *testing.T) {
	d, log := startDaemon(t), &logged{}
	c := newTestClient(t, Options{Logger: log.logger()}, d)
	key := Together("b", "a")
	lock := acquire(t, c, key)
	if lock.Key() != Together("a", "b") || !slices.Equal(lock.Keys(), []string{"a", "b"}) || d.holder("a, b") != lock.Token() {
		t.Fatal(lock)
	}
	if one := acquire(t, c, "k"); one.Key() != "k" || !slices.Equal(one.Keys(), []string{"k"}) {
		t.Fatal(one)
	}
	if text := lock.String(); text != `redlockd.Lock("a, b", held)` {
		t.Error(text)
	}
	token := own
	lease := Lease{key: "\xffa\xffb", token: &token}
	if text := lease.String(); text != `redlockd.Lease("a, b", fencing token 0)` {
		t.Error(text)
	}

	_, held := c.TryAcquire(background, key, AcquireOptions{})
	_, same := c.Acquire(background, key, AcquireOptions{Token: lock.Token()})
	over, cancel := context.WithDeadline(background, time.Now())
	defer cancel()
	_, late := c.Acquire(over, key, AcquireOptions{})
	_, soon := c.Extend(over, key, own, time.Minute)
	ended, cancel := context.WithCancel(background)
	cancel()
	_, cancelled := c.AcquireDetached(ended, key, AcquireOptions{})
	_, modes := c.Watch(background, []WatchItem{{Key: "a", Token: own}, {Key: Shared("a"), Token: own}}, WatchOptions{})
	expectReason(t, modes, InvalidArgument)
	_, twice := c.Watch(background, []WatchItem{{Key: key, Token: own}, {Key: Together("a", "b"), Token: own}}, WatchOptions{})
	d.send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_LOST, Keys: []string{"a", "b"},
		Lease: &pb.Lease{Keys: []string{"a", "b"}, Token: lock.Token()}})
	<-lock.Lost()
	log.contains(t, `key="a, b"`)
	is(t, lock.Err(), ErrLockLost)
	failures := []error{held, same, late, soon, cancelled, lock.Err(), lock.Extend(background, time.Minute)}
	for _, err := range failures {
		var why *Error
		if !errors.As(err, &why) || why.Key != key || !slices.Equal(why.Keys(), []string{"a", "b"}) || !strings.HasPrefix(err.Error(), "a, b: ") {
			t.Errorf("%v (%q)", err, why.Key)
		}
	}
	if twice.Error() != `items: "a, b" is there twice` {
		t.Error(twice)
	}
	c.Close()
	_, closed := c.AcquireDetached(background, key, AcquireOptions{})
	if closed.Error() != "a, b: the client was closed" {
		t.Error(closed)
	}

	values := []any{lock, *lock, lease, &lease, WatchItem{Key: key}, WatchEvent{Kind: WatchLost, Key: key, Err: lock.Err()},
		WatchItem{Key: Shared(key)}, WatchEvent{Kind: WatchLost, Key: Shared(key)},
		WatchItem{Key: Slot("a, b", 5, 2)}, WatchEvent{Kind: WatchLost, Key: Slot("a, b", 5, 2)}, Lease{key: "\xfc5/2\xfca, b"}}
	for _, err := range append(failures, closed, twice) {
		values = append(values, err.Error())
	}
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, "\xff") || strings.Contains(text, `\xf`) || !strings.Contains(text, "a, b") {
				t.Errorf("%s of %T: %q", verb, value, text)
			}
		}
		log.logger().Info("value", "value", value)
	}
	if strings.Contains(log.String(), "\xff") || strings.Contains(log.String(), `\xff`) {
		t.Error(log.String())
	}
}

func TestSeveralKeysWithEveryCall(t *testing.T) {
	server := realDaemon(t)
	first, second := realClient(t, server), realClient(t, server)
	ctx := soon(t)
	lease, err := first.AcquireDetached(ctx, Together("b", "a"), AcquireOptions{TTL: time.Minute})
	none(t, err)
	if lease.Key() != Together("a", "b") || !slices.Equal(lease.Keys(), []string{"a", "b"}) {
		t.Fatal(lease)
	}
	for _, key := range []string{"a", "b", Together("b", "c")} {
		_, err = second.TryAcquire(ctx, key, AcquireOptions{})
		is(t, err, ErrAlreadyHeld)
	}
	acquire(t, second, "c").release(t) // nothing is left of the last attempt

	longer, err := second.Extend(ctx, Together(lease.Keys()...), lease.Token(), 2*time.Minute)
	none(t, err)
	if longer.Key() != lease.Key() || longer.Validity() < 100*time.Second {
		t.Fatal(longer, longer.Validity())
	}
	_, err = second.TryExtend(ctx, Together("a", "c"), lease.Token(), time.Minute)
	is(t, err, ErrNotHeld)

	events := make(chan WatchEvent, 100)
	watch, err := second.Watch(ctx, []WatchItem{{Key: Together("b", "a"), Token: lease.Token(), TTL: time.Minute}},
		WatchOptions{StopAfterLoss: true, OnEvent: func(event WatchEvent) { events <- event }})
	none(t, err)
	if event := <-events; event.Kind != WatchExtended || event.Key != lease.Key() || !slices.Equal(event.Keys(), []string{"a", "b"}) {
		t.Fatal(event)
	}

	lock, err := second.Adopt(ctx, Together("b", "a"), lease.Token(), AdoptOptions{})
	none(t, err)
	same, err := second.AcquireOrExtend(ctx, Together("a", "b"), lease.Token(), AcquireOptions{})
	none(t, err)
	if same != lock || !slices.Equal(lock.Keys(), []string{"a", "b"}) {
		t.Fatal(same, lock)
	}
	none(t, server.Crash())
	acquire(t, second, "other")
	none(t, lock.Extend(ctx, time.Minute))
	none(t, server.Lose("b"))
	<-lock.Lost()
	is(t, lock.Err(), ErrLockLost)
	for event := range events {
		if event.Kind == WatchLost {
			is(t, event.Err, ErrLockLost)
			break
		}
	}
	time.Sleep(100 * time.Millisecond) // it is idle: it hears of no second loss
	watch.Close()
	<-watch.Done()
	if event := <-events; event.Kind != WatchEnded {
		t.Fatal(event)
	}
	is(t, lock.Release(ctx), ErrLockLost)
	// The client does not release what is left of a lost lock whose token the caller may use again.
	_ = second.Release(ctx, lock.Key(), lock.Token())

	lock, err = first.Acquire(ctx, Together("c", "b", "a"), AcquireOptions{})
	none(t, err)
	if lock.FencingToken() <= longer.FencingToken() {
		t.Fatal(lock.FencingToken(), longer.FencingToken())
	}
	none(t, second.Release(ctx, lock.Key(), lock.Token()))
	none(t, second.Do(ctx, Together("a", "b"), AcquireOptions{}, func(context.Context, *Lock) error { return nil }))
}

func TestSharesWithEveryCall(t *testing.T) {
	server := realDaemon(t)
	first, second := realClient(t, server), realClient(t, server)
	ctx := soon(t)
	for _, names := range [][]string{{"k"}, {"a", "b"}} {
		key := Together(names...)
		lease, err := first.AcquireDetached(ctx, Shared(key), AcquireOptions{TTL: time.Minute})
		none(t, err)
		if !lease.Shared() || lease.Key() != Shared(key) || !slices.Equal(lease.Keys(), names) || strings.Contains(lease.String(), "\xfe") {
			t.Fatal(lease)
		}
		reader := acquire(t, second, Shared(key))
		if !reader.Shared() || reader.Key() != Shared(key) || !slices.Equal(reader.Keys(), names) {
			t.Fatal(reader)
		}
		_, err = second.TryAcquire(ctx, key, AcquireOptions{})
		is(t, err, ErrAlreadyHeld)
		none(t, reader.Release(ctx))

		// Handed over to another process: the keys, the token and the mode.
		handed := Shared(Together(lease.Keys()...))
		longer, err := second.Extend(ctx, handed, lease.Token(), 2*time.Minute)
		none(t, err)
		if longer.Key() != lease.Key() || longer.Validity() < 100*time.Second {
			t.Fatal(longer, longer.Validity())
		}
		_, err = second.TryExtend(ctx, key, lease.Token(), time.Minute)
		is(t, err, ErrNotHeld)
		_, err = second.Adopt(ctx, key, lease.Token(), AdoptOptions{})
		is(t, err, ErrNotHeld)

		events := make(chan WatchEvent, 100)
		watch, err := second.Watch(ctx, []WatchItem{{Key: handed, Token: lease.Token(), TTL: time.Minute}},
			WatchOptions{OnEvent: func(event WatchEvent) { events <- event }})
		none(t, err)
		if event := <-events; event.Kind != WatchExtended || event.Key != handed || !slices.Equal(event.Keys(), names) {
			t.Fatal(event)
		}
		watch.Close()

		lock, err := second.Adopt(ctx, handed, lease.Token(), AdoptOptions{})
		none(t, err)
		same, err := second.AcquireOrExtend(ctx, handed, lease.Token(), AcquireOptions{})
		none(t, err)
		if same != lock || !lock.Shared() {
			t.Fatal(same, lock)
		}
		none(t, server.Crash())
		acquire(t, first, Shared(key)).release(t)
		none(t, lock.Extend(ctx, time.Minute))
		none(t, second.Release(ctx, handed, lease.Token()))
		<-lock.Lost()
		if err := lock.Err(); !strings.HasPrefix(err.Error(), strings.Join(names, ", ")+": ") {
			t.Error(err)
		}
		writer := acquire(t, second, key)
		if writer.Shared() || writer.FencingToken() <= longer.FencingToken() {
			t.Fatal(writer, writer.FencingToken(), longer.FencingToken())
		}
		none(t, writer.Release(ctx))
	}
}
