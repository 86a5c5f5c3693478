package core

import (
	"strings"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// MadeToken begins every token that a client or a daemon has made. No such token is used again after its release.
const MadeToken = "rl-"

const leastDelay = 50 * time.Millisecond // before an operation that was refused because of overload is sent again

// release is one release. It continues over as many Sessions as necessary, until the lock would have expired anyway.
type release struct {
	id        leaseID
	serial    uint64
	keepFor   time.Duration // how long after its acquisition the key stays taken; 0: it is free at once
	notBefore Instant
	delayed   bool // notBefore is the end of a lost lock's delay
	deadline  Instant
	sent      int  // the number of times it was sent
	underWay  bool // sent and not answered in the current Session
	again     bool // something may have acquired the lock since it was sent
	byClose   bool // the Session's close releases it
	// An earlier Session ended before it answered, so its daemon may still carry out the release.
	unanswered bool
	done       []func(*Failure)
}

// Release ends the trust in the lock and releases it. keepFor: how long after its acquisition the key stays taken; 0: it
// is free at once. done is called once with the outcome.
func (m *Machine) Release(now Instant, lease *Lease, keepFor time.Duration, done func(*Failure)) {
	m.enter(now)
	switch lease.state {
	case held:
		m.end(lease, released, lease.notHeld())
		r := m.release(now, lease.id(), lease.longest, now)
		r.keepFor = keepFor
		r.done = append(r.done, done)
	case lost:
		lease.state = released
		if lease.delay == 0 { // otherwise, what the work began may outlast it
			lease.stopped = now
		}
		switch {
		case lease.callers && lease.delay == 0:
			m.giveBackLost(now, lease)
		// Removes what is left of the lock on some nodes. If the clock ended the lock, a release is scheduled or done.
		case !lease.callers && (lease.reported || m.releases[lease.id()] != nil):
			m.releaseLost(now, lease)
		}
		done(lease.loss)
	case released:
		done(nil)
	}
}

// release releases a lock that is no longer trusted.
func (m *Machine) release(now Instant, id leaseID, ttl time.Duration, notBefore Instant) *release {
	r := m.releases[id]
	if r == nil {
		r = &release{id: id, serial: m.nextSerial(), notBefore: notBefore}
		m.releases[id] = r
	}
	r.notBefore = earlier(r.notBefore, notBefore)
	// If the Session has ended, its daemon extends the lock for no longer than the grace.
	r.deadline = later(r.deadline, later(now, notBefore).Add(m.config.Grace).Add(ttl))
	r.again = r.underWay
	r.sendAt(m, now, r.notBefore)
	return r
}

func (r *release) sendAt(m *Machine, now, at Instant) {
	if at <= now {
		m.enqueue(r)
		return
	}
	m.timers.add(at, func(Instant) { m.enqueue(r) })
}

func (r *release) request(m *Machine, id uint64) *pb.SessionOperation {
	if m.releases[r.id] != r || r.underWay || r.byClose {
		return nil
	}
	r.underWay = true
	r.sent++
	key, keys := r.id.key.Fields()
	return &pb.SessionOperation{Id: id, Operation: &pb.SessionOperation_Release{Release: &pb.ReleaseRequest{
		Key: key, Keys: keys, Token: r.id.token, KeepFor: Optional(r.keepFor)}}}
}

func (r *release) onAnswer(m *Machine, now Instant, answer answer) {
	r.underWay = false
	switch {
	case answer.failedWith(Draining): // the next Session carries it out
	case answer.failedWith(Overloaded):
		r.sendAt(m, now, now.Add(longest(answer.failure.RetryAfter, leastDelay)))
	case r.again:
		r.again = false
		m.enqueue(r)
	case answer.failedWith(InvalidArgument) && r.keepFor != 0: // beyond the daemon's max_ttl: nobody would release the lock
		r.report(&Failure{Reason: InvalidArgument, Message: answer.failure.Message + "; the lock is released, but the key is not kept"})
		r.keepFor = 0
		m.enqueue(r)
	case answer.failure == nil || answer.failedWith(LockNotHeld) && r.sent > 1:
		r.finish(m, r.spent())
	default:
		r.finish(m, answer.failure)
	}
}

func (r *release) onAbandoned(*Machine, Instant) {
	r.unanswered = r.unanswered || r.underWay
	r.underWay, r.again = false, false
}

// spent returns the failure of a release that succeeded but may be carried out once more, which would end a later hold
// of the same token; nil if no token of this kind is used twice.
func (r *release) spent() *Failure {
	if !r.unanswered || strings.HasPrefix(r.id.token, MadeToken) {
		return nil
	}
	return &Failure{Reason: Unreachable, Message: "the lock is released, but an earlier daemon has not answered and may " +
		"still carry out the release; the token must not be used again"}
}

func (r *release) finish(m *Machine, failure *Failure) {
	delete(m.releases, r.id)
	r.report(failure)
	m.sendClose()
}

func (r *release) report(failure *Failure) {
	for _, done := range r.done {
		done(failure)
	}
	r.done = nil
}

// dropExpiredReleases drops the releases of locks that have expired by now.
func (m *Machine) dropExpiredReleases(now Instant) {
	for _, r := range m.releasesInOrder() {
		if now >= r.deadline {
			r.finish(m, &Failure{Reason: Unreachable, Message: "no daemon answered the release before the lock expired"})
		}
	}
}
