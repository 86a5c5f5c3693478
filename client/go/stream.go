package redlockd

import (
	"context"
	"runtime"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// call is an open Session stream. Only one goroutine sends, and only one receives.
type call interface {
	Send(*pb.SessionRequest) error
	Recv() (*pb.SessionResponse, error)
}

// dialer opens Sessions.
type dialer interface {
	count() int // of endpoints
	name(endpoint int) string
	// session opens a Session to an endpoint, and returns a function to call after the Session has ended.
	session(ctx context.Context, endpoint int) (call, func(), *core.Failure)
}

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
	call, end, failure := d.transport.session(s.ctx, endpoint)
	if failure == nil {
		defer end()
		go s.write(d, call)
		failure = s.read(d, call)
	}
	failure.Message = d.transport.name(endpoint) + ": " + failure.Message
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
			// The goroutines that a message has woken together run first, so that their operations share a message.
			runtime.Gosched()
		case <-s.ctx.Done():
			return
		}
	}
}
