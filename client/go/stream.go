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

// A daemon of which nothing has come for a while is asked for a sign, and left where none comes. By
// an operation, because gRPC for Go lets its keepalive ask every 10 s at most: too late for a lock
// of 20 s, which may have half of that left.
const (
	leastQuiet = 3 * time.Second
	patience   = 2 * time.Second
)

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
	quiet    time.Duration
	call     pb.LockService_SessionClient
	breakOff context.CancelFunc // the call; its end is received
	cancel   context.CancelFunc // and nothing is received any more
	in       chan message
	over     chan struct{} // closed by cancel()

	sending sync.Mutex // around the call, which takes one message at a time

	mutex  sync.Mutex
	clock  *daemonClock
	sent   map[uint64]time.Duration
	heard  time.Duration // when the last message came
	silent bool          // it was broken off for that
}

// open returns once the daemon answers, or ctx ends. For a lock of that TTL.
func open(ctx context.Context, stub pb.LockServiceClient, endpoint, token string, ttl time.Duration) (*stream, *broken) {
	own, cancel := context.WithCancel(context.Background())
	if token != "" {
		own = metadata.AppendToOutgoingContext(own, "authorization", "Bearer "+token)
	}
	s := &stream{endpoint: endpoint, quiet: longer(ttl/4, leastQuiet), in: make(chan message, 16), over: make(chan struct{}),
		clock: newDaemonClock(), sent: map[uint64]time.Duration{}, breakOff: cancel}
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
			s.ping()
		case m := <-s.in:
			if m.err != nil {
				s.cancel()
				return nil, m.err
			}
			go s.watch()
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
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.call.Send(&pb.SessionRequest{Operations: []*pb.SessionOperation{operation}})
}

func (s *stream) ping() {
	s.send(&pb.SessionOperation{Id: ping, Operation: &pb.SessionOperation_Ping{Ping: &pb.PingOperation{}}})
}

// watch breaks the call off when the daemon is silent.
func (s *stream) watch() {
	for wait := s.quiet; ; {
		before := now()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.over:
			timer.Stop()
			return
		}
		s.mutex.Lock()
		at := now()
		asked, waits := s.sent[ping]
		heard := s.heard
		suspended := at-before > wait+patience
		s.silent = waits && at-asked >= patience && !suspended
		silent := s.silent
		s.mutex.Unlock()
		switch {
		case silent:
			s.breakOff()
			return
		case suspended || waits: // this process was: what has come meanwhile is read first
			wait = patience
		case at-heard < s.quiet:
			wait = s.quiet - (at - heard)
		default:
			wait = patience
			go s.ping() // may wait for room in what the daemon does not read
		}
	}
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
	s.heard = at
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
	s.mutex.Lock()
	silent := s.silent
	s.mutex.Unlock()
	if silent {
		return &broken{Error: &Error{Reason: Unreachable, Message: s.endpoint + ": no answer"}}
	}
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
	s.sending.Lock()
	_ = s.call.CloseSend()
	s.sending.Unlock()
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
