package redlockd

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "redlockd/redlockv1"
)

// Lock is a held lock.
type Lock struct {
	Key   string
	Token string // the secret that proves ownership
	// Higher than that of any holder before. Hand it to the storage that the lock protects.
	FencingToken uint64

	client  *Client
	options AcquireOptions
	asks    chan ask
	lost    chan struct{} // closed at the loss
	left    chan struct{} // closed when it is to be given up
	ended   chan struct{} // closed when the keeper has ended

	mutex      sync.Mutex
	validUntil time.Duration
	released   bool
	leaving    bool
	loss       *Error
}

// ask is an operation of the holder's.
type ask struct {
	operation *pb.SessionOperation
	answer    chan *Error // nil: done
}

func newLock(c *Client, key string, options AcquireOptions, s *stream, lease *pb.Lease, m message) *Lock {
	l := &Lock{Key: key, Token: lease.GetToken(), FencingToken: lease.GetFencingToken(), client: c, options: options,
		asks: make(chan ask), lost: make(chan struct{}), left: make(chan struct{}), ended: make(chan struct{}),
		validUntil: m.made + lease.GetValidity().AsDuration()}
	c.mutex.Lock()
	c.locks[l] = struct{}{}
	c.mutex.Unlock()
	if m.err != nil { // the same message said that the daemon is shutting down
		s.close()
		s = nil
	}
	go l.keep(s)
	return l
}

// Validity is how long the lock can be trusted if nothing is heard any more; 0 once it is lost or
// released. The daemon extends it all the while.
func (l *Lock) Validity() time.Duration {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.released || l.loss != nil {
		return 0
	}
	return longer(0, l.validUntil-now())
}

// Held is whether the lock can be trusted now.
func (l *Lock) Held() bool { return l.Validity() > 0 }

// Lost is closed when the lock is lost, or about to be (AcquireOptions.Margin); not by a release. The
// work that it protects has to stop then.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Err is why the lock was lost; nil while it is held.
func (l *Lock) Err() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.loss == nil {
		return nil
	}
	return l.loss
}

