package redlockd

import (
	"context"
	"net"
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
	holders map[string]string // token by key, as it is shown
	waiting map[uint64]*pb.AcquireRequest
	calls   []pb.LockService_SessionServer
	bearer  []string
	refuse  codes.Code
	mute    bool // answers pings only
	silent  bool // answers nothing
	fence   uint64
	owners  map[string]string // label by key
	// What the answer to a cancelled acquire says about its last attempt.
	lastReason string
	begun      time.Time
}

func startDaemon(t *testing.T) *fakeDaemon {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &fakeDaemon{address: listener.Addr().String(), server: grpc.NewServer(), holders: map[string]string{},
		waiting: map[uint64]*pb.AcquireRequest{}, owners: map[string]string{}, lastReason: LockAlreadyHeld, begun: time.Now()}
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
		result.Status.Metadata = map[string]string{"owner": d.owners[key], "last_reason": d.lastReason}
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
		key := keyOf(a)
		switch {
		case d.holders[key] == "":
			d.fence++
			d.holders[key], d.owners[key] = a.GetToken(), a.Owner
			result.Lease = &pb.Lease{Key: a.Key, Keys: a.Keys, Token: a.GetToken(), FencingToken: d.fence, Validity: a.Ttl}
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
		if d.holders[keyOf(a)] != a.Token {
			fail(LockNotHeld)
			break
		}
		d.fence++
		result.Lease = &pb.Lease{Key: a.Key, Keys: a.Keys, Token: a.Token, FencingToken: d.fence, Validity: a.Ttl}
		add()
	case o.GetExtend() != nil:
		e := o.GetExtend()
		result.Lease = &pb.Lease{Key: e.Key, Keys: e.Keys, Token: e.Token, FencingToken: d.fence, Validity: e.Ttl}
		add()
	case o.GetRelease() != nil:
		key := keyOf(o.GetRelease())
		if d.holders[key] != o.GetRelease().Token {
			fail(LockNotHeld)
			break
		}
		delete(d.holders, key)
		add()
		d.grantWaiter(key, response)
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
		if keyOf(a) == key {
			delete(d.waiting, id)
			d.fence++
			d.holders[key] = a.GetToken()
			response.Results = append(response.Results, &pb.SessionResult{Id: id,
				Lease: &pb.Lease{Key: a.Key, Keys: a.Keys, Token: a.GetToken(), FencingToken: d.fence, Validity: a.Ttl}})
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
