package redlockd

import "github.com/redlockd/redlockd/client/go/internal/core"

// Together returns a key that stands for several keys, from 2 to 64, of at most 8 KiB together. Every function of this
// package that takes a key accepts it. The keys are locked all at once or not at all, with one token and one fencing
// token, so acquisitions cannot deadlock. Their order does not matter. The loss of one key is the loss of the lock.
//
// Together of one key is that key. If the keys are invalid, the call that uses the result returns ErrInvalidArgument.
//
// The result is opaque and not UTF-8: show Lock.Keys to people, and hand over Lease.Keys to other processes.
func Together(keys ...string) string { return string(core.Together(keys...)) }

// Shared returns a key that stands for a share of key, which may come from Together. Every function of this package that
// takes a key accepts it. Any number of holders share a key, and nobody holds it exclusively meanwhile: they are the
// readers of a readers-writer lock. A writer that waits goes before readers that come later. Lock.Downgrade makes an
// exclusive lock a share. A share cannot become exclusive: release it and acquire the key again.
//
// The mode belongs to the lock. To extend, adopt or watch a share by its token, pass Shared(key), too; with the other mode,
// the call fails with ErrNotHeld. So whoever hands over a lock hands over Lease.Shared as well, and the receiver passes
// Shared(Together(keys...)) if it is true.
//
// The result is opaque and not UTF-8, like that of Together. Texts show the keys without the mode.
func Shared(key string) string { return string(core.Shared(core.Key(key))) }

// Semaphore returns a key that stands for one place in a semaphore: at most maxHolders holders, from 2 to 64, have key at the
// same time. Every function of this package that takes a key accepts it. Each holder has a slot of its own with a number
// from 1 to maxHolders, which Lock.Slot returns, and a fencing token that is higher than those of all earlier holders of
// the slot. key is a single key, and not shared.
//
// Everyone must name the same number. While anyone holds the key in another way, as a lock or with another number, an
// acquisition returns ErrKindMismatch, however long it may wait.
//
// To extend, adopt or watch a holder by its token, pass Semaphore(key, maxHolders), too; with another number, the call fails
// with ErrNotHeld. So whoever hands over a lock hands over Lease.MaxHolders as well, and the receiver passes
// Semaphore(key, maxHolders) if it is not 0.
//
// The result is opaque and not UTF-8, like that of Together. Texts show the key without the number.
func Semaphore(key string, maxHolders int) string {
	return string(core.Semaphore(core.Key(key), maxHolders))
}

// Slot returns a key that stands for one slot of Semaphore(key, maxHolders), which a token holds. Every function of this
// package that takes a token accepts it, but a new holder cannot choose its slot. With Slot instead of Semaphore, a call that
// extends, adopts or watches also fails with ErrNotHeld if the token holds another slot.
func Slot(key string, maxHolders, slot int) string {
	return string(core.Semaphore(core.Key(key), maxHolders).InSlot(slot))
}