// WithContext derives a context that ends when the lock is lost; context.Cause tells why (Go 1.20).
func (l *Lock) WithContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := withCause(parent)
	go func() {
		select {
		case <-l.lost:
			cancel(l.Err())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// Extend makes it last for ttl from now. The daemon extends it all the while anyhow.
func (l *Lock) Extend(ctx context.Context, ttl time.Duration) error {
	return l.ask(ctx, &pb.SessionOperation{Id: extend, Operation: &pb.SessionOperation_Extend{
		Extend: &pb.ExtendRequest{Key: l.Key, Token: l.Token, Ttl: durationpb.New(ttl)}}})
}

// Release gives the lock back. LockNotHeld where it was lost before. Where ctx ends first it is given
// back in the background.
func (l *Lock) Release(ctx context.Context) error {
	l.mutex.Lock()
	again := l.released && l.loss == nil
	l.mutex.Unlock()
	if again {
		return nil
	}
	err := l.ask(ctx, &pb.SessionOperation{Id: release, Operation: &pb.SessionOperation_Release{
		Release: &pb.ReleaseRequest{Key: l.Key, Token: l.Token}}})
	l.abandon(nil)
	if ctx.Err() == nil {
		<-l.ended
	}
	return err
}

func (l *Lock) ask(ctx context.Context, operation *pb.SessionOperation) error {
	asked := ask{operation, make(chan *Error, 1)}
	select {
	case l.asks <- asked:
	case <-l.ended:
		if loss := l.Err(); loss != nil {
			return loss
		}
		return &Error{Reason: LockNotHeld, Message: "the lock has been released"}
	case <-ctx.Done():
		return ended(ctx, l.Key)
	}
	select {
	case err := <-asked.answer:
		if err == nil {
			return nil
		}
		return err
	case <-ctx.Done():
		return ended(ctx, l.Key)
	}
}

// abandon ends the keeper; with a loss where there is one.
func (l *Lock) abandon(loss *Error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if loss != nil && l.loss == nil && !l.released {
		l.loss = &Error{Reason: LockNotHeld, Message: "the lock was lost: " + loss.Message}
		close(l.lost)
	}
	l.released = true
	if !l.leaving {
		l.leaving = true
		close(l.left)
	}
}

// keep reads what comes, takes the lock to another daemon when the stream breaks, and tells its
// loss.
func (l *Lock) keep(s *stream) {
	asked := map[uint64]ask{}
	defer func() {
		if s != nil {
			s.close()
		}
		loss := l.Err()
		for _, one := range asked {
			if own, ok := loss.(*Error); ok {
				one.answer <- own
			} else {
				one.answer <- &Error{Reason: Canceled, Message: "the lock was given up"}
			}
		}
		l.client.mutex.Lock()
		delete(l.client.locks, l)
		l.client.mutex.Unlock()
		close(l.ended)
	}()
	for {
		if s == nil {
			var loss *Error
			if s, loss = l.takeAlong(); s == nil {
				l.abandon(loss)
				return
			}
			for _, one := range asked {
				s.send(one.operation)
			}
		}
		timer := time.NewTimer(l.timeLeft())
		select {
		case m := <-s.in:
			if loss := l.takeIn(m, asked); loss != nil {
				l.abandon(loss)
			}
			if m.err != nil {
				if m.err.orderly {
					s.close()
				}
				s.cancel()
				s = nil
			}
		case one := <-l.asks:
			asked[one.operation.Id] = one
			s.send(one.operation)
		case <-timer.C:
			if l.timeLeft() <= 0 {
				l.abandon(&Error{Message: "it could not be extended in time"})
			}
		case <-l.left:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// timeLeft is the time until the lock counts as lost.
func (l *Lock) timeLeft() time.Duration {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.validUntil - l.options.Margin - now()
}

func (l *Lock) extended(lease *pb.Lease, made time.Duration) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.validUntil = longer(l.validUntil, made+lease.GetValidity().AsDuration())
}

func (l *Lock) takeIn(m message, asked map[uint64]ask) *Error {
	for _, result := range m.GetResults() {
		if result.GetLease() != nil {
			l.extended(result.GetLease(), m.made)
		}
		one, found := asked[result.GetId()]
		if !found {
			continue
		}
		delete(asked, result.GetId())
		if result.GetStatus() != nil {
			one.answer <- errorOf(result.GetStatus())
		} else {
			one.answer <- nil
		}
	}
	for _, event := range m.GetEvents() {
		switch event.GetType() {
		case pb.EventType_EVENT_TYPE_EXTENDED:
			l.extended(event.GetLease(), m.made)
		case pb.EventType_EVENT_TYPE_LOST:
			return &Error{Reason: event.GetReason(), Message: event.GetMessage()}
		}
	}
	return nil
}

// takeAlong tries one daemon after the other until one has the lock. Nil: it is lost, or, without an
// error, it was given up.
func (l *Lock) takeAlong() (*stream, *Error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-l.left:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		left := l.timeLeft()
		if left <= 0 {
			return nil, &Error{Message: "it could not be extended in time"}
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		l.client.next()
		sleep(ctx, about(pause))
		once, done := context.WithTimeout(ctx, left)
		s, err := l.adopt(once)
		done()
		if s != nil {
			return s, nil
		}
		if err != nil && (err.Reason == LockAlreadyHeld || err.Reason == LockNotHeld) {
			return nil, err
		}
	}
}

func (l *Lock) adopt(ctx context.Context) (*stream, *Error) {
	s, gone := l.client.stream(ctx, l.options.TTL)
	if gone != nil {
		return nil, gone.Error
	}
	s.send(&pb.SessionOperation{Id: acquire, Operation: &pb.SessionOperation_Acquire{Acquire: &pb.AcquireRequest{
		Key: l.Key, Token: &l.Token, Ttl: durationpb.New(l.options.TTL), Owner: l.options.Owner,
		ExtendIfHeld: true, Retry: &pb.RetryPolicy{MaxRetries: new(int32)}}}})
	for {
		select {
		case m := <-s.in:
			result := m.result(acquire)
			switch {
			case result.GetLease() != nil && result.GetLease().GetFencingToken() == l.FencingToken && m.err == nil:
				l.extended(result.GetLease(), m.made)
				return s, nil
			case result.GetLease() != nil && m.err == nil:
				s.cancel() // and with it what was taken afresh
				return nil, &Error{Reason: LockNotHeld, Message: "it was let go before another daemon took it over"}
			case result.GetStatus() != nil:
				s.cancel()
				return nil, errorOf(result.GetStatus())
			case m.err != nil:
				s.cancel()
				return nil, m.err.Error
			}
		case <-ctx.Done():
			s.cancel()
			return nil, ended(ctx, l.Key)
		}
	}
}
