package redlockd

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// call is an open Session stream. Only one goroutine sends, and only one receives.
type call interface {
	Send(*pb.SessionRequest) error
	Recv() (*pb.SessionResponse, error)
}

// dialer opens a Session to an endpoint, and returns a function to call after the Session has ended.
type dialer func(ctx context.Context, endpoint int) (call, func(), *core.Failure)

// stream carries the messages of one Session of the machine.
type stream struct {
	number uint64
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // there is something to send
}

func newStream(number uint64) *stream {
	ctx, cancel := context.WithCancel(context.Background())
	return &stream{number: number, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1)}
}

func (s *stream) run(d *driver, endpoint int) {
	defer s.cancel()
	call, end, failure := d.dial(s.ctx, endpoint)
	if failure == nil {
		defer end()
		go s.write(d, call)
		failure = s.read(d, call)
	}
	failure.Message = d.endpoints[endpoint] + ": " + failure.Message
	d.do(func(m *core.Machine, now core.Instant) { m.OnBroken(now, s.number, failure) })
}

func (s *stream) read(d *driver, call call) *core.Failure {
	for {
		message, err := call.Recv()
		if err != nil {
			return brokenBy(err)
		}
		d.do(func(m *core.Machine, now core.Instant) { m.OnMessage(now, s.number, message) })
	}
}

// write sends the operations that were queued while the previous message was being written. read reports its errors.
func (s *stream) write(d *driver, call call) {
	for {
		var message *pb.SessionRequest
		d.do(func(m *core.Machine, now core.Instant) { message = m.TakeMessage(now, s.number) })
		if message != nil {
			if call.Send(message) != nil {
				return
			}
			continue
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
	}
}

// dialGRPC opens each Session on its own connection, so that a connection that loses packets is never reused.
func dialGRPC(endpoints []string, options Options) dialer {
	return func(ctx context.Context, endpoint int) (call, func(), *core.Failure) {
		address := endpoints[endpoint]
		token, failure := bearerToken(options.Token)
		if failure != nil {
			return nil, nil, failure
		}
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		credentials := insecure.NewCredentials()
		if options.TLS != nil && !strings.HasPrefix(address, "unix:") {
			credentials = options.TLS
		}
		connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials),
			grpc.WithDisableServiceConfig(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
		if err != nil {
			return nil, nil, &core.Failure{Reason: core.InvalidArgument, Message: err.Error()}
		}
		session, err := pb.NewLockServiceClient(connection).Session(ctx)
		if err != nil {
			_ = connection.Close()
			return nil, nil, brokenBy(err)
		}
		return session, func() { _ = connection.Close() }, nil
	}
}

func bearerToken(make func() string) (token string, failure *core.Failure) {
	if make == nil {
		return "", nil
	}
	defer func() {
		if problem := recover(); problem != nil {
			failure = &core.Failure{Reason: core.Unauthenticated, Message: fmt.Sprint("Options.Token panicked: ", problem)}
		}
	}()
	return make(), nil
}

func brokenBy(err error) *core.Failure {
	if err == io.EOF {
		return &core.Failure{Reason: core.Unreachable, Message: "the daemon closed the stream"}
	}
	reported, reason := status.Convert(err), core.Unreachable
	switch reported.Code() {
	case codes.Unauthenticated:
		reason = core.Unauthenticated
	case codes.PermissionDenied:
		reason = core.PermissionDenied
	case codes.InvalidArgument:
		reason = core.InvalidArgument
	case codes.ResourceExhausted:
		reason = core.Overloaded
	}
	return &core.Failure{Reason: reason, Message: reported.Message()}
}
