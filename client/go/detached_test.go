package redlockd

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// lateDaemon grants each detached lock half a second after the call was cancelled.
type lateDaemon struct {
	pb.UnimplementedLockServiceServer
	acquiring chan struct{}
	granted   chan struct{} // closed by the grant
	released  chan struct{}
}

func (d *lateDaemon) Acquire(ctx context.Context, _ *pb.AcquireRequest) (*pb.AcquireResponse, error) {
	d.acquiring <- struct{}{}
	<-ctx.Done()
	time.AfterFunc(time.Second/2, func() { close(d.granted) })
	return nil, ctx.Err()
}

func (d *lateDaemon) Release(context.Context, *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	select {
	case <-d.granted:
		d.released <- struct{}{}
		return &pb.ReleaseResponse{}, nil
	default:
		return nil, reported(LockNotHeld, codes.FailedPrecondition)
	}
}

func TestALockThatIsGrantedAfterTheCancellationIsReleased(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &lateDaemon{acquiring: make(chan struct{}, 1), granted: make(chan struct{}), released: make(chan struct{}, 1)}
	server := grpc.NewServer()
	pb.RegisterLockServiceServer(server, d)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	c, err := New([]string{listener.Addr().String()}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(soon(t))
	go func() {
		<-d.acquiring
		cancel()
	}()
	_, err = c.AcquireDetached(ctx, "k", AcquireOptions{})
	expectReason(t, err, Canceled)
	select {
	case <-d.released:
	case <-soon(t).Done():
		t.Fatal("the lock is left behind")
	}
}
