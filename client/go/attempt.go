package redlockd

import (
	"context"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// attempt is one call of Acquire. The driver's mutex guards its result.
type attempt struct {
	driver      *driver
	lock        *Lock
	what        core.Acquire
	acquisition *core.Acquisition
	position    chan int      // the latest position in the wait queue
	decided     chan struct{} // closed once the result is there
	failure     *core.Failure
	queued      bool
	returned    bool // the result went to the caller
}

func newAttempt(d *driver, key string, options AcquireOptions) *attempt {
	a := &attempt{driver: d, position: make(chan int, 1), decided: make(chan struct{}),
		lock: &Lock{Key: key, driver: d, lost: make(chan struct{})}}
	a.what = core.Acquire{Key: key, TTL: options.TTL, Try: options.Try, Owner: options.Owner, Margin: options.Margin,
		Token: options.Token, Done: a.onDone, Queued: a.onQueued, Lost: a.lock.onLost}
	return a
}

func (a *attempt) begin() (err error) {
	a.driver.do(func(m *core.Machine, now core.Instant) {
		if a.what.Token != "" && m.InUse(a.what.Key, a.what.Token) {
			err = invalid("token", "is already in use for %q by a lock that this client holds, requests or releases; use a new token",
				a.what.Key)
			return
		}
		a.acquisition = m.Acquire(now, a.what)
	})
	return err
}

// wait waits for the result. It calls onQueued with no mutex held.
func (a *attempt) wait(ctx context.Context, onQueued func(int)) (*Lock, error) {
	for {
		select {
		case <-a.decided:
			return a.take()
		case position := <-a.position:
			if onQueued != nil {
				onQueued(position)
			}
		case <-ctx.Done():
			select {
			case <-a.decided:
				return a.take()
			default:
				return nil, a.why(ctx)
			}
		}
	}
}

func (a *attempt) take() (*Lock, error) {
	a.returned = true
	if a.failure != nil {
		return nil, errorOf(a.what.Key, a.failure)
	}
	return a.lock, nil
}

// why returns why the lock was not acquired in time. It reports an outage as such, not as contention.
func (a *attempt) why(ctx context.Context) error {
	err := endedBy(ctx, a.what.Key, "the deadline passed before the lock was acquired")
	a.driver.do(func(m *core.Machine, _ core.Instant) {
		switch {
		case err.Reason != DeadlineExceeded:
		case !m.Connected():
			err.Reason = Unreachable
			err.Message = a.what.Key + ": no daemon answered in time"
			if failure := m.LastFailure(); failure != nil {
				err.Message += ": " + failure.Message
			}
		case a.queued:
			err.Message = a.what.Key + ": another client still held the lock when the deadline passed"
		}
	})
	return err
}

// leave releases a lock that was not returned to the caller, even if the caller's callback panicked.
func (a *attempt) leave() {
	if a.returned || a.acquisition == nil {
		return
	}
	a.driver.do(func(m *core.Machine, now core.Instant) {
		if a.lock.lease != nil { // decided in the meantime
			m.Release(now, a.lock.lease, func(*core.Failure) {})
		} else {
			m.GiveUp(now, a.acquisition)
		}
	})
}

func (a *attempt) onDone(lease *core.Lease, failure *core.Failure) {
	if lease != nil {
		a.lock.lease, a.lock.Token = lease, lease.Token
	}
	a.failure = failure
	close(a.decided)
}

func (a *attempt) onQueued(position int) {
	a.queued = true
	select {
	case <-a.position: // replaces a position that was not read yet
	default:
	}
	a.position <- position
}
