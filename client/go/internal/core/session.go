package core

import (
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const (
	connectTimeout = 2 * time.Second
	silenceTimeout = 2 * time.Second
	mostOperations = 1000 // in one message
)

// session is the stream to one daemon. It is connecting until its first ping has been answered, and then ready. Once
// it has been abandoned the machine forgets it.
type session struct {
	number uint64 // never used twice
	grace  time.Duration
	ready  bool
	opened bool // the first message was taken
	// When it counts as failed, unless it is ready before.
	connectBy Instant
	readyAt   Instant

	clock    daemonClock
	sent     map[uint64]sentOperation // not answered yet, by id
	answered Instant                  // the sending time of the last message that was answered

	pinging  bool
	pingedAt Instant // when the last ping was issued, which may be before it could be sent
	answerBy Instant // of the ping under way: later than that the daemon is silent
}

// operation is what is sent in a Session and answered there.
type operation interface {
	// request is the message to send under that id; nil if there is nothing to send any more.
	request(m *Machine, id uint64) *pb.SessionOperation
	// onAnswer takes in the one answer. On DRAINING the machine abandons the Session right after.
	onAnswer(m *Machine, now Instant, answer answer)
	// onAbandoned: the Session was abandoned after the operation was sent and before it was answered.
	onAbandoned(m *Machine, now Instant)
}

type sentOperation struct {
	operation operation
	at        Instant
}

// answer has a lease, a failure, or neither.
type answer struct {
	lease      *pb.Lease
	validUntil Instant
	failure    *Failure
}

func (a answer) failedWith(reason string) bool { return a.failure != nil && a.failure.Reason == reason }

func newSession(number uint64, grace time.Duration, now Instant, endpoints int) *session {
	timeout := least(connectTimeout, grace/2/time.Duration(endpoints))
	return &session{number: number, grace: grace, connectBy: now.Add(timeout),
		sent: map[uint64]sentOperation{}, answered: longAgo, pingedAt: longAgo}
}

// trustedUntil is how long the daemon certainly keeps what the Session holds.
func (s *session) trustedUntil() Instant { return s.answered.Add(trustAfter(s.grace)) }

// patience is how long a ping may take.
func (s *session) patience() time.Duration { return least(s.grace/3, silenceTimeout) }

// pingAt is when the next ping is due: early enough that an answered message keeps the trust from running out, even if
// messages are sent all the time whose operations wait for long.
func (s *session) pingAt() Instant { return later(s.answered, s.pingedAt).Add(s.grace / 4) }

// nextWake is when onTime has something to do.
func (s *session) nextWake() Instant {
	switch {
	case !s.ready:
		return s.connectBy
	case s.pinging:
		return s.answerBy
	default:
		return s.pingAt()
	}
}

// onHeldUp: the client was held up for longer than a ping may take, so that its answer may wait to be read.
func (s *session) onHeldUp(now Instant, late time.Duration) {
	if s.pinging && late > s.patience() {
		s.answerBy = now.Add(s.patience())
	}
}

// onTime pings when that is due, and returns why the Session is to be abandoned, if it is.
func (s *session) onTime(m *Machine, now Instant) *Failure {
	switch {
	case now < s.nextWake():
		return nil
	case !s.ready:
		return &Failure{Reason: Unreachable, Message: "no answer in time"}
	case !s.pinging:
		s.pinging, s.pingedAt, s.answerBy = true, now, now.Add(s.patience())
		m.enqueue(ping{})
		return nil
	default:
		return &Failure{Reason: Unreachable, Message: "the daemon fell silent"}
	}
}

// ping asks for a sign of life, and for the daemon's clock.
type ping struct{}

func (ping) request(_ *Machine, id uint64) *pb.SessionOperation {
	return &pb.SessionOperation{Id: id, Operation: &pb.SessionOperation_Ping{Ping: &pb.PingOperation{}}}
}

func (ping) onAnswer(m *Machine, now Instant, a answer) {
	m.session.pinging = false
	if !m.session.ready && !a.failedWith(Draining) {
		m.becomeReady(now)
	}
}

func (ping) onAbandoned(*Machine, Instant) {}
