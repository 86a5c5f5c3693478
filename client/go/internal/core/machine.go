package core

import (
	"sort"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// Host carries out the requests of the machine. It must not call the machine from inside these methods, nor from inside
// the functions that are passed to the machine's methods.
type Host interface {
	// Open opens a stream to an endpoint. The driver reports its end with Machine.OnBroken.
	Open(session uint64, endpoint int)
	// Cancel cancels a stream. The machine ignores what the stream reports afterwards.
	Cancel(session uint64)
	// Suspended reports whether the machine was suspended since the last call.
	Suspended() bool
	// OnReady reports that a Session with the endpoint is ready.
	OnReady(endpoint int)
	// OnEnded reports that a Session was abandoned.
	OnEnded(endpoint int, wasReady bool, failure *Failure)
	// NewToken returns an owner token that cannot be guessed.
	NewToken() string
	// Jitter returns a random number from 0 to 1.
	Jitter() float64
}

// Config configures a Machine.
type Config struct {
	Endpoints int           // their number, at least 1
	Grace     time.Duration // disconnect_grace, at least 100 ms
}

// leaseID names one hold: the same token may hold several keys.
type leaseID struct {
	key   Key
	token string
}

// Machine is the state of one client.
//
// Each method that takes the time first checks whether the computer was suspended, and then ends the trust in all locks
// that can no longer be trusted. Otherwise Tick does this, after it has given the driver time to read what has arrived.
type Machine struct {
	config Config
	host   Host

	session  *session // the current one; nil while the client pauses between attempts
	outbox   []operation
	sessions uint64 // the number of the last one
	ids      uint64 // the last operation's
	serials  uint64 // the last acquisition's or extension's

	endpoint    int // of the current or the next session
	failures    int // consecutive failed Sessions
	pause       time.Duration
	reconnectAt Instant
	failure     *Failure // why the last Session was abandoned
	refusal     *Failure // a refusal for which a retry cannot help

	leases   map[leaseID]*Lease // held
	expireAt Instant            // no lease is lost by the clock before
	acquires map[*Acquisition]struct{}
	callers  map[leaseID]*Acquisition // those with the caller's own token and those that downgrade, also by the exclusive lock; their callers wait
	leaving  map[leaseID]*Acquisition // with the caller's own token; given up, but not over
	extends  map[*Extension]struct{}
	releases map[leaseID]*release

	delayedUntil Instant // the end of the last delay of a lost lock

	timers    timers
	judgeFrom Instant // after a delay of the client, arrived messages are read until then
	heldUp    bool

	closing closing
}

// New makes a machine and opens its first Session.
func New(config Config, host Host, now Instant) *Machine {
	m := &Machine{config: config, host: host, pause: leastPause, reconnectAt: never, expireAt: never, judgeFrom: longAgo, delayedUntil: longAgo,
		leases: map[leaseID]*Lease{}, acquires: map[*Acquisition]struct{}{}, callers: map[leaseID]*Acquisition{}, leaving: map[leaseID]*Acquisition{}, extends: map[*Extension]struct{}{},
		releases: map[leaseID]*release{}}
	m.connect(now)
	return m
}

// Connected reports whether a Session is ready.
func (m *Machine) Connected() bool { return m.session != nil && m.session.ready }

// LastFailure returns why the last Session ended; nil if none has ended.
func (m *Machine) LastFailure() *Failure { return m.failure }

// Holding reports whether there are held locks, whose trust a suspend may have ended.
func (m *Machine) Holding() bool { return len(m.leases) > 0 }

// Held returns the held lease of this key and token; nil: none.
func (m *Machine) Held(key Key, token string) *Lease { return m.leases[leaseID{key, token}] }

// Share returns the held lease of this key and token for one more call; nil: none. Unless that call gets the lock, it ends
// with Leave.
func (m *Machine) Share(key Key, token string) *Lease {
	lease := m.leases[leaseID{key, token}]
	if lease != nil {
		lease.users++
	}
	return lease
}

// Leave ends a call that has not got the lock of Share. The lock ends only if no other call has it.
func (m *Machine) Leave(now Instant, lease *Lease) {
	m.enter(now)
	lease.users--
	if lease.users == 0 && lease.state == held {
		m.end(lease, released, lease.notHeld())
		m.giveBack(now, lease.id(), lease.longest, lease.callers, lease.spared)
	}
}

// InUse reports whether the token belongs to a lock that is held, requested, being downgraded, or not yet released.
func (m *Machine) InUse(key Key, token string) bool {
	id := leaseID{key, token}
	return m.callers[id] != nil || m.leases[id] != nil || m.releasing(key, token)
}

// releasing reports whether the token is being released. A release has no mode, so that one which is sent again would end
// a lock of the same keys in any mode.
func (m *Machine) releasing(key Key, token string) bool {
	names := Together(key.Names()...)
	for id := range m.releases {
		if id.token == token && Together(id.key.Names()...) == names {
			return true
		}
	}
	return false
}

// NextWake returns when Tick must be called next.
func (m *Machine) NextWake() Instant {
	at := earlier(earlier(m.timers.next(), m.reconnectAt), m.expireAt)
	if m.session != nil {
		at = earlier(at, m.session.nextWake())
	}
	return later(at, m.judgeFrom)
}

const slack = 20 * time.Millisecond

// Tick does what is due. If it is called late, it first gives the driver time to pass in the messages that have arrived,
// so that it does not treat them as missing.
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

// HasMessage reports whether TakeMessage has something to send.
func (m *Machine) HasMessage(session uint64) bool {
	s := m.session
	return s != nil && s.number == session && (!s.opened || s.ready && len(m.outbox) > 0)
}

// TakeMessage returns the next message of the stream; nil if there is none yet. now counts as its sending time.
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
	for size := 0; len(m.outbox) > 0 && len(message.Operations) < mostOperations && size < enoughBytes; {
		next := m.outbox[0]
		m.outbox[0], m.outbox = nil, m.outbox[1:]
		size += m.put(message, now, next)
	}
	if len(message.Operations) == 0 {
		return nil
	}
	return message
}

