package redlockd

import (
	"fmt"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// Lease is a lock that no client keeps alive: it expires when its validity has passed, unless it is extended or released
// by its key and token. Its Keys, its Token, and Shared or MaxHolders can be handed to another process. Lease is a
// plain value; printing or encoding it does not show the token.
type Lease struct {
	key        core.Key // with the slot of a semaphore
	token      *string  // a pointer, which fmt does not follow in a field of another struct
	fence      uint64
	validUntil core.Instant
	clock      func() core.Instant
}

// Key returns the key, to be passed to the functions of this package that take a token. Of several keys, it is
// Together(Keys()...), of a share, Shared(Together(Keys()...)), and of a semaphore, Slot(Keys()[0], MaxHolders(), Slot()).
func (l Lease) Key() string { return string(l.key) }

// Keys returns the keys in byte order, to be shown or handed over. It has one element unless Together made the key.
func (l Lease) Keys() []string { return l.key.Names() }

// Shared reports whether the lock is a share. Hand it over with Keys: see Shared, the function.
func (l Lease) Shared() bool { return l.key.Shared() }

// MaxHolders returns the limit of the semaphore; 0: the key is none. Hand it over with Keys: see Semaphore.
func (l Lease) MaxHolders() int { return l.key.MaxHolders() }

// Slot returns which of the semaphore's slots is held, from 1 to MaxHolders; 0: the key is no semaphore. See Lock.Slot.
func (l Lease) Slot() int {
	slot, _ := l.key.Slot()
	return slot
}

// Token returns the owner token, the secret that proves ownership.
func (l Lease) Token() string {
	if l.token == nil {
		return ""
	}
	return *l.token
}

// FencingToken returns a number that is higher than that of every earlier holder. See Lock.FencingToken.
func (l Lease) FencingToken() uint64 { return l.fence }

// Validity returns how long the lock can be trusted if it is neither extended nor released; 0 if it has expired. It is
// computed on a clock that counts suspend time, from before the request was sent.
func (l Lease) Validity() time.Duration {
	if l.clock == nil {
		return 0
	}
	return max(0, l.validUntil.Sub(l.clock()))
}

// String describes the lease without its token.
func (l Lease) String() string {
	return fmt.Sprintf("redlockd.Lease(%q, fencing token %d)", l.key, l.fence)
}

// Format implements fmt.Formatter, so that no verb shows the token.
func (l Lease) Format(state fmt.State, _ rune) { _, _ = fmt.Fprint(state, l.String()) }
