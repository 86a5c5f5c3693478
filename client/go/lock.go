package redlockd

import (
	"context"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// Lock is a lock that was acquired.
type Lock struct {
	Key   string
	Token string // the secret that proves ownership

	driver *driver
	lease  *core.Lease   // guarded by the driver's mutex
	loss   *Error        // likewise
	lost   chan struct{} // closed at the loss
}

// FencingToken is higher than that of any holder before. Hand it to the storage that the lock protects, which refuses a
// lower one than it has seen. It may grow while the lock is held, when the lock moves to another daemon.
func (l *Lock) FencingToken() (token uint64) {
	l.driver.mutex.Lock()
	defer l.driver.mutex.Unlock()
	return l.lease.FencingToken()
}

// Validity is how long the lock can be trusted if nothing is heard from a daemon any more; 0 once it is lost or released.
// The daemon extends it all the while.
func (l *Lock) Validity() time.Duration {
	l.driver.mutex.Lock()
	defer l.driver.mutex.Unlock()
	return l.lease.Validity(l.driver.clock())
}

// Held is whether the lock can be trusted now.
func (l *Lock) Held() bool { return l.Validity() > 0 }

// Lost is closed when the lock is lost, or about to be (AcquireOptions.Margin), and by Client.Close; not by a release. The
// work that the lock protects has to stop then.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Err is why the lock was lost; nil if Lost is not closed.
func (l *Lock) Err() error {
	l.driver.mutex.Lock()
	defer l.driver.mutex.Unlock()
	if l.loss == nil {
		return nil
	}
	return l.loss
}

// WithContext derives a context that ends when the lock is lost; context.Cause gives the loss, from Go 1.20 on.
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

// Extend makes the lock last for ttl from now. That is rarely needed: the daemon extends it all the while, by its TTL.
func (l *Lock) Extend(ctx context.Context, ttl time.Duration) error {
	if err := checkTTL(ttl); err != nil {
		return err
	}
	done := make(chan *core.Failure, 1)
	var extension *core.Extension
	l.driver.do(func(m *core.Machine, now core.Instant) {
		extension = m.Extend(now, l.lease, ttl, func(failure *core.Failure) { done <- failure })
	})
	select {
	case failure := <-done:
		return l.outcome(failure)
	case <-ctx.Done():
		l.driver.do(func(m *core.Machine, _ core.Instant) { m.Abandon(extension) })
		return endedBy(ctx, l.Key, "not extended in time")
	}
}

// Release gives the lock back. It waits for that until ctx ends, for 2 s at most; the release then goes on in the
// background. The error is LockNotHeld if the lock was lost before. A second Release does nothing and returns nil.
func (l *Lock) Release(ctx context.Context) error {
	done := make(chan *core.Failure, 1)
	l.driver.do(func(m *core.Machine, now core.Instant) {
		m.Release(now, l.lease, func(failure *core.Failure) { done <- failure })
	})
	bounded, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	select {
	case failure := <-done:
		return l.outcome(failure)
	case <-bounded.Done():
		return endedBy(bounded, l.Key, "not released in time; that goes on in the background")
	}
}

func (l *Lock) outcome(failure *core.Failure) error {
	if failure == nil {
		return nil
	}
	return errorOf(l.Key, failure)
}

// onLost is called under the driver's mutex.
func (l *Lock) onLost(failure *core.Failure) {
	l.loss = errorOf(l.Key, failure)
	close(l.lost)
}
