// Package core is the state machine of the client, as described in client/PROTOCOL.md. It has no gRPC, no
// goroutines and no clock: its driver passes in the time and what has arrived, and implements its Host. It is not
// safe for concurrent use.
package core

import (
	"math"
	"time"
)

// Instant is a time on a clock that counts suspend time, in nanoseconds since an arbitrary beginning.
type Instant int64

const (
	never     = Instant(math.MaxInt64)
	longAgo   = Instant(math.MinInt64)
	millis    = time.Millisecond
	maxWindow = time.Duration(math.MaxInt64 / 4) // keeps sums of an Instant and a duration in range
)

// Add returns the time d after t.
func (t Instant) Add(d time.Duration) Instant {
	if t == never || t == longAgo {
		return t
	}
	return t + Instant(least(d, maxWindow))
}

// Sub returns the time from u to t.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }

func earlier(a, b Instant) Instant {
	if a < b {
		return a
	}
	return b
}

func later(a, b Instant) Instant {
	if a > b {
		return a
	}
	return b
}

func least(a, b time.Duration) time.Duration {
	if a < b {
		return a
	}
	return b
}

func longest(a, b time.Duration) time.Duration {
	if a > b {
		return a
	}
	return b
}
