package redlockd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

func TestBadSemaphoresAndSlotsFailOnlyTheirCall(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	other := acquire(t, c, "other")
	ctx := soon(t) // ends a call that is not refused
	acquires := map[string]func(key string) error{
		"Acquire":         func(key string) error { _, err := c.Acquire(ctx, key, AcquireOptions{}); return err },
		"TryAcquire":      func(key string) error { _, err := c.TryAcquire(ctx, key, AcquireOptions{}); return err },
		"AcquireDetached": func(key string) error { _, err := c.AcquireDetached(ctx, key, AcquireOptions{}); return err },
	}
	either := map[string]func(key string) error{
		"AcquireOrExtend": func(key string) error {
			_, err := c.AcquireOrExtend(ctx, key, own, AcquireOptions{})
			return err
		},
		"Release": func(key string) error { return c.Release(ctx, key, own) },
	}
	byToken := map[string]func(key string) error{
		"Adopt":     func(key string) error { _, err := c.Adopt(ctx, key, own, AdoptOptions{}); return err },
		"Extend":    func(key string) error { _, err := c.Extend(ctx, key, own, time.Minute); return err },
		"TryExtend": func(key string) error { _, err := c.TryExtend(ctx, key, own, time.Minute); return err },
		"Watch": func(key string) error {
			_, err := c.Watch(ctx, []WatchItem{{Key: key, Token: own}}, WatchOptions{})
			return err
		},
	}
	all := []map[string]func(key string) error{acquires, either, byToken}
	for _, bad := range []struct {
		key   string
		calls []map[string]func(key string) error
		why   string
	}{
		{Semaphore("k", 1), all, "maxHolders: must be from 2 to 64, not 1"},
		{Semaphore("k", 65), all, "maxHolders: must be from 2 to 64, not 65"},
		{Semaphore("k", 0), all, "maxHolders: must be from 2 to 64, not 0"},
		{Semaphore("k", -1), all, "maxHolders: must be from 2 to 64, not -1"},
		{Semaphore("k", 1<<32+5), all, "maxHolders: must be from 2 to 64, not 4294967301"},
		{Semaphore(Together("a", "b"), 5), all, "maxHolders: a semaphore has one key, not 2"},
		{Semaphore(Shared("k"), 5), all, "maxHolders: a semaphore cannot be shared"},
		{Shared(Semaphore("k", 5)), all, "maxHolders: a semaphore cannot be shared"},
		{Slot("k", 5, 0), all, "slot: must be from 1 to maxHolders, which is 5, not 0"},
		{Slot("k", 5, 6), all, "slot: must be from 1 to maxHolders, which is 5, not 6"},
		{Slot("k", 5, -1), all, "slot: must be from 1 to maxHolders, which is 5, not -1"},
		{Slot("k", 1, 1), all, "maxHolders: must be from 2 to 64, not 1"},
		{Semaphore("", 5), all, "key: must have 1 to 512 bytes, not 0"},
		{Semaphore("\xfc", 5), all, "key: must be UTF-8"},
		{Together("a", Semaphore("b", 5)), all, "key: must be UTF-8"},
		{Together(Semaphore("b", 5)), all, "key: must be UTF-8"},
		{"\xfc5\xfd", all, "key: must be UTF-8"},
		{Slot("k", 5, 2), []map[string]func(key string) error{acquires}, "slot: the daemon chooses it; pass Semaphore instead of Slot"},
	} {
		for _, calls := range bad.calls {
			for name, call := range calls {
				err := call(bad.key)
				is(t, err, ErrInvalidArgument)
				if !strings.HasPrefix(err.Error(), bad.why) {
					t.Errorf("%s: %v does not begin with %q", name, err, bad.why)
				}
			}
		}
	}
	for _, same := range []string{Semaphore("k", 5), Slot("k", 5, 2)} {
		_, err := c.Watch(ctx, []WatchItem{{Key: Slot("k", 5, 1), Token: own}, {Key: same, Token: "other"}}, WatchOptions{})
		if err == nil || err.Error() != `items: "k" is there twice` {
			t.Error(err)
		}
	}
	if !other.Held() || d.streams() != 1 || len(d.holders) != 1 {
		t.Fatal("another lock was harmed")
	}
	for _, good := range []int{2, 64} {
		acquire(t, c, Semaphore(fmt.Sprint(good), good))
	}
}

