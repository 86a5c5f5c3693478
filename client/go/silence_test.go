package redlockd

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// quietDaemon accepts calls and does not answer them. A watch hears one event.
type quietDaemon struct {
	pb.UnimplementedLockServiceServer
	called chan struct{}
}

func (d *quietDaemon) Watch(r *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	item := r.Items[0]
	_ = stream.Send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_EXTENDED, Key: item.Key, Lease: &pb.Lease{Key: item.Key, Token: item.Token}})
	<-stream.Context().Done()
	return nil
}

func (d *quietDaemon) wait(ctx context.Context) error {
	d.called <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func (d *quietDaemon) Acquire(ctx context.Context, _ *pb.AcquireRequest) (*pb.AcquireResponse, error) {
	return nil, d.wait(ctx)
}

func (d *quietDaemon) Extend(ctx context.Context, _ *pb.ExtendRequest) (*pb.ExtendResponse, error) {
	return nil, d.wait(ctx)
}

func startQuietDaemon(t *testing.T) (*quietDaemon, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &quietDaemon{called: make(chan struct{}, 2)}
	server := grpc.NewServer()
	pb.RegisterLockServiceServer(server, d)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return d, listener.Addr().String()
}

// The keepalive would notice it long after the TTL.
func TestAWatchLeavesADaemonThatFallsSilent(t *testing.T) {
	_, first := startQuietDaemon(t)
	_, second := startQuietDaemon(t)
	c, err := New([]string{first, second}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	heard := make(chan WatchEvent, 10)
	watch, err := c.Watch(soon(t), []WatchItem{{Key: "k", Token: "t", TTL: 200 * time.Millisecond}},
		WatchOptions{OnEvent: func(event WatchEvent) { heard <- event }})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for _, kind := range []WatchKind{WatchExtended, WatchInterrupted, WatchExtended} {
		if event := <-heard; event.Kind != kind {
			t.Fatal(event)
		}
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Fatal(took)
	}
	watch.Close()
	<-watch.Done()
	if event := <-heard; event.Kind != WatchEnded {
		t.Fatal(event)
	}
}

func TestCloseEndsCallsWithoutASession(t *testing.T) {
	d, address := startQuietDaemon(t)
	c, err := New([]string{address}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() {
		_, err := c.AcquireDetached(background, "k", AcquireOptions{TTL: 100 * time.Millisecond})
		ended <- err
	}()
	go func() { _, err := c.Extend(background, "k", "t", time.Second); ended <- err }()
	<-d.called
	<-d.called
	c.Close()
	for range 2 {
		expectReason(t, <-ended, Canceled)
	}
	_, err = c.AcquireDetached(background, "k", AcquireOptions{})
	expectReason(t, err, Canceled)
	if len(d.called) != 0 {
		t.Fatal("something went on")
	}
}

// Also if the function ignores its context.
func TestTheTimeOfATokenFunctionCounts(t *testing.T) {
	_, address := startQuietDaemon(t)
	stop := make(chan struct{})
	defer close(stop)
	c, err := New([]string{address}, Options{Token: func(context.Context) (string, error) { <-stop; return "t", nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err = c.AcquireDetached(ctx, "k", AcquireOptions{})
	expectReason(t, err, Unreachable)
	_, err = c.Extend(ctx, "k", "t", time.Second)
	expectReason(t, err, Unreachable)
	ctx, cancel = context.WithCancel(background)
	time.AfterFunc(200*time.Millisecond, cancel)
	_, err = c.AcquireDetached(ctx, "k", AcquireOptions{})
	expectReason(t, err, Canceled)
	if took := time.Since(begun); took > 2*time.Second {
		t.Fatal(took)
	}
}
