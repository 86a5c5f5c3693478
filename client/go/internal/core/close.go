package core

import (
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// The close waits for the releases that must come before it for at most this time.
const closeAnyway = time.Second

// closing is the state of the client's close.
type closing struct {
	begun  bool
	anyway bool // the close no longer waits for releases
	sent   bool // in the current Session
	// The Session may keep a lost lock alive whose delay has not passed. A close would release it. So the client releases
	// the other locks one by one and then leaves: the end of the grace does not end the delay.
	leaves   bool
	finished bool
	done     []func()
}

// Close fails all acquisitions and releases all locks. It calls done when all locks are released or have expired. The
// caller need not wait for it: the machine continues in the background.
func (m *Machine) Close(now Instant, done func()) {
	m.enter(now)
	if m.closing.finished {
		done()
		return
	}
	m.closing.done = append(m.closing.done, done)
	if m.closing.begun {
		return
	}
	m.closing.begun = true
	for _, a := range m.acquiresInOrder() {
		a.lastWord(closed())
		if a.state != givenUp {
			m.GiveUp(now, a)
			a.refuse(closed())
		}
	}
	until := now.Add(m.config.Grace)
	m.closing.leaves = now < m.delayedUntil
	for _, lease := range m.leasesInOrder() {
		kept := lease.in != nil && !m.closing.leaves
		m.end(lease, released, lossBy(closed()))
		r := m.release(now, lease.id(), lease.longest, now)
		r.byClose = kept
		lease.onLost(lossBy(closed()))
	}
	for _, r := range m.releasesInOrder() {
		if r.delayed && now < r.notBefore {
			delete(m.releases, r.id)
			continue
		}
		r.notBefore = now
		until = later(until, r.deadline)
		m.enqueue(r)
	}
	m.timers.add(now.Add(closeAnyway), func(Instant) {
		m.closing.anyway = true
		m.sendClose()
	})
	m.timers.add(until, func(Instant) { m.finish() })
	if !m.Connected() && len(m.releases) == 0 {
		m.finish()
		return
	}
	m.sendClose()
}

// sendClose sends the close once all locks that the close does not release have been released.
func (m *Machine) sendClose() {
	if !m.closing.begun || m.closing.sent || !m.Connected() {
		return
	}
	if !m.closing.anyway {
		for _, r := range m.releases {
			if !r.byClose {
				return
			}
		}
	}
	if m.closing.leaves {
		m.finish()
		return
	}
	m.closing.sent = true
	m.enqueue(closeSession{})
}

// closeSession releases all locks that the Session holds.
type closeSession struct{}

func (closeSession) request(_ *Machine, id uint64) *pb.SessionOperation {
	return &pb.SessionOperation{Id: id, Operation: &pb.SessionOperation_Close{Close: &pb.CloseOperation{}}}
}

func (closeSession) onAnswer(m *Machine, _ Instant, a answer) {
	if !a.failedWith(Draining) {
		m.finish()
	}
}

func (closeSession) onAbandoned(*Machine, Instant) {}

// finish ends the machine. Nothing is sent or reported afterwards.
func (m *Machine) finish() {
	if m.closing.finished {
		return
	}
	m.closing.finished = true
	for _, r := range m.releasesInOrder() {
		var failure *Failure
		if !r.byClose {
			failure = closed()
		}
		delete(m.releases, r.id)
		r.report(failure)
	}
	if m.session != nil {
		m.host.Cancel(m.session.number)
		m.session = nil
	}
	m.outbox, m.timers, m.reconnectAt = nil, nil, never
	for _, done := range m.closing.done {
		done()
	}
}
