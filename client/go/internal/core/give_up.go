package core

import (
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// The delay before a lock is given up that a later call has or may get.
const giveUpAgain = time.Second

// giveUp gives up a lock on one Session, and never on another: the end of the Session gives it up as well. The caller
// may use the token again. A release that a silent daemon carries out late would end a later lock of the token; a give_up
// ends only what still belongs to the Session.
type giveUp struct {
	id      leaseID
	session *session // until it ends, it keeps the lock alive
}

// giveBack gives back a lock that no caller gets or keeps, but not before notBefore. callers: the caller gave the token.
func (m *Machine) giveBack(now Instant, id leaseID, ttl time.Duration, callers bool, notBefore Instant) {
	if !callers {
		m.release(now, id, ttl, notBefore)
		return
	}
	if !m.Connected() {
		return
	}
	at := later(now, notBefore)
	g := &giveUp{id: id, session: m.session}
	if at > now {
		m.timers.add(at, func(now Instant) { g.send(m, now) })
	} else {
		g.send(m, now)
	}
}

// send sends the give_up, but later if a later call has the lock, or may get it.
func (g *giveUp) send(m *Machine, now Instant) {
	switch {
	case m.session != g.session:
	case m.wanted(g.id):
		m.timers.add(now.Add(giveUpAgain), func(now Instant) { g.send(m, now) })
	default:
		m.enqueue(g)
	}
}

// wanted reports whether the caller's own token holds the lock, or an acquisition that may have been sent may get it.
func (m *Machine) wanted(id leaseID) bool {
	a := m.callers[id]
	return m.leases[id] != nil || a != nil && a.state != deferred
}

func (g *giveUp) request(_ *Machine, id uint64) *pb.SessionOperation {
	key, keys := g.id.key.Fields()
	return &pb.SessionOperation{Id: id, Operation: &pb.SessionOperation_GiveUp{GiveUp: &pb.GiveUpOperation{
		Key: key, Keys: keys, Mode: g.id.key.Mode(), MaxHolders: int32(g.id.key.MaxHolders()), Token: g.id.token}}}
}

func (g *giveUp) onAnswer(m *Machine, now Instant, answer answer) {
	if answer.failedWith(Overloaded) {
		m.timers.add(now.Add(longest(answer.failure.RetryAfter, leastDelay)), func(now Instant) { g.send(m, now) })
	}
}

func (*giveUp) onAbandoned(*Machine, Instant) {}