// put returns the bytes of the operation.
func (m *Machine) put(message *pb.SessionRequest, now Instant, next operation) int {
	request := next.request(m, m.ids+1)
	if request == nil {
		return 0
	}
	message.Operations = append(message.Operations, request)
	if _, unanswered := next.(cancel); !unanswered {
		m.ids++
		m.session.sent[m.ids] = sentOperation{next, now}
	}
	return proto.Size(request)
}

// enqueue sends an operation if the Session is ready. becomeReady sends what was not sent on this Session on the next
// one.
func (m *Machine) enqueue(next operation) {
	if m.Connected() {
		m.outbox = append(m.outbox, next)
	}
}

// OnMessage processes a message from the daemon.
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

// OnBroken processes the end of the stream.
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
		if m.session != s { // closed
			break
		}
	}
	return draining
}

// takeEvents processes the events, and reports whether the daemon is shutting down.
func (m *Machine) takeEvents(now Instant, message *pb.SessionResponse) (draining bool) {
	made, usable := m.session.clock.madeAt(message.GetClock().AsDuration())
	for _, event := range message.GetEvents() {
		lease := m.leases[leaseID{KeyOf(event), event.GetLease().GetToken()}]
		if lease != nil && lease.in != m.session {
			lease = nil // the pending adoption decides
		}
		switch event.GetType() {
		case pb.EventType_EVENT_TYPE_DRAINING:
			draining = true
		case pb.EventType_EVENT_TYPE_EXTENDED:
			if lease != nil && usable {
				lease.raise(event.GetLease(), made.Add(event.GetLease().GetValidity().AsDuration()))
			}
		case pb.EventType_EVENT_TYPE_EXTEND_FAILED:
			if lease != nil {
				lease.obstacle = event.GetMessage()
			}
		case pb.EventType_EVENT_TYPE_LOST:
			if lease != nil {
				m.lose(now, lease, &Failure{Reason: event.GetReason(), Message: event.GetMessage()}, true)
			}
		}
	}
	return draining
}

// enter must be called first by every method that takes the time.
func (m *Machine) enter(now Instant) {
	if m.host.Suspended() {
		m.expire(now, false)
	}
}

// expire loses the locks whose trust has ended and, with margins, those whose trust is down to the margin.
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
		m.lose(now, lease, &Failure{Reason: LockNotHeld, Message: "no daemon extended it in time" + lease.why()}, false)
	}
}