func TestTheHoldersOfASemaphoreHaveSlots(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	key := Semaphore("k", 2)
	one, two := acquire(t, c, key), acquire(t, c, key)
	for i, lock := range []*Lock{one, two} {
		if lock.Slot() != i+1 || lock.MaxHolders() != 2 || lock.Key() != Slot("k", 2, i+1) || !slices.Equal(lock.Keys(), []string{"k"}) ||
			lock.Shared() || lock.String() != `redlockd.Lock("k", held)` {
			t.Fatal(lock, lock.Slot(), lock.MaxHolders())
		}
	}
	if lock := acquire(t, c, "other"); lock.Slot() != 0 || lock.MaxHolders() != 0 {
		t.Fatal(lock)
	}
	_, err := c.TryAcquire(background, key, AcquireOptions{})
	is(t, err, ErrAlreadyHeld)
	none(t, two.Extend(background, time.Minute))
	none(t, one.Release(background))
	if third := acquire(t, c, key); third.Slot() != 1 {
		t.Fatal(third.Slot())
	}
	d.send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_LOST, Key: "k", MaxHolders: 2, Slot: 2, Lease: &pb.Lease{Key: "k", Token: two.Token()}})
	<-two.Lost()
	var why *Error
	if !errors.As(two.Err(), &why) || why.Key != two.Key() || !strings.HasPrefix(why.Message, "k: the lock was lost") {
		t.Fatal(why)
	}
}

func TestSlotsMoveToAnotherDaemon(t *testing.T) {
	first, second := startDaemon(t), startDaemon(t)
	second.holders = first.holders // the same nodes; their mutexes do not matter while one daemon is idle
	second.fence = 100
	c := newTestClient(t, Options{}, first, second)
	one, two := acquire(t, c, Semaphore("k", 2)), acquire(t, c, Semaphore("k", 2))
	first.send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_DRAINING})
	eventually(t, "adopted", func() bool { return one.FencingToken() > 100 && two.FencingToken() > 100 })
	for _, lock := range []*Lock{one, two} {
		none(t, lock.Extend(background, time.Minute))
		none(t, lock.Release(background))
	}
}

func TestASlotIsTakenOver(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	d.set(func() { d.holders[placeOf("k", 3, 2)] = own })
	for _, wrong := range []string{"k", Slot("k", 3, 1), Slot("k", 4, 2), Semaphore("k", 4)} {
		_, err := c.Adopt(background, wrong, own, AdoptOptions{})
		is(t, err, ErrNotHeld)
		var why *Error
		if errors.As(err, &why); why.Key != wrong {
			t.Errorf("%q, not %q", why.Key, wrong)
		}
	}
	lock, err := c.Adopt(background, Slot("k", 3, 2), own, AdoptOptions{})
	none(t, err)
	if lock.Slot() != 2 || lock.MaxHolders() != 3 {
		t.Fatal(lock, lock.Slot())
	}
	for _, key := range []string{Semaphore("k", 3), lock.Key(), Slot("k", 3, 1)} { // this client has the lock
		same, err := c.AcquireOrExtend(background, key, own, AcquireOptions{})
		none(t, err)
		if same != lock {
			t.Fatal(same, lock)
		}
	}
	for _, key := range []string{Semaphore("k", 3), lock.Key()} {
		same, err := c.Adopt(background, key, own, AdoptOptions{})
		none(t, err)
		if same != lock {
			t.Fatal(same, lock)
		}
	}
	_, err = c.Adopt(background, Slot("k", 3, 1), own, AdoptOptions{})
	is(t, err, ErrNotHeld)
	if err.Error() != "k: the token holds slot 2, not slot 1" {
		t.Error(err)
	}
	none(t, lock.Release(background))
	taken, err := c.AcquireOrExtend(background, Slot("k", 3, 2), own, AcquireOptions{}) // nobody holds it any more
	none(t, err)
	if taken.Slot() != 1 {
		t.Fatal(taken, taken.Slot())
	}
	none(t, taken.Release(background))
	d.set(func() { d.holders[placeOf("k", 3, 3)] = own })
	found, err := c.AcquireOrExtend(background, Semaphore("k", 3), own, AcquireOptions{})
	none(t, err)
	if found.Slot() != 3 {
		t.Fatal(found, found.Slot())
	}
	none(t, found.Release(background))
	d.set(func() { d.holders[placeOf("k", 3, 2)] = own })
	adopted, err := c.Adopt(background, Semaphore("k", 3), own, AdoptOptions{})
	none(t, err)
	if adopted.Slot() != 2 || adopted.Key() != Slot("k", 3, 2) {
		t.Fatal(adopted, adopted.Slot())
	}
}

