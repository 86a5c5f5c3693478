package redlockd

import (
	"context"
	"fmt"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// AcquireOptions configures one acquisition. The context bounds the time to wait, connecting included.
type AcquireOptions struct {
	TTL   time.Duration // at least 10 ms; 0: 30 s
	Try   bool          // one attempt, no waiting
	Retry *RetryPolicy  // nil: the daemon's defaults
	Owner string        // a label for people, at most 128 bytes; "": Options.Owner
	// Value is what the lock publishes, such as the address of an election's leader: at most 4096 bytes of UTF-8. It is not
	// secret. Client.Observe reports it, and Lock.Proclaim replaces it.
	Value string
	// LockDelay is how long nobody else gets the key after the TTL of a lock that was lost rather than released. In that
	// time, the work that the holder began can come to an end in storage that checks no fencing tokens. TTL and LockDelay
	// together must not exceed the daemon's max_ttl. 0: none.
	LockDelay time.Duration
	// KeepFor: Client.Do releases the lock as Lock.ReleaseAndKeep does. Other calls ignore it. From 1 ms to the daemon's
	// max_ttl; 0: the key is free at once.
	KeepFor time.Duration
	// Margin: the lock counts as lost when at most this much is left of the time for which it can be trusted. At most a
	// third of the TTL or of Options.Grace, whichever is less. 0: a tenth of the TTL or of Options.Grace, whichever is
	// less, and at most 500 ms.
	Margin time.Duration
	// Token is the owner token, the secret that proves ownership. At most 128 bytes, unique to this hold. "": the client
	// makes one. A token may be used again after a failed call of Acquire, AcquireOrExtend or Adopt, after a release that
	// succeeded, and after a loss once the work has stopped; not after a release or a Downgrade that failed, nor after a
	// failed AcquireDetached.
	Token    string             `json:"-"`
	OnQueued func(position int) `json:"-"` // called by Acquire with the number of waiters ahead in the daemon's wait queue
}

// Format implements fmt.Formatter, so that no verb shows the token.
func (o AcquireOptions) Format(state fmt.State, verb rune) {
	type plain AcquireOptions
	o.Token = hide(o.Token)
	_, _ = fmt.Fprintf(state, fmt.FormatString(state, verb), plain(o))
}

// hide returns a text that only says whether there is a token.
func hide(token string) string {
	if token == "" {
		return ""
	}
	return "(hidden)"
}

// AdoptOptions configures Client.Adopt.
type AdoptOptions struct {
	TTL    time.Duration // at least 10 ms; 0: 30 s. The daemon keeps extending the lock by it.
	Margin time.Duration // as in AcquireOptions
}

// Acquire waits for the lock until ctx ends, and retries while daemons restart or cannot be reached. The end of ctx does
// not release an acquired lock: call Release. If Acquire returns an error, no lock is left behind.
//
// If the deadline of ctx passes, the error says why: ErrUnreachable if no daemon answered, ErrQuorumUnavailable or
// ErrNodeSetMismatch if the daemon could not use its nodes, otherwise ErrTimeout. errors.Is finds
// context.DeadlineExceeded in each. Acquire returns at most 250 ms after the deadline.
func (c *Client) Acquire(ctx context.Context, key string, options AcquireOptions) (*Lock, error) {
	options = c.withDefaults(options)
	if err := checkAcquire(core.Key(key), options, c.grace); err != nil {
		return nil, err
	}
	if err := checkAnySlot(core.Key(key)); err != nil {
		return nil, err
	}
	return c.acquire(ctx, core.Key(key), c.request(core.Key(key), options), options.OnQueued)
}

// TryAcquire makes one attempt. It returns ErrAlreadyHeld if another holder has the lock.
func (c *Client) TryAcquire(ctx context.Context, key string, options AcquireOptions) (*Lock, error) {
	options.Try = true
	return c.Acquire(ctx, key, options)
}

// AcquireOrExtend takes over the lock if token holds it already, for example because another process has handed it over,
// and otherwise acquires it with this token. If this client holds the lock with this token, it extends it and returns the
// same Lock. If AcquireOrExtend fails, a lock that token held before lasts for at least as long as it would have lasted
// otherwise, and no new lock is left behind. A lock that it takes over or extends keeps its value and its LockDelay.
//
// Of a semaphore, it takes over the slot that token holds, and otherwise acquires any slot that is free. A key that names a
// slot (see Slot) takes over no other.
func (c *Client) AcquireOrExtend(ctx context.Context, key, token string, options AcquireOptions) (*Lock, error) {
	options.Token = token
	return c.takeOver(ctx, core.Key(key), options, func(what *core.Acquire) { what.ExtendIfHeld = true })
}

// Adopt takes over a lock that token holds, for example a detached one, and keeps it alive from then on. It waits for a
// daemon until ctx ends, and never acquires: it returns ErrNotHeld if the token does not hold the key. If it fails for
// another reason after it was sent, the lock may have been released. If this client holds the lock with this token, it
// extends it and returns the same Lock. Of a semaphore, it takes over the slot that token holds. A key that names a slot
// (see Slot) takes over no other: the call returns ErrNotHeld.
func (c *Client) Adopt(ctx context.Context, key, token string, options AdoptOptions) (*Lock, error) {
	return c.takeOver(ctx, core.Key(key), AcquireOptions{TTL: options.TTL, Margin: options.Margin, Token: token},
		func(what *core.Acquire) { what.Adopt = true })
}

func (c *Client) takeOver(ctx context.Context, key core.Key, options AcquireOptions, as func(*core.Acquire)) (*Lock, error) {
	options = c.withDefaults(options)
	if err := checkAcquire(key, options, c.grace); err != nil {
		return nil, err
	}
	if err := checkToken(options.Token); err != nil {
		return nil, err
	}
	what := c.request(key, options)
	what.Sequence = aboveOthers()
	as(&what)
	if lock := c.heldWith(what.Key, options.Token); lock != nil {
		got := false
		defer func() {
			if !got {
				c.driver.do(func(m *core.Machine, now core.Instant) { m.Leave(now, lock.lease) })
			}
		}()
		if what.Adopt && what.Slot != 0 && what.Slot != lock.Slot() {
			return nil, errorOf(key, &core.Failure{Reason: LockNotHeld,
				Message: fmt.Sprintf("the token holds slot %d, not slot %d", lock.Slot(), what.Slot)})
		}
		if what.Try {
			what.Retry = (&RetryPolicy{}).message()
		}
		if err := lock.extend(ctx, options.TTL, what.Retry); err != nil {
			return nil, err
		}
		got = true
		return lock, nil
	}
	return c.acquire(ctx, key, what, options.OnQueued)
}

// heldWith returns the lock that this client holds with this token, for one more call; nil: none.
func (c *Client) heldWith(key core.Key, token string) (lock *Lock) {
	c.driver.do(func(m *core.Machine, _ core.Instant) {
		if lease := m.Share(key, token); lease != nil {
			lock = lease.Handle.(*Lock)
		}
	})
	return lock
}

// aboveOthers returns a number above the sequences of the clients that adopted the lock before: they began at fencing
// tokens, which are microseconds of the wall clock.
func aboveOthers() uint64 { return uint64(max(time.Now().UnixMicro(), 0)) }

func (c *Client) withDefaults(options AcquireOptions) AcquireOptions {
	if options.TTL == 0 {
		options.TTL = defaultTTL
	}
	if options.Margin == 0 {
		options.Margin = core.DefaultMargin(options.TTL, c.grace)
	}
	if options.Owner == "" {
		options.Owner = c.owner
	}
	return options
}

func (c *Client) request(key core.Key, options AcquireOptions) core.Acquire {
	single := options.Try || options.Retry != nil && options.Retry.MaxRetries == 0
	slot, _ := key.Slot()
	return core.Acquire{Key: key.WithoutSlot(), Slot: slot, TTL: options.TTL, Try: single, Retry: options.Retry.message(),
		Owner: options.Owner, Value: options.Value, LockDelay: options.LockDelay, Margin: options.Margin, Token: options.Token}
}

func (c *Client) acquire(ctx context.Context, key core.Key, what core.Acquire, onQueued func(int)) (*Lock, error) {
	if ctx.Err() != nil {
		return nil, endedBy(ctx, key, "the deadline passed before the request was sent")
	}
	a := newAttempt(c, key, what, onQueued)
	defer a.leave()
	if err := a.begin(); err != nil {
		return nil, err
	}
	return a.wait(ctx)
}
