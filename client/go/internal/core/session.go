package core

import (
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const (
	connectTimeout = 2 * time.Second
	silenceTimeout = 2 * time.Second
	mostOperations = 1000 // in one message
	// Of a message. The default of the daemon's --max-message-bytes is twice that.
	enoughBytes = 1 << 19
)

// session is the stream to one daemon. It is connecting until its first ping has been answered, and then ready. The
// machine forgets a session when it abandons it.
type session struct {
	number uint64 // never used twice
	grace  time.Duration
	ready  bool
	opened bool // the first message was taken
	// When the session counts as failed if it is not ready by then.
	connectBy Instant
	readyAt   Instant

	clock    daemonClock
	sent     map[uint64]sentOperation // not answered yet, by id
	answered Instant                  // the sending time of the last message that was answered

	pinging  bool
	pingedAt Instant // when the last ping was issued, which may be before it could be sent
	answerBy Instant // when the daemon counts as silent if the ping is not answered by then
}

// operation is a request that is sent and answered in a Session.
type operation interface {
	// request returns the message to send with this id; nil if there is nothing to send any more.
	request(m *Machine, id uint64) *pb.SessionOperation
	// onAnswer processes the only answer. After DRAINING, the machine abandons the Session at once.
	onAnswer(m *Machine, now Instant, answer answer)
	// onAbandoned is called if the Session was abandoned after the operation was sent and before it was answered.
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

// trustedUntil returns until when the daemon certainly keeps the locks of the Session.
func (s *session) trustedUntil() Instant { return s.answered.Add(trustAfter(s.grace)) }

// patience returns how long the answer to a ping may take.
func (s *session) patience() time.Duration { return least(s.grace/3, silenceTimeout) }

// pingAt returns when the next ping is due: early enough that its answer prolongs the trust in time, even if all other
// operations sent are acquires that wait.
func (s *session) pingAt() Instant { return later(s.answered, s.pingedAt).Add(s.grace / 4) }

// nextWake returns when onTime must be called next.
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

// onHeldUp is called when the client was held up. If that took longer than a ping may take, the answer to the ping may
// be waiting to be read, so the session waits once more.
func (s *session) onHeldUp(now Instant, late time.Duration) {
	if s.pinging && late > s.patience() {
		s.answerBy = now.Add(s.patience())
	}
}

// onTime sends a ping if one is due. It returns a failure if the Session must be abandoned.
func (s *session) onTime(m *Machine, now Instant) *Failure {
	switch {
	case now < s.nextWake():
		return nil
	case !s.ready:
		return &Failure{Reason: Unreachable, Message: "the daemon did not answer in time"}
	case !s.pinging:
		s.pinging, s.pingedAt, s.answerBy = true, now, now.Add(s.patience())
		m.enqueue(ping{})
		return nil
	default:
		return &Failure{Reason: Unreachable, Message: "the daemon fell silent"}
	}
}

// ping checks that the daemon is alive, and requests its clock.
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
