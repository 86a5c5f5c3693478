package core

import "time"

// Downgrade downgrades an exclusive lock to a share. Trust in the lock ends at once, and the lock counts as released. The
// rest is an adoption of the share, which ends at the latest when that trust would have ended. Of what, only the callbacks
// are set.
func (m *Machine) Downgrade(now Instant, lease *Lease, what Acquire) *Acquisition {
	m.enter(now)
	what.Key, what.TTL, what.LockDelay, what.Margin, what.Adopt = Shared(lease.Key), lease.ttl, lease.delay, lease.margin, true
	if lease.callers {
		what.Token = lease.Token
	}
	a := &Acquisition{Acquire: what, serial: m.nextSerial(), token: lease.Token, takes: true, spared: longAgo,
		sequence: lease.sequence, from: lease, unsure: true}
	if lease.state != held {
		a.state = over
		a.Done(nil, lease.notHeld())
		return a
	}
	// A daemon could grant the lock to that call, and carry out the downgrade afterwards.
	if m.callers[a.id()] != nil || m.callers[lease.id()] != nil {
		a.state = over
		a.Done(nil, &Failure{Reason: InvalidArgument, Message: "token: this client is requesting the key with it"})
		return a
	}
	bound := lease.trust()
	m.end(lease, released, lease.notHeld())
	lease.downgraded = true
	m.callers[lease.id()], m.callers[a.id()] = a, a
	if m.leaving[a.id()] != nil {
		a.state = deferred
	}
	m.acquires[a] = struct{}{}
	m.timers.add(bound, func(now Instant) { m.TimeOut(now, a) })
	if a.state != deferred {
		m.enqueue(a)
	}
	return a
}

// downgradeFrom returns the fencing token of the exclusive lock that the call downgrades; 0 if the call is no downgrade.
func (a *Acquisition) downgradeFrom() uint64 {
	if a.from == nil {
		return 0
	}
	return a.from.fence
}

// longest returns how long the lock may outlive the client.
func (a *Acquisition) longest() time.Duration {
	if a.from == nil {
		return a.TTL + a.LockDelay
	}
	return a.from.longest
}

// Aftermath returns what a failed downgrade adds to the error message: what becomes of the lock. The nodes may still carry
// out the downgrade, which would end a later exclusive lock of the same token.
func (a *Acquisition) Aftermath() string {
	switch {
	case a.from == nil:
		return ""
	case a.from.callers:
		return "; the lock is being released, and its token must not be used again"
	default:
		return "; the lock is being released"
	}
}

// refuse reports to the caller that the call has failed.
func (a *Acquisition) refuse(failure *Failure) {
	if failure.Reason != LockNotHeld {
		same := *failure
		same.Message += a.Aftermath()
		failure = &same
	}
	a.Done(nil, failure)
}
