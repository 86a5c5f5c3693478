package redlockd

import (
	"context"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// attempt is a call of Acquire. The driver's mutex guards its result.
type attempt struct {
	driver      *driver
	lock        *Lock
	what        core.Acquire
	acquisition *core.Acquisition
	position    chan int      // the last one
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
			err = invalid("token", "is that of another lock of this client on %q, which is held, asked for or being released", a.what.Key)
			return
		}
		a.acquisition = m.Acquire(now, a.what)
	})
	return err
}

// wait calls onQueued without any mutex held.
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

// why it was not acquired in time: an outage must not read as contention.
func (a *attempt) why(ctx context.Context) error {
	err := endedBy(ctx, a.what.Key, "the time was over before the lock was acquired")
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
			err.Message = a.what.Key + ": still held by another when the time was over"
		}
	})
	return err
}

// leave sees to it that nothing stays locked, also if the caller's callback panicked.
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
	case <-a.position: // not heard yet
	default:
	}
	a.position <- position
}
