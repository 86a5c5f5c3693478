package redlockd

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// fakeDaemon grants free keys and queues other acquires. It is for the tests of the driver; the state machine has its own.
type fakeDaemon struct {
	pb.UnimplementedLockServiceServer
	address string
	server  *grpc.Server

	mutex   sync.Mutex
	holders map[string]string // token by place: the key, as it is shown, or a slot of it
	waiting map[uint64]*pb.AcquireRequest
	calls   []pb.LockService_SessionServer
	bearer  []string
	refuse  codes.Code
	mute    bool // answers pings only
	silent  bool // answers nothing
	fence   uint64
	owners  map[string]string // label by key
	// What arrived: acquires, extends and releases in a Session, proclaims. refuse also refuses the latter.
	acquired   []*pb.AcquireRequest
	extended   []*pb.ExtendRequest
	released   []*pb.ReleaseRequest
	proclaimed []*pb.ProclaimRequest
	outage     string            // why the daemon cannot use its nodes for a proclaim; "": it can
	observers  chan *observation // the calls of Observe, as they arrive
	// What the answer to a cancelled acquire says about its last attempt.
	lastReason string
	heldFor    string // of the metadata
	begun      time.Time
}

// maxTTL is the longest time that a fakeDaemon keeps a key.
const maxTTL = 24 * time.Hour

func startDaemon(t *testing.T) *fakeDaemon {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &fakeDaemon{address: listener.Addr().String(), server: grpc.NewServer(), holders: map[string]string{},
		waiting: map[uint64]*pb.AcquireRequest{}, owners: map[string]string{}, observers: make(chan *observation, 1000), lastReason: LockAlreadyHeld, begun: time.Now()}
	pb.RegisterLockServiceServer(d.server, d)
	go func() { _ = d.server.Serve(listener) }()
	t.Cleanup(d.server.Stop)
	return d
}

func (d *fakeDaemon) Session(call pb.LockService_SessionServer) error {
	d.mutex.Lock()
	d.calls = append(d.calls, call)
	incoming, _ := metadata.FromIncomingContext(call.Context())
	d.bearer = append(d.bearer, incoming.Get("authorization")...)
	refuse := d.refuse
	d.mutex.Unlock()
	if refuse != codes.OK {
		return status.Error(refuse, "refused by the test")
	}
	for {
		request, err := call.Recv()
		if err != nil {
			return err
		}
		d.mutex.Lock()
		response := &pb.SessionResponse{Clock: durationpb.New(time.Since(d.begun))}
		ended := false
		for _, o := range request.Operations {
			ended = d.carryOut(o, response) || ended
		}
		if !d.silent && len(response.Results)+len(response.Positions) > 0 {
			_ = call.Send(response)
		}
		d.mutex.Unlock()
		if ended {
			return nil
		}
	}
}

func (d *fakeDaemon) carryOut(o *pb.SessionOperation, response *pb.SessionResponse) (ended bool) {
	result := &pb.SessionResult{Id: o.Id}
	add := func() { response.Results = append(response.Results, result) }
	fail := func(reason string) {
		result.Status = &pb.OperationStatus{Reason: reason, Message: "by the test"}
		add()
	}
	// metadata names the holder and the last reason, as in the proto.
	metadata := func(key string) {
		result.Status.Metadata = map[string]string{"owner": d.owners[key], "held_for": d.heldFor, "last_reason": d.lastReason}
	}
	if o.GetPing() != nil {
		add()
	}
	if d.mute {
		return false
	}
	switch {
	case o.GetClose() != nil:
		d.holders = map[string]string{}
		add()
		return true
	case o.GetCancel() != nil:
		if a, waits := d.waiting[o.Id]; waits {
			delete(d.waiting, o.Id)
			fail(Canceled)
			metadata(keyOf(a))
		}
	case o.GetAcquire() != nil:
		a := o.GetAcquire()
		d.acquired = append(d.acquired, a)
		key := keyOf(a)
		use := d.inUseAs(key)
		switch {
		case use != "" && use != kindOf(a.MaxHolders):
			fail(KindMismatch)
			result.Status.Metadata = map[string]string{"in_use_as": use}
		case d.grant(a, result):
			d.owners[key] = a.Owner
			add()
		case a.Retry != nil:
			fail(LockAlreadyHeld)
			metadata(key)
		default:
			d.waiting[o.Id] = a
			response.Positions = append(response.Positions, &pb.QueuePosition{Id: o.Id, Position: 2})
		}
	case o.GetAdopt() != nil:
		a := o.GetAdopt()
		slot, found := d.slotOf(keyOf(a), a.MaxHolders, a.Slot, a.Token)
		if !found {
			fail(LockNotHeld)
			break
		}
		d.fence++
		result.Lease = &pb.Lease{Key: a.Key, Keys: a.Keys, MaxHolders: a.MaxHolders, Slot: slot, Token: a.Token,
			FencingToken: d.fence, Validity: a.Ttl}
		add()
	case o.GetExtend() != nil:
		e := o.GetExtend()
		d.extended = append(d.extended, e)
		slot, found := d.slotOf(keyOf(e), e.MaxHolders, e.Slot, e.Token)
		if !found {
			fail(LockNotHeld)
			break
		}
		result.Lease = &pb.Lease{Key: e.Key, Keys: e.Keys, MaxHolders: e.MaxHolders, Slot: slot, Token: e.Token,
			FencingToken: d.fence, Validity: e.Ttl}
		add()
	case o.GetRelease() != nil:
		d.released = append(d.released, o.GetRelease())
		key := keyOf(o.GetRelease())
		place := d.heldBy(key, o.GetRelease().Token)
		if place == "" {
			fail(LockNotHeld)
			break
		}
		if o.GetRelease().KeepFor.AsDuration() > maxTTL {
			fail(InvalidArgument)
			break
		}
		delete(d.holders, place)
		add()
		d.grantWaiter(key, response)
	}
	return false
}

