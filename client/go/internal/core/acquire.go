package core

import (
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const giveUpTimeout = time.Second

// Acquire describes an acquisition.
type Acquire struct {
	Key    string
	TTL    time.Duration
	Try    bool // a single attempt
	Owner  string
	Margin time.Duration
	Token  string // "": the client makes one

	Done   func(*Lease, *Failure) // called once, unless GiveUp comes first
	Queued func(position int)
	Lost   func(*Failure) // called if the lease that was passed to Done is lost
}

type acquireState int

const (
	asking  acquireState = iota // sent, or to be sent in the current or next Session
	resting                     // refused because of overload; retries later
	joining                     // granted to the caller's own token; being adopted
	givenUp                     // the caller no longer waits; the answer still matters
	over
)

// Acquisition is one acquisition. It continues over as many Sessions as necessary.
type Acquisition struct {
	Acquire
	serial   uint64
	state    acquireState
	token    string
	sent     uint64 // the operation's id in the current Session; 0: not sent
	unsure   bool   // an earlier Session may hold the caller's own token
	sequence uint64 // of the last adoption of that token
	granted  *Lease // while joining
}

func (a *Acquisition) id() leaseID { return leaseID{a.Key, a.token} }

// Acquire starts an acquisition. It waits until the daemon answers or the caller gives up.
func (m *Machine) Acquire(now Instant, what Acquire) *Acquisition {
	m.enter(now)
	a := &Acquisition{Acquire: what, serial: m.nextSerial(), token: what.Token}
	if m.closing.begun {
		a.state = over
		a.Done(nil, closed())
		return a
	}
	if a.token == "" {
		a.token = m.host.NewToken()
	} else {
		m.callers[a.id()] = struct{}{}
	}
	m.acquires[a] = struct{}{}
	m.enqueue(a)
	return a
}

// GiveUp ends an acquisition whose caller no longer waits. No lock is left behind.
func (m *Machine) GiveUp(now Instant, a *Acquisition) {
	m.enter(now)
	switch {
	case a.state == over || a.state == givenUp:
	case a.state == asking && a.sent != 0:
		a.state = givenUp
		m.enqueue(cancel{a.sent})
		m.timers.add(now.Add(giveUpTimeout), func(now Instant) {
			if a.state == givenUp { // a lease that arrives even later is also released
				a.leave(m)
				m.release(now, a.id(), a.TTL, now)
			}
		})
	default:
		a.end(m, now)
	}
}

// leave forgets the acquisition. A later answer matters only if it is a lease.
func (a *Acquisition) leave(m *Machine) {
	a.state = over
	delete(m.acquires, a)
	delete(m.callers, a.id())
}

// end ends an acquisition that was not granted, and leaves no lock behind.
func (a *Acquisition) end(m *Machine, now Instant) {
	a.leave(m)
	if a.unsure {
		m.release(now, a.id(), a.TTL, now)
	}
}

func (a *Acquisition) fail(m *Machine, now Instant, failure *Failure) {
	waits := a.state != givenUp && a.state != over
	a.end(m, now)
	if waits {
		a.Done(nil, failure)
	}
}

func (a *Acquisition) onPosition(position int) {
	if a.state == asking {
		a.Queued(position)
	}
}

func (a *Acquisition) request(_ *Machine, id uint64) *pb.SessionOperation {
	switch {
	case a.state == asking && a.sent == 0:
		a.sent = id
		request := &pb.AcquireRequest{Key: a.Key, Ttl: duration(a.TTL), Token: &a.token, Owner: a.Owner, ExtendIfHeld: a.unsure}
		if a.Try {
			request.Retry = &pb.RetryPolicy{MaxRetries: new(int32)}
		}
		return &pb.SessionOperation{Id: id, Operation: &pb.SessionOperation_Acquire{Acquire: request}}
	case a.state == joining:
		a.sequence = nextSequence(a.sequence, a.granted.fence)
		return adoptRequest(id, a.Key, a.token, a.TTL, a.sequence)
	default:
		return nil
	}
}

func (a *Acquisition) onAnswer(m *Machine, now Instant, answer answer) {
	a.sent = 0
	switch {
	case a.state == joining:
		a.onAdopted(m, now, answer)
	case answer.lease != nil && (a.state == givenUp || a.state == over):
		a.leave(m)
		m.release(now, a.id(), a.TTL, now)
	case a.state == over:
	case answer.lease != nil:
		a.granted = a.leaseOf(answer)
		if a.unsure {
			// An earlier Session may hold the lock, and release it when that Session ends.
			a.state = joining
			m.enqueue(a)
			return
		}
		a.grant(m)
	case a.state == givenUp:
		a.end(m, now)
	case answer.failedWith(Draining): // the next Session sends it again
	case answer.failedWith(Overloaded) && !a.Try:
		a.rest(m, now.Add(longest(answer.failure.RetryAfter, leastDelay)), asking)
	default:
		a.fail(m, now, answer.failure)
	}
}

func (a *Acquisition) onAdopted(m *Machine, now Instant, answer answer) {
	switch {
	case answer.lease != nil:
		a.granted = a.leaseOf(answer)
		a.granted.sequence = a.sequence
		a.grant(m)
	case answer.failedWith(Draining): // the next Session adopts it
	case answer.failedWith(LockNotHeld):
		a.state, a.granted = asking, nil
		m.enqueue(a)
	default:
		a.rest(m, now.Add(adoptAgain), joining)
	}
}

// rest pauses the acquisition, which then continues in the state `then`.
func (a *Acquisition) rest(m *Machine, until Instant, then acquireState) {
	a.state = resting
	m.timers.add(until, func(Instant) {
		if a.state == resting {
			a.state = then
			m.enqueue(a)
		}
	})
}

func (a *Acquisition) leaseOf(answer answer) *Lease {
	return &Lease{Key: a.Key, Token: a.token, ttl: a.TTL, longest: a.TTL, margin: a.Margin, onLost: a.Lost,
		fence: answer.lease.GetFencingToken(), validUntil: answer.validUntil}
}

func (a *Acquisition) grant(m *Machine) {
	lease := a.granted
	lease.in = m.session
	a.leave(m)
	m.hold(lease)
	a.Done(lease, nil)
}

func (a *Acquisition) onAbandoned(m *Machine, now Instant) {
	a.sent = 0
	switch {
	case a.state == givenUp || a.state == over:
		a.leave(m)
		m.release(now, a.id(), a.TTL, now)
	case a.Token != "": // the next Session sends it again, and adopts the lock once it is granted
		a.unsure = true
	default:
		m.release(now, a.id(), a.TTL, now)
		a.token = m.host.NewToken()
	}
}

// cancel gives up the acquire with this id. The daemon does not answer it.
type cancel struct{ id uint64 }

func (c cancel) request(*Machine, uint64) *pb.SessionOperation {
	return &pb.SessionOperation{Id: c.id, Operation: &pb.SessionOperation_Cancel{Cancel: &pb.CancelOperation{}}}
}

func (cancel) onAnswer(*Machine, Instant, answer) {}
func (cancel) onAbandoned(*Machine, Instant)      {}
