package redlockd

import (
	"context"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// Lock is a lock that Client.Acquire or Client.Do has acquired.
type Lock struct {
	Key   string
	Token string // the owner token, the secret that proves ownership

	driver *driver
	lease  *core.Lease   // guarded by the driver's mutex
	loss   *Error        // guarded by the driver's mutex
	lost   chan struct{} // closed when the lock is lost
}

// FencingToken returns a number that is higher than that of every earlier holder. Pass it to the storage that the lock
// protects, which must refuse a lower one than it has seen. It may grow when the lock moves to another daemon.
func (l *Lock) FencingToken() (token uint64) {
	l.driver.mutex.Lock()
	defer l.driver.mutex.Unlock()
	return l.lease.FencingToken()
}

// Validity returns how long the lock can be trusted if no further message arrives from a daemon; 0 once the lock is lost
// or released. The daemon keeps extending the lock.
func (l *Lock) Validity() time.Duration {
	l.driver.mutex.Lock()
	defer l.driver.mutex.Unlock()
	return l.lease.Validity(l.driver.clock())
}

// Held reports whether the lock can be trusted now.
func (l *Lock) Held() bool { return l.Validity() > 0 }

// Lost returns a channel that is closed when the lock is lost or about to be lost (AcquireOptions.Margin), and by
// Client.Close; not by a release. The work that the lock protects must stop then.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Err returns why the lock was lost; nil if Lost is not closed.
func (l *Lock) Err() error {
	l.driver.mutex.Lock()
	defer l.driver.mutex.Unlock()
	if l.loss == nil {
		return nil
	}
	return l.loss
}

// WithContext derives a context that ends when the lock is lost. With Go 1.20 and newer, context.Cause returns the loss.
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

// Extend extends the lock to ttl from now. Rarely needed: the daemon keeps extending the lock by its TTL.
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
		return endedBy(ctx, l.Key, "the lock was not extended before the deadline")
	}
}

// Release releases the lock. It waits until ctx ends, at most 2 s; after that, the release continues in the background.
// It fails with LockNotHeld if the lock was lost before. A second Release does nothing and returns nil.
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
		return endedBy(bounded, l.Key, "the lock was not released in time; the release continues in the background")
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