// placeOf returns where a token is found in fakeDaemon.holders.
func placeOf(key string, maxHolders, slot int32) string {
	if maxHolders == 0 {
		return key
	}
	return fmt.Sprintf("%s, slot %d of %d", key, slot, maxHolders)
}

// kindOf returns what `in_use_as` calls a key of this limit.
func kindOf(maxHolders int32) string {
	if maxHolders == 0 {
		return "a lock"
	}
	return fmt.Sprintf("a semaphore of %d", maxHolders)
}

// inUseAs returns how the key is in use; "": nobody holds it.
func (d *fakeDaemon) inUseAs(key string) string {
	for place := range d.holders {
		var slot, maxHolders int32
		if place == key {
			return kindOf(0)
		} else if numbers, found := strings.CutPrefix(place, key+", "); found {
			if n, _ := fmt.Sscanf(numbers, "slot %d of %d", &slot, &maxHolders); n == 2 {
				return kindOf(maxHolders)
			}
		}
	}
	return ""
}

// heldBy returns where the token holds the key, whatever its kind; "": it does not.
func (d *fakeDaemon) heldBy(key, token string) string {
	for place, holder := range d.holders {
		if holder == token && (place == key || strings.HasPrefix(place, key+", slot ")) {
			return place
		}
	}
	return ""
}

// slotOf returns the slot that the token has, and whether it holds the key in this way. wanted: only this slot; 0: any.
func (d *fakeDaemon) slotOf(key string, maxHolders, wanted int32, token string) (slot int32, found bool) {
	for slot := min(1, maxHolders); slot <= maxHolders; slot++ {
		if d.holders[placeOf(key, maxHolders, slot)] == token && (wanted == 0 || wanted == slot) {
			return slot, true
		}
	}
	return 0, false
}

// grant grants the key, or the first free slot of a semaphore, if there is one.
func (d *fakeDaemon) grant(a *pb.AcquireRequest, result *pb.SessionResult) bool {
	for slot := min(1, a.MaxHolders); slot <= a.MaxHolders; slot++ {
		if place := placeOf(keyOf(a), a.MaxHolders, slot); d.holders[place] == "" {
			d.fence++
			d.holders[place] = a.GetToken()
			result.Lease = &pb.Lease{Key: a.Key, Keys: a.Keys, MaxHolders: a.MaxHolders, Slot: slot, Token: a.GetToken(),
				FencingToken: d.fence, Validity: a.Ttl}
			return true
		}
	}
	return false
}

// keyOf returns the key of a request, as it is shown.
func keyOf(request interface {
	GetKey() string
	GetKeys() []string
}) string {
	if request.GetKey() != "" {
		return request.GetKey()
	}
	return core.Together(request.GetKeys()...).String()
}

// grantWaiter passes a released lock on. It serves tests with one stream.
func (d *fakeDaemon) grantWaiter(key string, response *pb.SessionResponse) {
	for id, a := range d.waiting {
		if result := (&pb.SessionResult{Id: id}); keyOf(a) == key && d.grant(a, result) {
			delete(d.waiting, id)
			response.Results = append(response.Results, result)
			return
		}
	}
}

// send sends an event on the newest stream.
func (d *fakeDaemon) send(event *pb.WatchResponse) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	_ = d.calls[len(d.calls)-1].Send(&pb.SessionResponse{
		Events: []*pb.WatchResponse{event}, Clock: durationpb.New(time.Since(d.begun))})
}

func (d *fakeDaemon) set(change func()) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	change()
}

func (d *fakeDaemon) holder(key string) string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.holders[key]
}

func (d *fakeDaemon) owner(key string) string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.owners[key]
}

func (d *fakeDaemon) streams() int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return len(d.calls)
}

func newTestClient(t *testing.T, options Options, daemons ...*fakeDaemon) *Client {
	t.Helper()
	var endpoints []string
	for _, d := range daemons {
		endpoints = append(endpoints, d.address)
	}
	client, err := New(endpoints, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func acquire(t *testing.T, c *Client, key string) *Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	lock, err := c.Acquire(ctx, key, AcquireOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for begun := time.Now(); !condition(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("not within 10 s: " + what)
		}
	}
}
