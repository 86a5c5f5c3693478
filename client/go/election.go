package redlockd

import (
	"context"
	"iter"
	"sync"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// Election elects one leader among the clients that campaign for the same name. The leader is the holder of the lock of
// this name, with the leader's value. Make an Election with Client.Election.
type Election struct {
	client *Client
	name   string

	mutex sync.Mutex
	lock  *Lock // of the last campaign that was won; nil: none
}

// Election returns the election of this name, a single key. Each call returns an Election of its own.
func (c *Client) Election(name string) *Election { return &Election{client: c, name: name} }

// Campaign waits until this client is elected, or ctx ends, and publishes value, such as the leader's address. It returns
// the lock, whose loss or release is the end of the leadership. The errors and the options are those of Client.Acquire,
// except for options.Value, which value replaces. While this client leads, a second Campaign waits like everyone else.
func (e *Election) Campaign(ctx context.Context, value string, options AcquireOptions) (*Lock, error) {
	if err := checkElection(core.Key(e.name)); err != nil {
		return nil, err
	}
	options.Value = value
	lock, err := e.client.Acquire(ctx, e.name, options)
	if err != nil {
		return nil, err
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.lock = lock
	return lock, nil
}

// Proclaim replaces the value of the leader: see Lock.Proclaim. It fails with ErrNotHeld if this Election does not lead.
func (e *Election) Proclaim(ctx context.Context, value string) error {
	lock, err := e.leadership()
	if err != nil {
		return err
	}
	return lock.Proclaim(ctx, value)
}

// Resign ends the leadership: it releases the lock. It fails with ErrNotHeld if this Election does not lead, and with
// ErrLockLost if the lock was lost.
func (e *Election) Resign(ctx context.Context) error {
	lock, err := e.leadership()
	if err != nil {
		return err
	}
	released := lock.notHeld()
	if err := lock.Release(ctx); err != nil {
		return err
	}
	return released
}

func (e *Election) leadership() (*Lock, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.lock == nil {
		return nil, errorOf(core.Key(e.name), &core.Failure{Reason: core.LockNotHeld, Message: "this client does not lead the election"})
	}
	return e.lock, nil
}

// Leader returns the state of the election: StateHeld with the leader's value and fencing token, or StateVacant if there is
// no leader. If neither is known before the deadline of ctx, or for 5 s if it has none, the error says why: ErrUnreachable
// if no daemon answered, ErrQuorumUnavailable if the daemon could not use its nodes.
func (e *Election) Leader(ctx context.Context) (KeyState, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		ctx = limited
	}
	var failure error
	for state, err := range e.Observe(ctx) {
		if failure = err; err == nil && state.State != StateUndecided {
			return state, nil
		}
	}
	return KeyState{}, failure
}

// Observe reports the leader, and every change: see Client.Observe. Compare the fencing token of whoever acts as the leader
// with that of the leader who is reported: the higher one is right.
func (e *Election) Observe(ctx context.Context) iter.Seq2[KeyState, error] {
	return func(yield func(KeyState, error) bool) {
		if err := checkElection(core.Key(e.name)); err != nil {
			yield(KeyState{}, err)
			return
		}
		e.client.Observe(ctx, e.name)(yield)
	}
}
