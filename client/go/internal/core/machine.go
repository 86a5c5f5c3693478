package core

import (
	"sort"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// Host carries out what the machine asks for. It must not call the machine from inside these methods, nor from inside
// the functions that are passed to the machine's methods.
type Host interface {
	// Open opens a stream to an endpoint. Its end is reported by Machine.OnBroken.
	Open(session uint64, endpoint int)
	// Cancel cancels a stream. Whatever it reports from now on is ignored.
	Cancel(session uint64)
	// NewToken makes an owner token that nobody can guess.
	NewToken() string
	// Jitter is a random number from 0 to 1.
	Jitter() float64
}

// Config of a Machine.
type Config struct {
	Endpoints int           // how many there are, at least 1
	Grace     time.Duration // disconnect_grace, at least 100 ms
}

// leaseID names one hold: the same token may hold several keys.
type leaseID struct{ key, token string }

// Machine is the state of one client.
//
// Each method that takes the time first ends what can no longer be trusted at that time, whatever else has happened.
type Machine struct {
	config Config
	host   Host

	session  *session // the current one; nil while the client pauses between attempts
	outbox   []operation
	sessions uint64 // the number of the last one
	ids      uint64 // the last operation's
	serials  uint64 // the last acquisition's or extension's

	endpoint    int // of the current or the next session
	failures    int // sessions in a row that were of no use
	pause       time.Duration
	reconnectAt Instant
	failure     *Failure // why the last session was abandoned
	refusal     *Failure // that of a daemon which will not change its mind

	leases   map[leaseID]*Lease // held
	expireAt Instant            // no lease is lost by the clock before
	acquires map[*Acquisition]struct{}
	callers  map[leaseID]struct{} // that are asked for with the caller's own token
	extends  map[*Extension]struct{}
	releases map[leaseID]*release

	timers    timers
	judgeFrom Instant // after having been held up, arrived messages are read first
	heldUp    bool

	closing closing
}

// New makes a machine and opens its first Session.
func New(config Config, host Host, now Instant) *Machine {
	m := &Machine{config: config, host: host, pause: leastPause, reconnectAt: never, expireAt: never, judgeFrom: longAgo,
		leases: map[leaseID]*Lease{}, acquires: map[*Acquisition]struct{}{}, callers: map[leaseID]struct{}{}, extends: map[*Extension]struct{}{},
		releases: map[leaseID]*release{}}
	m.connect(now)
	return m
}

// Connected is whether a daemon answers.
func (m *Machine) Connected() bool { return m.session != nil && m.session.ready }

// LastFailure is why the last Session ended; nil if none has.
func (m *Machine) LastFailure() *Failure { return m.failure }

// Holding is whether there are locks, whose trust a suspend may have ended.
func (m *Machine) Holding() bool { return len(m.leases) > 0 }

// InUse is whether that token is that of a lock that is held, asked for, or not yet released.
func (m *Machine) InUse(key, token string) bool {
	id := leaseID{key, token}
	_, asked := m.callers[id]
	return asked || m.leases[id] != nil || m.releases[id] != nil
}

// NextWake is when Tick has something to do.
func (m *Machine) NextWake() Instant {
	at := earlier(earlier(m.timers.next(), m.reconnectAt), m.expireAt)
	if m.session != nil {
		at = earlier(at, m.session.nextWake())
	}
	return later(at, m.judgeFrom)
}

const slack = 20 * time.Millisecond

// Tick does what is due. A call that comes late leaves the driver a moment to pass in the messages that have arrived
// before it judges by their absence.
func (m *Machine) Tick(now Instant) {
	late := now.Sub(earlier(now, m.NextWake()))
	m.enter(now)
	if late > slack && !m.heldUp {
		m.heldUp, m.judgeFrom = true, now.Add(slack)
		if m.session != nil {
			m.session.onHeldUp(now, late)
		}
	}
	if now < m.judgeFrom {
		return
	}
	m.heldUp, m.judgeFrom = false, longAgo
	m.expire(now, true)
	m.timers.run(now)
	if now >= m.reconnectAt {
		m.connect(now)
	}
	if m.session != nil {
		if failure := m.session.onTime(m, now); failure != nil {
			m.abandon(now, failure)
		}
	}
}

// HasMessage is whether TakeMessage has something to send.
func (m *Machine) HasMessage(session uint64) bool {
	s := m.session
	return s != nil && s.number == session && (!s.opened || s.ready && len(m.outbox) > 0)
}

// TakeMessage is the next message of the stream; nil if there is none yet. The time counts as that of its sending.
func (m *Machine) TakeMessage(now Instant, session uint64) *pb.SessionRequest {
	m.enter(now)
	if !m.HasMessage(session) {
		return nil
	}
	s, message := m.session, &pb.SessionRequest{}
	if !s.opened {
		s.opened = true
		message.DisconnectGrace = duration(m.config.Grace)
		m.put(message, now, ping{})
		return message
	}
	for len(m.outbox) > 0 && len(message.Operations) < mostOperations {
		next := m.outbox[0]
		m.outbox[0], m.outbox = nil, m.outbox[1:]
		m.put(message, now, next)
	}
	if len(message.Operations) == 0 {
		return nil
	}
	return message
}

func (m *Machine) put(message *pb.SessionRequest, now Instant, next operation) {
	request := next.request(m, m.ids+1)
	if request == nil {
		return
	}
	message.Operations = append(message.Operations, request)
	if _, unanswered := next.(cancel); unanswered {
		return
	}
	m.ids++
	m.session.sent[m.ids] = sentOperation{next, now}
}

// enqueue sends an operation when the Session is ready. Whatever is not sent in this Session is found and sent by
// becomeReady in the next.
func (m *Machine) enqueue(next operation) {
	if m.Connected() {
		m.outbox = append(m.outbox, next)
	}
}

// OnMessage takes in what has arrived.
func (m *Machine) OnMessage(now Instant, session uint64, message *pb.SessionResponse) {
	m.enter(now)
	s := m.session
	if s == nil || s.number != session {
		return
	}
	daemon := message.GetClock().AsDuration()
	for _, result := range message.GetResults() {
		if sent, found := s.sent[result.GetId()]; found {
			s.clock.onAnswer(sent.at, daemon)
			s.answered = later(s.answered, sent.at)
		}
	}
	draining := m.takeResults(now, message)
	if m.session != s { // closed
		return
	}
	for _, position := range message.GetPositions() {
		if a, waits := s.sent[position.GetId()].operation.(*Acquisition); waits {
			a.onPosition(int(position.GetPosition()))
		}
	}
	if m.takeEvents(now, message) || draining != nil {
		if draining == nil {
			draining = &Failure{Reason: Draining, Message: "the daemon is shutting down"}
		}
		m.abandon(now, draining)
	}
}

// OnBroken takes in that the stream has ended.
func (m *Machine) OnBroken(now Instant, session uint64, failure *Failure) {
	m.enter(now)
	if m.session != nil && m.session.number == session {
		m.abandon(now, failure)
	}
}

func (m *Machine) takeResults(now Instant, message *pb.SessionResponse) (draining *Failure) {
	s := m.session
	made, usable := s.clock.madeAt(message.GetClock().AsDuration())
	for _, result := range message.GetResults() {
		sent, found := s.sent[result.GetId()]
		if !found {
			continue
		}
		delete(s.sent, result.GetId())
		a := answer{validUntil: longAgo}
		if result.GetStatus() != nil {
			a.failure = failureOf(result.GetStatus())
		} else if a.lease = result.GetLease(); a.lease != nil && usable {
			a.validUntil = made.Add(a.lease.GetValidity().AsDuration())
		}
		if a.failedWith(Draining) {
			draining = a.failure
		}
		sent.operation.onAnswer(m, now, a)
	}
	return draining
}

// takeEvents is whether the daemon is shutting down.
func (m *Machine) takeEvents(now Instant, message *pb.SessionResponse) (draining bool) {
	made, usable := m.session.clock.madeAt(message.GetClock().AsDuration())
	for _, event := range message.GetEvents() {
		lease := m.leases[leaseID{event.GetKey(), event.GetLease().GetToken()}]
		if lease != nil && lease.in != m.session {
			lease = nil // an adoption that is under way decides
		}
		switch event.GetType() {
		case pb.EventType_EVENT_TYPE_DRAINING:
			draining = true
		case pb.EventType_EVENT_TYPE_EXTENDED:
			if lease != nil && usable {
				lease.raise(event.GetLease(), made.Add(event.GetLease().GetValidity().AsDuration()))
			}
		case pb.EventType_EVENT_TYPE_LOST:
			if lease != nil {
				m.lose(now, lease, &Failure{Reason: event.GetReason(), Message: event.GetMessage()}, true)
			}
		}
	}
	return draining
}

// enter comes before everything else.
func (m *Machine) enter(now Instant) { m.expire(now, false) }

// expire ends the locks whose trust has ended; if margins count, also those whose trust is about to end.
func (m *Machine) expire(now Instant, margins bool) {
	if now < m.expireAt {
		return
	}
	var over []*Lease
	m.expireAt = never
	for _, lease := range m.leases {
		trust := lease.trust()
		if now >= trust || margins && now >= trust.Add(-lease.margin) {
			over = append(over, lease)
		} else {
			m.expireAt = earlier(m.expireAt, trust.Add(-lease.margin))
		}
	}
	sort.Slice(over, func(i, j int) bool { return over[i].serial < over[j].serial })
	for _, lease := range over {
		m.lose(now, lease, &Failure{Reason: LockNotHeld, Message: "it could not be extended in time"}, false)
	}
}