func TestAKeyThatIsInUseInAnotherWayIsNotAwaited(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	for _, use := range []struct {
		held   string
		others []string
		text   string
	}{
		{Semaphore("k", 3), []string{"k", Semaphore("k", 2)}, "a semaphore of 3"},
		{"k", []string{Semaphore("k", 3)}, "a lock"},
	} {
		lock := acquire(t, c, use.held)
		for _, other := range use.others {
			_, err := c.Acquire(soon(t), other, AcquireOptions{})
			is(t, err, ErrKindMismatch)
			var why *Error
			if errors.As(err, &why); why.Reason != KindMismatch || why.InUseAs != use.text || why.Key != other || errors.Is(err, ErrAlreadyHeld) {
				t.Fatalf("%+v", why)
			}
		}
		none(t, lock.Release(background))
	}
}

// unaryDaemon serves the calls that do not use the Session. Every token has slot 2 of every semaphore. It passes the
// requests on.
type unaryDaemon struct {
	pb.UnimplementedLockServiceServer
	requests chan any
}

func (d *unaryDaemon) Acquire(_ context.Context, r *pb.AcquireRequest) (*pb.AcquireResponse, error) {
	d.requests <- r
	if r.MaxHolders == 4 {
		refused, _ := status.New(codes.FailedPrecondition, "the key is in use as a semaphore of 3").WithDetails(&errdetails.ErrorInfo{
			Reason: KindMismatch, Domain: errorDomain, Metadata: map[string]string{"in_use_as": "a semaphore of 3"}})
		return nil, refused.Err()
	}
	return &pb.AcquireResponse{Lease: &pb.Lease{Key: r.Key, MaxHolders: r.MaxHolders, Slot: 2, Token: r.GetToken(), Validity: r.Ttl}}, nil
}

func (d *unaryDaemon) Extend(_ context.Context, r *pb.ExtendRequest) (*pb.ExtendResponse, error) {
	d.requests <- r
	return &pb.ExtendResponse{Lease: &pb.Lease{Key: r.Key, MaxHolders: r.MaxHolders, Slot: 2, Token: r.Token, Validity: r.Ttl}}, nil
}

func (d *unaryDaemon) Release(_ context.Context, r *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	d.requests <- r
	return &pb.ReleaseResponse{}, nil
}

func (d *unaryDaemon) Watch(r *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	d.requests <- r
	item := r.Items[0]
	_ = stream.Send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_LOST, Key: item.Key, MaxHolders: item.MaxHolders, Slot: 2,
		Lease: &pb.Lease{Key: item.Key, Token: item.Token}})
	return status.Error(codes.Unavailable, "ended by the test")
}

// startUnaryDaemon returns a daemon and its client.
func startUnaryDaemon(t *testing.T) (*unaryDaemon, *Client) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	none(t, err)
	d, server := &unaryDaemon{requests: make(chan any, 10)}, grpc.NewServer()
	pb.RegisterLockServiceServer(server, d)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	c, err := New([]string{listener.Addr().String()}, Options{})
	none(t, err)
	t.Cleanup(c.Close)
	return d, c
}

func TestCallsByTokenMayNameTheSlot(t *testing.T) {
	d, c := startUnaryDaemon(t)
	ctx := soon(t)

	lease, err := c.AcquireDetached(ctx, Semaphore("k", 3), AcquireOptions{})
	none(t, err)
	if sent := (<-d.requests).(*pb.AcquireRequest); sent.Key != "k" || sent.MaxHolders != 3 {
		t.Fatal(sent)
	}
	if lease.Slot() != 2 || lease.MaxHolders() != 3 || lease.Key() != Slot("k", 3, 2) || !slices.Equal(lease.Keys(), []string{"k"}) ||
		lease.Shared() || lease.String() != `redlockd.Lease("k", fencing token 0)` {
		t.Fatal(lease, lease.Slot(), lease.MaxHolders())
	}
	var why *Error
	for slot, key := range map[int32]string{2: lease.Key(), 0: Semaphore("k", 3)} { // 0: none is named
		longer, err := c.Extend(ctx, key, lease.Token(), time.Minute)
		none(t, err)
		if sent := (<-d.requests).(*pb.ExtendRequest); sent.Key != "k" || sent.MaxHolders != 3 || sent.Slot != slot || longer.Key() != lease.Key() {
			t.Fatal(sent, longer)
		}
		none(t, c.Release(ctx, key, lease.Token()))
		if sent := (<-d.requests).(*pb.ReleaseRequest); sent.Key != "k" {
			t.Fatal(sent)
		}
		lost := make(chan WatchEvent, 10)
		watch, err := c.Watch(ctx, []WatchItem{{Key: key, Token: lease.Token()}},
			WatchOptions{StopAfterLoss: true, OnEvent: func(event WatchEvent) { lost <- event }})
		none(t, err)
		if item := (<-d.requests).(*pb.WatchRequest).Items[0]; item.Key != "k" || item.MaxHolders != 3 || item.Slot != slot {
			t.Fatal(item)
		}
		if event := <-lost; event.Kind != WatchLost || event.Key != key || !errors.As(event.Err, &why) || why.Key != key {
			t.Fatal(event)
		}
		time.Sleep(100 * time.Millisecond) // the lost item is over: the stream is not opened again
		watch.Close()
		<-watch.Done()
		if len(d.requests) != 0 || len(lost) != 1 {
			t.Fatal("it is still watched")
		}
	}

	_, err = c.AcquireDetached(ctx, Semaphore("k", 4), AcquireOptions{})
	is(t, err, ErrKindMismatch)
	if errors.As(err, &why); why.InUseAs != "a semaphore of 3" || why.Error() != "k: the key is in use as a semaphore of 3" {
		t.Fatal(why)
	}
}

