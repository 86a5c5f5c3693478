package redlockd

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "redlockd/redlockv1"
)

// Operations of a stream, by their ids: it has one of each at a time.
const (
	ping uint64 = iota + 1
	acquire
	extend
	release
)

const connectTimeout = 2 * time.Second

// message is what came, when it was made at the latest, and why nothing will come any more.
type message struct {
	*pb.SessionResponse
	made time.Duration
	err  *broken
}

func (m message) result(id uint64) *pb.SessionResult {
	for _, result := range m.GetResults() {
		if result.GetId() == id {
			return result
		}
	}
	return nil
}

// stream is a Session for one lock.
type stream struct {
	endpoint string
	call     pb.LockService_SessionClient
	cancel   context.CancelFunc
	in       chan message
	over     chan struct{} // closed by cancel()

	mutex sync.Mutex
	clock *daemonClock
	sent  map[uint64]time.Duration
}

// open returns once the daemon answers, or ctx ends.
func open(ctx context.Context, stub pb.LockServiceClient, endpoint, token string) (*stream, *broken) {
	own, cancel := context.WithCancel(context.Background())
	if token != "" {
		own = metadata.AppendToOutgoingContext(own, "authorization", "Bearer "+token)
	}
	s := &stream{endpoint: endpoint, in: make(chan message, 16), over: make(chan struct{}),
		clock: newDaemonClock(), sent: map[uint64]time.Duration{}}
	var once sync.Once
	s.cancel = func() { once.Do(func() { cancel(); close(s.over) }) }
	begun := make(chan *broken, 1)
	go func() {
		call, err := stub.Session(own)
		if err != nil {
			begun <- s.brokenBy(err)
			return
		}
		s.call = call
		begun <- nil
		s.receive()
	}()
	timer := time.NewTimer(connectTimeout)
	defer timer.Stop()
	for {
		select {
		case err := <-begun:
			if err != nil {
				s.cancel()
				return nil, err
			}
			s.send(&pb.SessionOperation{Id: ping, Operation: &pb.SessionOperation_Ping{Ping: &pb.PingOperation{}}})
		case m := <-s.in:
			if m.err != nil {
				s.cancel()
				return nil, m.err
			}
			return s, nil
		case <-timer.C:
			s.cancel()
			return nil, &broken{Error: &Error{Reason: Unreachable, Message: endpoint + ": no answer"}}
		case <-ctx.Done():
			s.cancel()
			return nil, &broken{Error: &Error{Reason: Unreachable, Message: endpoint + ": no answer yet"}}
		}
	}
}

// send: what goes wrong is told by what is received.
func (s *stream) send(operation *pb.SessionOperation) {
	s.mutex.Lock()
	if _, known := s.sent[operation.Id]; !known {
		s.sent[operation.Id] = now()
	}
	s.mutex.Unlock()
	_ = s.call.Send(&pb.SessionRequest{Operations: []*pb.SessionOperation{operation}})
}

func (s *stream) receive() {
	for {
		response, err := s.call.Recv()
		m := message{SessionResponse: response}
		if err != nil {
			m.err = s.brokenBy(err)
		} else {
			m.made = s.takeIn(response)
			for _, event := range response.GetEvents() {
				if event.GetType() == pb.EventType_EVENT_TYPE_DRAINING {
					m.err = &broken{orderly: true, Error: &Error{Reason: Draining, Message: s.endpoint + ": is shutting down"}}
				}
			}
		}
		select {
		case s.in <- m:
		case <-s.over:
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *stream) takeIn(response *pb.SessionResponse) time.Duration {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	at := now()
	daemon := response.GetClock().AsDuration()
	s.clock.onMessage(daemon, at)
	for _, result := range response.GetResults() {
		if sent, found := s.sent[result.GetId()]; found {
			s.clock.onRoundTrip(at - sent)
			delete(s.sent, result.GetId())
		}
	}
	return s.clock.madeAt(daemon)
}

func (s *stream) brokenBy(err error) *broken {
	told := status.Convert(err)
	reason := Unreachable
	switch told.Code() {
	case codes.Unauthenticated:
		reason = Unauthenticated
	case codes.PermissionDenied:
		reason = PermissionDenied
	}
	return &broken{Error: &Error{Reason: reason, Message: s.endpoint + ": " + told.Message()}}
}

// close ends it in an orderly way: what the daemon holds for it is released, or left to others where
// it said DRAINING.
func (s *stream) close() {
	_ = s.call.CloseSend()
	timer := time.NewTimer(connectTimeout)
	defer timer.Stop()
	defer s.cancel()
	for {
		select {
		case m := <-s.in:
			if m.err != nil && !m.err.orderly {
				return
			}
		case <-timer.C:
			return
		}
	}
}
