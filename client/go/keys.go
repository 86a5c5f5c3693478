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
