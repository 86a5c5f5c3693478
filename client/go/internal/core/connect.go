package core

import (
	"sort"
	"time"
)

const (
	leastPause = 50 * time.Millisecond
	mostPause  = time.Second
	// A Session that ends sooner counts as failed, so that the client pauses if daemons end each Session at once.
	leastUse = time.Second
)

// connect opens a Session at the current endpoint.
func (m *Machine) connect(now Instant) {
	m.reconnectAt = never
	m.dropExpiredReleases(now)
	if m.closing.begun && len(m.releases) == 0 {
		m.finish()
		return
	}
	m.sessions++
	m.session = newSession(m.sessions, m.config.Grace, now, m.config.Endpoints)
	m.host.Open(m.session.number, m.endpoint)
}

// becomeReady sends all pending operations. Releases go first, so that the keys are free for what follows.
func (m *Machine) becomeReady(now Instant) {
	m.session.ready, m.session.readyAt = true, now
	m.refusal = nil
	m.host.OnReady(m.endpoint)
	m.dropExpiredReleases(now)
	for _, r := range m.releasesInOrder() {
		if now >= r.notBefore {
			m.enqueue(r)
		}
	}
	for _, lease := range m.leasesInOrder() {
		m.enqueue(&adoption{lease: lease})
	}
	for _, e := range m.extendsInOrder() {
		m.enqueue(e)
	}
	for _, a := range m.acquiresInOrder() {
		m.enqueue(a)
	}
	m.sendClose()
}

// abandon ends the Session at once and moves to the next endpoint.
func (m *Machine) abandon(now Instant, failure *Failure) {
	s := m.session
	m.host.OnEnded(m.endpoint, s.ready, failure)
	for _, lease := range m.leases {
		lease.freeze(s)
	}
	m.session, m.outbox, m.failure = nil, nil, failure
	m.endpoint = (m.endpoint + 1) % m.config.Endpoints
	m.host.Cancel(s.number)
	for _, r := range m.releases {
		r.byClose = false
	}
	for _, id := range sortedIDs(s.sent) {
		s.sent[id].operation.onAbandoned(m, now)
	}
	m.closing.sent = false

	if s.ready && now.Sub(s.readyAt) >= leastUse {
		m.failures, m.pause = 0, leastPause
	} else {
		m.failures++
	}
	if !s.ready && failure.refusal() {
		m.refusal = failure
	}
	if m.failures < m.config.Endpoints {
		m.connect(now)
		return
	}
	m.failWhatDoesNotWait(now)
	m.refusal = nil // the next failure may be an outage
	m.reconnectAt = now.Add(m.pause/2 + time.Duration(m.host.Jitter()*float64(m.pause/2)))
	m.pause = least(2*m.pause, mostPause)
}

// failWhatDoesNotWait is called when all endpoints have failed. It fails single tries, and all acquisitions if a daemon
// refuses this client.
func (m *Machine) failWhatDoesNotWait(now Instant) {
	for _, a := range m.acquiresInOrder() {
		switch {
		case m.refusal != nil:
			a.fail(m, now, m.refusal)
		case a.Try:
			a.fail(m, now, &Failure{Reason: Unreachable, Message: "no daemon answered: " + m.failure.Message})
		}
	}
}

func sortedIDs(sent map[uint64]sentOperation) []uint64 {
	ids := make([]uint64, 0, len(sent))
	for id := range sent {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}

func (m *Machine) releasesInOrder() []*release {
	all := make([]*release, 0, len(m.releases))
	for _, r := range m.releases {
		all = append(all, r)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].serial < all[j].serial })
	return all
}

func (m *Machine) leasesInOrder() []*Lease {
	all := make([]*Lease, 0, len(m.leases))
	for _, lease := range m.leases {
		all = append(all, lease)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].serial < all[j].serial })
	return all
}

func (m *Machine) extendsInOrder() []*Extension {
	all := make([]*Extension, 0, len(m.extends))
	for e := range m.extends {
		all = append(all, e)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].serial < all[j].serial })
	return all
}

func (m *Machine) acquiresInOrder() []*Acquisition {
	all := make([]*Acquisition, 0, len(m.acquires))
	for a := range m.acquires {
		all = append(all, a)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].serial < all[j].serial })
	return all
}

func (m *Machine) nextSerial() uint64 {
	m.serials++
	return m.serials
}
