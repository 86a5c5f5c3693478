package redlockd

import (
	"context"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// attempt is one call of Acquire, AcquireOrExtend, Adopt or Downgrade. The driver's mutex guards its result.
type attempt struct {
	driver      *driver
	lock        *Lock
	key         core.Key // as it was passed to the call
	what        core.Acquire
	acquisition *core.Acquisition
	onQueued    func(int)     // the caller's; nil: none
	position    chan int      // the latest position in the wait queue; nil if the caller does not ask for it
	decided     chan struct{} // closed once the result is there
	failure     *core.Failure
	returned    bool // the result went to the caller
}

func newAttempt(c *Client, key core.Key, what core.Acquire, onQueued func(int)) *attempt {
	a := &attempt{driver: c.driver, key: key, what: what, onQueued: onQueued, decided: make(chan struct{}),
		lock: &Lock{client: c, driver: c.driver, lost: make(chan struct{})}}
	if onQueued != nil {
		a.position = make(chan int, 1)
	}
	a.what.Done, a.what.Queued, a.what.Lost = a.onDone, a.onPosition, a.lock.onLost
	return a
}

func (a *attempt) begin() (err error) {
	a.driver.do(func(m *core.Machine, now core.Instant) {
		if a.what.Token != "" && m.Held(a.what.Key, a.what.Token) != nil {
			err = errorOf(a.key, &core.Failure{Reason: LockAlreadyHeld, Message: "this client holds the lock with the same token"})
			return
		}
		if a.what.Token != "" && m.InUse(a.what.Key, a.what.Token) {
			err = invalid("token", "is already in use for %q by a lock that this client requests, downgrades or releases; use a new token", a.key)
			return
		}
		a.acquisition = m.Acquire(now, a.what)
	})
	return err
}

// wait waits for the result. It calls onQueued with no mutex held.
func (a *attempt) wait(ctx context.Context) (*Lock, error) {
	for {
		select {
		case <-a.decided:
			return a.take(nil)
		case position := <-a.position:
			a.callOnQueued(position)
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				a.driver.do(func(m *core.Machine, now core.Instant) { m.TimeOut(now, a.acquisition) })
				<-a.decided
			}
			select {
			case <-a.decided:
				return a.take(ctx)
			default:
				err := endedBy(ctx, a.key, "")
				err.Message += a.acquisition.Aftermath()
				return nil, err
			}
		}
	}
}

func (a *attempt) callOnQueued(position int) {
	defer func() { a.driver.log.contain("AcquireOptions.OnQueued", recover()) }()
	a.onQueued(position)
}

// take returns the result. ended is the context that has ended the wait; nil: none.
func (a *attempt) take(ended context.Context) (*Lock, error) {
	a.returned = true
	if a.failure == nil {
		return a.lock, nil
	}
	err := errorOf(a.key, a.failure)
	if ended != nil {
		err = err.because(ended)
	}
	return nil, err
}

// leave gives back a lock that was not returned to the caller.
func (a *attempt) leave() {
	if a.returned || a.acquisition == nil {
		return
	}
	a.driver.do(func(m *core.Machine, now core.Instant) {
		if a.lock.lease != nil { // decided in the meantime
			m.Return(now, a.acquisition)
		} else {
			m.GiveUp(now, a.acquisition)
		}
	})
}

func (a *attempt) onDone(lease *core.Lease, failure *core.Failure) {
	a.lock.lease, a.failure = lease, failure
	if lease != nil {
		lease.Handle = a.lock
	}
	close(a.decided)
}

func (a *attempt) onPosition(position int) {
	if a.position == nil {
		return
	}
	select {
	case <-a.position: // replaces a position that was not read yet
	default:
	}
	a.position <- position
}
