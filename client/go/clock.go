package redlockd

import (
	"math"
	"time"
)

// daemonClock tells how old the daemon's messages are; see client/cpp/src/daemon_clock.h for why it
// is so. Times count from the package's start, by the monotonic clock.
type daemonClock struct {
	smallest, before, windowBegan, shortestTrip time.Duration
}

const (
	window = time.Minute
	never  = time.Duration(math.MaxInt64)
)

var start = time.Now()

func now() time.Duration { return time.Since(start) }

func newDaemonClock() *daemonClock {
	return &daemonClock{smallest: never, before: never, windowBegan: -window - 1, shortestTrip: time.Hour}
}

func (c *daemonClock) onMessage(daemon, at time.Duration) {
	difference := at - daemon
	if at-c.windowBegan > window {
		c.before, c.smallest, c.windowBegan = c.smallest, difference, at
	}
	if difference < c.smallest {
		c.smallest = difference
	}
}

func (c *daemonClock) onRoundTrip(took time.Duration) {
	if took < c.shortestTrip {
		c.shortestTrip = took
	}
}

// madeAt is not after the moment when the daemon made the message.
func (c *daemonClock) madeAt(daemon time.Duration) time.Duration {
	difference := c.smallest
	if c.before < difference {
		difference = c.before
	}
	return daemon + difference - c.shortestTrip
}
