package redlockd

import (
	"context"
	"fmt"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// Lock is a lock that the client keeps alive until it is released or lost, or the client is closed. Printing a Lock does
// not show its token.
type Lock struct {
	client *Client
	driver *driver
	lease  *core.Lease                                 // set before the caller gets the Lock; its state is guarded by the driver's mutex
	loss   *Error                                      // guarded by the driver's mutex
	lost   chan struct{}                               // closed when the lock is lost
	inside map[context.Context]context.CancelCauseFunc // guarded by the driver's mutex: ends with the lock
}

// Key returns the key, to be passed to the functions of this package that take a token. Of several keys, it is
// Together(Keys()...), of a share, Shared(Together(Keys()...)), and of a semaphore, Slot(Keys()[0], MaxHolders(), Slot()).
func (l *Lock) Key() string { return string(l.key()) }

func (l *Lock) key() core.Key { return l.lease.Key.InSlot(l.lease.Slot) }

// Keys returns the keys in byte order, to be shown or handed over. It has one element unless Together made the key.
func (l *Lock) Keys() []string { return l.lease.Key.Names() }

// Shared reports whether the lock is a share. Hand it over with Keys: see Shared, the function.
func (l *Lock) Shared() bool { return l.lease.Key.Shared() }

// MaxHolders returns the limit of the semaphore; 0: the key is none. Hand it over with Keys: see Semaphore.
func (l *Lock) MaxHolders() int { return l.lease.Key.MaxHolders() }

// Slot returns which of the semaphore's slots is held, from 1 to MaxHolders; 0: the key is no semaphore. No other holder has
// the same slot at the same time, and fencing tokens grow from each holder of a slot to the next.
func (l *Lock) Slot() int { return l.lease.Slot }

// Token returns the owner token, the secret that proves ownership.
func (l *Lock) Token() string { return l.lease.Token }

// FencingToken returns a number that is higher than that of every earlier holder. Pass it to the storage that the lock
// protects, which must refuse a lower one than it has seen. It may grow when the lock moves to another daemon.
func (l *Lock) FencingToken() uint64 {
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

// Err returns why the lock was lost, an error that matches ErrLockLost; nil if Lost is not closed.
func (l *Lock) Err() error {
	l.driver.mutex.Lock()
	defer l.driver.mutex.Unlock()
	if l.loss == nil {
		return nil
	}
	return l.loss
}

// WithContext derives a context that ends when the lock is lost; context.Cause then returns the loss. Call the
// CancelFunc when the work is done. A release does not end the context.
func (l *Lock) WithContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	l.driver.mutex.Lock()
	defer l.driver.mutex.Unlock()
	if l.loss != nil {
		cancel(l.loss)
		return ctx, func() {}
	}
	if l.inside == nil {
		l.inside = map[context.Context]context.CancelCauseFunc{}
	}
	l.inside[ctx] = cancel
	return ctx, func() {
		cancel(context.Canceled)
		l.driver.mutex.Lock()
		defer l.driver.mutex.Unlock()
		delete(l.inside, ctx)
	}
}

// Extend extends the lock to ttl from now, at least 10 ms. Rarely needed: the daemon keeps extending the lock by its TTL.
// The daemon retries while too few nodes answer.
func (l *Lock) Extend(ctx context.Context, ttl time.Duration) error {
	return l.extend(ctx, ttl, nil)
}

// TryExtend is Extend with a single attempt.
func (l *Lock) TryExtend(ctx context.Context, ttl time.Duration) error {
	return l.extend(ctx, ttl, (&RetryPolicy{}).message())
}

func (l *Lock) extend(ctx context.Context, ttl time.Duration, retry *pb.RetryPolicy) error {
	if err := checkTTL(ttl); err != nil {
		return err
	}
	done := make(chan *core.Failure, 1)
	var extension *core.Extension
	l.driver.do(func(m *core.Machine, now core.Instant) {
		extension = m.Extend(now, l.lease, ttl, retry, func(failure *core.Failure) { done <- failure })
	})
	select {
	case failure := <-done:
		return l.outcome(failure)
	case <-ctx.Done():
		err := endedBy(ctx, l.key(), "the lock was not extended before the deadline")
		l.driver.do(func(m *core.Machine, _ core.Instant) {
			m.Abandon(extension)
			if err.Reason == DeadlineExceeded && !m.Connected() {
				err.Reason, err.Message = Unreachable, l.lease.Key.String()+": no daemon answered before the deadline"
			}
		})
		return err
	}
}

// Proclaim replaces the value that the lock publishes (AcquireOptions.Value) by value, at most 4096 bytes of UTF-8. "": it
// publishes no value. While no daemon or too few nodes answer, Proclaim retries, but not once the lock is lost or released: it then
// fails as Extend does. Without a deadline in ctx, it takes at most 5 s. After any failure except ErrInvalidArgument,
// observers may or may not see the value, now or later.
func (l *Lock) Proclaim(ctx context.Context, value string) error {
	if err := checkText("value", value, mostValue); err != nil {
		return err
	}
	if err := l.notHeld(); err != nil {
		return err
	}
	inside, cancel := l.WithContext(ctx)
	defer cancel()
	request := proclaimRequest(l.key(), l.Token(), value)
	err := l.client.byToken(inside, l.key(), l.Token(), func(ctx context.Context, stub pb.LockServiceClient, _ bool) error {
		if l.notHeld() != nil { // released since the last try
			cancel()
			return context.Canceled
		}
		return proclaim(ctx, stub, request)
	})
	if gone := l.notHeld(); err != nil && gone != nil {
		return gone
	}
	return err
}

// notHeld returns why a call on the lock fails; nil: the lock is held.
func (l *Lock) notHeld() (err error) {
	l.driver.do(func(*core.Machine, core.Instant) { err = l.outcome(l.lease.NotHeld()) })
	return err
}

// Downgrade downgrades an exclusive lock to a share (see Shared) and returns the share, a new Lock with the same token.
// Other holders may share the key from then on, and nobody else holds it exclusively in between. The exclusive lock counts
// as released from the beginning of the call, so the work that needs it must have stopped. Its Release does nothing and
// returns nil, its Extend returns ErrNotHeld, and it signals no loss.
//
// Downgrade waits until ctx ends, and at most for as long as the lock was valid. It fails with ErrInvalidArgument, and
// leaves the lock as it is, if the lock is a share or a slot of a semaphore, or while another call requests the key with the
// same token. After any other failure, no lock is left behind: unless the error matches ErrNotHeld, the lock is released in
// the background, and a token of your own must not be used again.
func (l *Lock) Downgrade(ctx context.Context) (*Lock, error) {
	if l.lease.Key.Shared() || l.lease.Key.Semaphore() {
		return nil, errorOf(l.key(), &core.Failure{Reason: InvalidArgument, Message: "only an exclusive lock can be downgraded"})
	}
	a := newAttempt(l.client, l.key(), core.Acquire{}, nil)
	defer a.leave()
	l.driver.do(func(m *core.Machine, now core.Instant) { a.acquisition = m.Downgrade(now, l.lease, a.what) })
	return a.wait(ctx)
}

// Release releases the lock. It waits until ctx ends, at most 2 s; after that, the release continues in the background.
// It fails with ErrLockLost if the lock was lost before. A second Release does nothing and returns nil, as does that of a
// downgraded lock. After any other failure, do not use the token again: a daemon may still carry out the release.
func (l *Lock) Release(ctx context.Context) error { return l.end(ctx, 0) }

// ReleaseAndKeep is Release, but the key stays taken until keepFor, at least 1 ms, has passed since the acquisition. Nobody
// holds it in that time. If the time has passed already, the key is free at once. A job that several machines start at
// the same time runs once, although their clocks differ. If keepFor is less, the lock stays held. If it is more than the
// daemon's max_ttl (5 minutes by default), the call fails with ErrInvalidArgument too, and the key is free at once.
func (l *Lock) ReleaseAndKeep(ctx context.Context, keepFor time.Duration) error {
	if err := checkKeepFor(keepFor); err != nil {
		return err
	}
	return l.end(ctx, keepFor)
}

func (l *Lock) end(ctx context.Context, keepFor time.Duration) error {
	done := make(chan *core.Failure, 1)
	l.driver.do(func(m *core.Machine, now core.Instant) {
		m.Release(now, l.lease, keepFor, func(failure *core.Failure) { done <- failure })
	})
	select { // the timer is only needed if the daemon is slow
	case failure := <-done:
		return l.outcome(failure)
	default:
	}
	bounded, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	select {
	case failure := <-done:
		return l.outcome(failure)
	case <-bounded.Done():
		return endedBy(bounded, l.key(), "the lock was not released in time; the release continues in the background")
	}
}

// String describes the lock without its token.
func (l *Lock) String() string {
	state := "held"
	switch {
	case l.Err() != nil:
		state = "lost"
	case !l.Held():
		state = "released"
	}
	return fmt.Sprintf("redlockd.Lock(%q, %s)", l.lease.Key, state)
}

// Format implements fmt.Formatter, so that no verb shows the token.
func (l Lock) Format(state fmt.State, _ rune) { _, _ = fmt.Fprint(state, l.String()) }

func (l *Lock) outcome(failure *core.Failure) error {
	if failure == nil {
		return nil
	}
	return errorOf(l.key(), failure)
}

// onLost is called under the driver's mutex.
func (l *Lock) onLost(failure *core.Failure) {
	l.loss = errorOf(l.key(), failure)
	close(l.lost)
	for _, cancel := range l.inside {
		cancel(l.loss)
	}
	l.inside = nil
	l.driver.lockLost(l.loss)
}
