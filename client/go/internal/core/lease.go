package core

import (
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

type leaseState int

const (
	held leaseState = iota
	lost
	released
)

// Lease is an acquired lock.
type Lease struct {
	Key    Key
	Token  string
	Slot   int // of the semaphore; 0: the lock is of another kind
	Handle any // the caller's object for this lease

	ttl        time.Duration
	longest    time.Duration // the longest requested TTL, and the delay: how long the lock may outlive the client
	delay      time.Duration // how long a lost lock keeps others out
	margin     time.Duration
	onLost     func(*Failure)
	serial     uint64
	state      leaseState
	loss       *Failure
	reported   bool    // the daemon itself reported the loss
	users      int     // how many calls got the lock, or may still get it
	callers    bool    // the caller gave the token, and may use it again
	stopped    Instant // lost: when the work under it, and what it began, has come to an end at the latest
	kept       bool    // lost, but not given back before the work under it has stopped
	downgraded bool    // a lease that a late adoption brings belongs to the share
	fence      uint64
	sequence   uint64 // of the last adoption
	obstacle   string // why the last extension has failed; empty: it has not
	extending  map[*Extension]struct{}

	spared Instant // the call that took the lock over has found one that lasts until then

	validUntil Instant
	in         *session // keeps the lock alive; nil while the lock has yet to be adopted
}

func (l *Lease) id() leaseID { return leaseID{l.Key, l.Token} }

// FencingToken returns the fencing token. It never decreases, and may grow while the lock is held.
func (l *Lease) FencingToken() uint64 { return l.fence }

// Validity returns how long the lock may still be trusted; 0 if it is not held.
func (l *Lease) Validity(now Instant) time.Duration {
	if l.state != held {
		return 0
	}
	return longest(0, l.trust().Sub(now))
}

// trust returns until when the lock may be trusted.
func (l *Lease) trust() Instant {
	if l.in == nil {
		return l.validUntil
	}
	return earlier(l.validUntil, l.in.trustedUntil())
}

// freeze is called when a Session is abandoned. The trust of its locks is frozen until another Session adopts them.
func (l *Lease) freeze(abandoned *session) {
	if l.in == abandoned {
		l.validUntil = l.trust()
		l.in, l.obstacle = nil, ""
	}
}

func (l *Lease) raise(lease *pb.Lease, validUntil Instant) {
	l.obstacle = ""
	l.validUntil = later(l.validUntil, validUntil)
	if lease.GetFencingToken() > l.fence {
		l.fence = lease.GetFencingToken()
	}
}

// why returns the obstacle in parentheses, after a space.
func (l *Lease) why() string {
	if l.obstacle == "" {
		return ""
	}
	return " (" + l.obstacle + ")"
}

// NotHeld returns why a call on the lock fails; nil: the lock is held.
func (l *Lease) NotHeld() *Failure {
	if l.state == held {
		return nil
	}
	return l.notHeld()
}

// notHeld returns why a call on a lock that is no longer held fails.
func (l *Lease) notHeld() *Failure {
	if l.state == lost {
		return l.loss
	}
	return &Failure{Reason: LockNotHeld, Message: "the lock was released or downgraded"}
}

// hold adds a lock to the held ones.
func (m *Machine) hold(lease *Lease) {
	lease.serial = m.nextSerial()
	m.leases[lease.id()] = lease
	m.expireAt = earlier(m.expireAt, lease.trust().Add(-lease.margin))
}

// lose ends the trust in a lock. If the daemon did not report the loss, it may continue to extend the lock. The machine
// then releases the lock as soon as no work can rely on it any more.
func (m *Machine) lose(now Instant, lease *Lease, loss *Failure, reported bool) {
	trust := lease.trust()
	lease.loss, lease.reported, lease.stopped = lossBy(loss), reported, now.Add(lease.delay)
	m.end(lease, lost, lease.loss)
	if !reported {
		lease.stopped = later(now, trust).Add(lease.delay)
		if lease.callers {
			lease.kept = true
			m.timers.add(lease.stopped, func(now Instant) { m.giveBackLost(now, lease) })
		} else {
			m.releaseLost(now, lease)
		}
	}
	if lease.delay > 0 {
		m.delayedUntil = later(m.delayedUntil, lease.stopped)
	}
	lease.onLost(lease.loss)
}

// releaseLost releases what is left of a lost lock, but not before its delay has passed.
func (m *Machine) releaseLost(now Instant, lease *Lease) {
	r := m.release(now, lease.id(), lease.longest, lease.stopped)
	r.delayed = lease.delay > 0
}

// giveBackLost gives back a lost lock of the caller's token, once the work under it has stopped.
func (m *Machine) giveBackLost(now Instant, lease *Lease) {
	if lease.kept {
		lease.kept = false
		m.giveBack(now, lease.id(), lease.longest, true, now)
	}
}

func lossBy(cause *Failure) *Failure {
	return &Failure{Reason: LockNotHeld, Message: "the lock was lost: " + cause.Message, Lost: true}
}

// end ends the trust in a lock, and ends its extensions.
func (m *Machine) end(lease *Lease, state leaseState, failure *Failure) {
	lease.state = state
	delete(m.leases, lease.id())
	for e := range lease.extending {
		e.finish(m, failure)
	}
}

// adoption adopts a held lock on the current Session. It never acquires.
type adoption struct{ lease *Lease }

const adoptAgain = 100 * time.Millisecond

func (a *adoption) request(_ *Machine, id uint64) *pb.SessionOperation {
	if a.lease.state != held {
		return nil
	}
	a.lease.sequence = nextSequence(a.lease.sequence, a.lease.fence)
	return adoptRequest(id, a.lease.id(), a.lease.Slot, a.lease.ttl, a.lease.sequence, 0)
}

// nextSequence returns the next number in the order of a lock's adoptions, which holds across daemons.
func nextSequence(sequence, fence uint64) uint64 {
	if sequence < fence {
		sequence = fence
	}
	return sequence + 1
}

func adoptRequest(id uint64, hold leaseID, slot int, ttl time.Duration, sequence, downgradeFrom uint64) *pb.SessionOperation {
	key, keys := hold.key.Fields()
	return &pb.SessionOperation{Id: id, Operation: &pb.SessionOperation_Adopt{Adopt: &pb.AdoptOperation{
		Key: key, Keys: keys, Mode: hold.key.Mode(), MaxHolders: int32(hold.key.MaxHolders()), Slot: int32(slot),
		Token: hold.token, Ttl: duration(ttl), Sequence: &sequence, DowngradeFrom: downgradeFrom}}}
}

func (a *adoption) onAnswer(m *Machine, now Instant, answer answer) {
	lease := a.lease
	switch {
	case answer.lease != nil && lease.state == held:
		lease.in = m.session
		lease.raise(answer.lease, answer.validUntil)
	case lease.downgraded: // it belongs to the share
	case lease.kept: // given back later
	case answer.lease != nil: // the Session would keep the lock alive forever
		m.giveBack(now, lease.id(), lease.longest, lease.callers, lease.stopped)
	case lease.state != held || answer.failedWith(Draining):
	case answer.failedWith(LockNotHeld):
		m.lose(now, lease, answer.failure, true)
	default:
		session := m.session
		m.timers.add(now.Add(adoptAgain), func(Instant) {
			if m.session == session && lease.in == nil {
				m.enqueue(a)
			}
		})
	}
}

func (*adoption) onAbandoned(*Machine, Instant) {} // the next Session adopts all held locks

// Extension is one extension of a lock.
type Extension struct {
	lease  *Lease
	ttl    time.Duration
	retry  *pb.RetryPolicy
	done   func(*Failure)
	serial uint64
}

// Extend extends a lock; done is called once, unless Abandon comes first. If the Session ends before the answer, the next
// Session carries out the extension.
func (m *Machine) Extend(now Instant, lease *Lease, ttl time.Duration, retry *pb.RetryPolicy, done func(*Failure)) *Extension {
	m.enter(now)
	e := &Extension{lease: lease, ttl: ttl, retry: retry, done: done, serial: m.nextSerial()}
	switch lease.state {
	case held:
		lease.longest = longest(lease.longest, ttl+lease.delay)
		if lease.extending == nil {
			lease.extending = map[*Extension]struct{}{}
		}
		lease.extending[e] = struct{}{}
		m.extends[e] = struct{}{}
		m.enqueue(e)
	default:
		done(lease.notHeld())
	}
	return e
}

// Abandon forgets the extension; its done is not called afterwards.
func (m *Machine) Abandon(e *Extension) {
	delete(m.extends, e)
	delete(e.lease.extending, e)
}

func (e *Extension) finish(m *Machine, failure *Failure) {
	if _, open := m.extends[e]; open {
		m.Abandon(e)
		e.done(failure)
	}
}

func (e *Extension) request(m *Machine, id uint64) *pb.SessionOperation {
	if _, open := m.extends[e]; !open {
		return nil
	}
	key, keys := e.lease.Key.Fields()
	return &pb.SessionOperation{Id: id, Operation: &pb.SessionOperation_Extend{Extend: &pb.ExtendRequest{
		Key: key, Keys: keys, Mode: e.lease.Key.Mode(), MaxHolders: int32(e.lease.Key.MaxHolders()), Slot: int32(e.lease.Slot),
		Token: e.lease.Token, Ttl: duration(e.ttl), Retry: e.retry}}}
}

func (e *Extension) onAnswer(m *Machine, now Instant, answer answer) {
	switch {
	case answer.failedWith(Draining):
		return // the next Session carries it out
	case e.lease.state != held:
	case answer.failedWith(LockNotHeld):
		m.lose(now, e.lease, answer.failure, true)
	case answer.lease != nil && e.lease.in == m.session:
		e.lease.raise(answer.lease, answer.validUntil)
	}
	e.finish(m, answer.failure)
}

func (*Extension) onAbandoned(*Machine, Instant) {}
