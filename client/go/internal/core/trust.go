package core

import "time"

// daemonClock computes a lower bound of the client's time at which the daemon made a message.
//
// From every answer, the client knows that the daemon's clock read `daemon` no earlier than the client sent the
// operation, at `sent`. daemonClock keeps the pair that gives the latest bound. The rates of the clocks may differ by 1 %.
type daemonClock struct {
	known  bool
	sent   Instant
	daemon time.Duration
}

// Drift returns how far two clocks can drift apart during d.
func Drift(d time.Duration) time.Duration {
	if d < 0 {
		d = -d
	}
	return (d + 99) / 100
}

// madeAt returns a time not after the moment at which the daemon's clock read daemon. It is unusable if no pair is known.
func (c *daemonClock) madeAt(daemon time.Duration) (at Instant, usable bool) {
	if !c.known {
		return 0, false
	}
	passed := daemon - c.daemon
	return c.sent.Add(passed - Drift(passed)), true
}

// onAnswer records that the answer to an operation sent at `sent` carried this reading of the daemon's clock.
func (c *daemonClock) onAnswer(sent Instant, daemon time.Duration) {
	if bound, usable := c.madeAt(daemon); usable && sent < bound {
		return
	}
	*c = daemonClock{known: true, sent: sent, daemon: daemon}
}

// trustAfter returns how long a Session may be trusted after the sending of a message that was answered.
func trustAfter(grace time.Duration) time.Duration { return grace - grace/100 - 2*millis }

// DefaultMargin returns how much trust is left when a loss is signalled, unless the caller chooses another margin.
func DefaultMargin(ttl, grace time.Duration) time.Duration {
	return least(least(ttl/10, grace/10), 500*millis)
}