func TestSlotsWithEveryCall(t *testing.T) {
	server := realDaemon(t)
	first, second := realClient(t, server), realClient(t, server)
	ctx := soon(t)
	key := Semaphore("k", 2)
	lease, err := first.AcquireDetached(ctx, key, AcquireOptions{TTL: time.Minute})
	none(t, err)
	other := acquire(t, second, key)
	if lease.Slot()+other.Slot() != 3 || lease.MaxHolders() != 2 || other.MaxHolders() != 2 {
		t.Fatal(lease.Slot(), other.Slot())
	}
	_, err = second.TryAcquire(ctx, key, AcquireOptions{})
	is(t, err, ErrAlreadyHeld)
	for _, wrong := range []string{"k", Semaphore("k", 3), Shared("k")} {
		_, err = second.Acquire(ctx, wrong, AcquireOptions{})
		is(t, err, ErrKindMismatch)
		_, err = second.AcquireDetached(ctx, wrong, AcquireOptions{})
		is(t, err, ErrKindMismatch)
		var why *Error
		if errors.As(err, &why); why.InUseAs != "a semaphore of 2" || !strings.Contains(why.Error(), why.InUseAs) {
			t.Fatal(why, why.InUseAs)
		}
	}

	// Handed over to another process: the key, the limit and the token.
	handed := Semaphore(lease.Keys()[0], lease.MaxHolders())
	for _, key := range []string{handed, lease.Key()} {
		longer, err := second.Extend(ctx, key, lease.Token(), 2*time.Minute)
		none(t, err)
		if longer.Key() != lease.Key() || longer.Validity() < 100*time.Second {
			t.Fatal(longer, longer.Validity())
		}
	}
	for _, wrong := range []string{"k", other.Key(), Slot("k", 3, lease.Slot()), Semaphore("k", 3)} {
		_, err = second.TryExtend(ctx, wrong, lease.Token(), time.Minute)
		is(t, err, ErrNotHeld)
		_, err = second.Adopt(ctx, wrong, lease.Token(), AdoptOptions{})
		is(t, err, ErrNotHeld)
	}

	events := make(chan WatchEvent, 100)
	watch, err := second.Watch(ctx, []WatchItem{{Key: handed, Token: lease.Token(), TTL: time.Minute}},
		WatchOptions{OnEvent: func(event WatchEvent) { events <- event }})
	none(t, err)
	if event := <-events; event.Kind != WatchExtended || event.Key != handed || !slices.Equal(event.Keys(), []string{"k"}) {
		t.Fatal(event)
	}
	watch.Close()

	lock, err := second.Adopt(ctx, handed, lease.Token(), AdoptOptions{})
	none(t, err)
	same, err := second.AcquireOrExtend(ctx, key, lease.Token(), AcquireOptions{})
	none(t, err)
	if same != lock || lock.Slot() != lease.Slot() || lock.FencingToken() < lease.FencingToken() {
		t.Fatal(same, lock, lock.Slot())
	}
	none(t, server.Crash())
	none(t, other.Extend(ctx, time.Minute))
	none(t, other.Release(ctx))
	acquire(t, first, key).release(t)
	none(t, lock.Extend(ctx, time.Minute))
	none(t, second.Release(ctx, "k", lease.Token()))
	<-lock.Lost()
	none(t, first.Do(ctx, "k", AcquireOptions{}, func(context.Context, *Lock) error { return nil }))
}
