package core

import (
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const (
	giveUpTimeout = time.Second
	// After the time to wait is over, the daemon has this long to say why the lock was not acquired.
	lastWordTimeout = 250 * time.Millisecond
	// What is added to the sequence of an adoption that was refused although the token may hold the key: another client
	// has used higher ones. Sequences are microseconds, as fencing tokens are.
	sequenceStep = uint64(time.Second / time.Microsecond)
)

// Acquire describes an acquisition.
type Acquire struct {
	Key   Key
	TTL   time.Duration
	Try   bool // a single attempt
	Retry *pb.RetryPolicy
	Owner string
	Value string // that the lock publishes
	// LockDelay is how long a lost lock keeps others out after its TTL. The machine does not release it earlier.
	LockDelay time.Duration
	Margin    time.Duration
	Token     string // "": the client makes one
	// ExtendIfHeld takes over the lock if the token holds the key already. A call that fails does not end such a lock.
	ExtendIfHeld bool
	// Adopt takes over a lock that the token holds, and never acquires.
	Adopt bool
	// Slot is where ExtendIfHeld or Adopt looks for the lock, if the key is a semaphore. 0: in the slot that the token has.
	Slot int
	// Sequence is what the first adoption by ExtendIfHeld or Adopt must exceed, so that it exceeds those of the clients
	// that had the lock before.
	Sequence uint64

	Done   func(*Lease, *Failure) // called once, unless GiveUp comes first
	Queued func(position int)
	Lost   func(*Failure) // called if the lease that was passed to Done is lost
}

type acquireState int

const (
	asking   acquireState = iota // sent, or to be sent in the current or next Session
	resting                      // refused because of overload; retries later
	joining                      // granted to the caller's own token; being adopted
	givenUp                      // the caller no longer waits; the answer still matters
	deferred                     // not sent before an earlier call with the caller's own token is over
	over
)

// Acquisition is one acquisition. It continues over as many Sessions as necessary.
type Acquisition struct {
	Acquire
	serial   uint64
	state    acquireState
	token    string
	sent     uint64   // the operation's id in the current Session; 0: not sent
	sendings uint64   // of the acquire with the present token
	takes    bool     // the token may hold a lock that this call has not acquired: extend it
	spared   Instant  // ExtendIfHeld found a lock that lasts until then
	unsure   bool     // an earlier Session may hold the caller's own token, or the call is a downgrade
	from     *Lease   // the exclusive lock that this call downgrades; nil: none
	sequence uint64   // of the last adoption of that token
	granted  *Lease   // while joining
	refused  *Failure // by the last attempt that is repeated
	timedOut bool     // given up, but the caller still waits for the reason
}

func (a *Acquisition) id() leaseID { return leaseID{a.Key, a.token} }

// Acquire starts an acquisition. It waits until the daemon answers or the caller gives up.
func (m *Machine) Acquire(now Instant, what Acquire) *Acquisition {
	m.enter(now)
	if what.Try {
		what.Retry = &pb.RetryPolicy{MaxRetries: new(int32), MinDelay: what.Retry.GetMinDelay(), MaxJitter: what.Retry.GetMaxJitter()}
	}
	a := &Acquisition{Acquire: what, serial: m.nextSerial(), token: what.Token, sequence: what.Sequence,
		takes: what.ExtendIfHeld || what.Adopt, spared: longAgo}
	if m.closing.begun {
		a.state = over
		a.Done(nil, closed())
		return a
	}
	if a.token == "" {
		a.token = m.host.NewToken()
	} else {
		m.callers[a.id()] = a
		if m.leaving[a.id()] != nil {
			a.state = deferred
		}
	}
	m.acquires[a] = struct{}{}
	if a.state != deferred { // otherwise, leave queues it, behind the give_up
		m.enqueue(a)
	}
	return a
}

// GiveUp ends an acquisition whose caller no longer waits. No lock is left behind.
func (m *Machine) GiveUp(now Instant, a *Acquisition) {
	m.enter(now)
	switch {
	case a.state == over || a.state == givenUp:
	case a.state == asking && a.sent != 0 && !a.takes:
		a.state = givenUp
		if a.Token != "" {
			a.freeToken(m)
			m.leaving[a.id()] = a
		}
		m.enqueue(cancel{a.sent})
		m.timers.add(now.Add(giveUpTimeout), func(now Instant) {
			if a.state == givenUp { // a lease that arrives even later is also given back
				a.leave(m, now, true)
				a.lastWord(m.notInTime(a))
			}
		})
	default:
		a.end(m, now)
	}
}

// Return gives back a lock that was granted before the machine knew that its caller no longer waits. It does not if another
// call has got the same lock: nobody would tell that one.
func (m *Machine) Return(now Instant, a *Acquisition) {
	m.enter(now)
	a.granted.users--
	if a.granted.users == 0 && a.granted.state == held {
		m.end(a.granted, released, a.granted.notHeld())
		a.giveBack(m, now)
	}
}

// TimeOut gives up an acquisition whose time to wait is over. Done is called with the reason after at most 250 ms. It
// never reports an outage as contention.
func (m *Machine) TimeOut(now Instant, a *Acquisition) {
	m.enter(now)
	if a.state == over || a.state == givenUp {
		return
	}
	failure := m.notInTime(a)
	m.GiveUp(now, a)
	a.timedOut = true
	if a.state == over { // no answer can say more
		a.lastWord(failure)
		return
	}
	m.timers.add(now.Add(lastWordTimeout), func(Instant) { a.lastWord(m.notInTime(a)) })
}

// lastWord ends the wait of a caller whose time is over.
func (a *Acquisition) lastWord(failure *Failure) {
	if a.timedOut {
		a.timedOut = false
		a.refuse(failure)
	}
}

// notInTime returns why the lock was not acquired in time, as far as the client itself knows.
func (m *Machine) notInTime(a *Acquisition) *Failure {
	switch {
	case !m.Connected() && m.failure != nil:
		return &Failure{Reason: Unreachable, Message: "no daemon answered within the time to wait: " + m.failure.Message}
	case !m.Connected():
		return &Failure{Reason: Unreachable, Message: "no daemon answered within the time to wait"}
	case a.refused != nil:
		return a.refused.withinTheWait()
	default:
		return &Failure{Reason: DeadlineExceeded, Message: "not acquired within the time to wait"}
	}
}

// leave forgets the acquisition. A later answer matters only if it is a lease. unwanted: it may have a lock that nobody
// gets.
func (a *Acquisition) leave(m *Machine, now Instant, unwanted bool) {
	a.state = over
	delete(m.acquires, a)
	a.freeToken(m)
	if unwanted {
		a.giveBack(m, now)
	}
	if m.leaving[a.id()] != a {
		return
	}
	delete(m.leaving, a.id())
	if next := m.callers[a.id()]; next != nil {
		next.state = asking
		m.enqueue(next)
	}
}

func (a *Acquisition) freeToken(m *Machine) {
	if m.callers[a.id()] == a {
		delete(m.callers, a.id())
	}
	if a.from != nil && m.callers[a.from.id()] == a {
		delete(m.callers, a.from.id())
	}
}

// end ends an acquisition that was not granted, and leaves no lock behind.
func (a *Acquisition) end(m *Machine, now Instant) { a.leave(m, now, a.unsure) }

func (a *Acquisition) fail(m *Machine, now Instant, failure *Failure) {
	waits := a.state != givenUp && a.state != over
	if a.from != nil && failure.Reason == LockNotHeld {
		a.unsure = false
	}
	a.end(m, now)
	if waits {
		a.refuse(failure)
	}
}

func (a *Acquisition) onPosition(position int) {
	if a.state == asking {
		a.Queued(position)
	}
}

func (a *Acquisition) request(_ *Machine, id uint64) *pb.SessionOperation {
	key, keys := a.Key.Fields()
	switch {
	case a.sent != 0: // it was queued twice
		return nil
	case a.state == asking && a.takes:
		// Returns the fencing token, without which no sequence is known that the nodes accept. The client itself repeats it.
		a.sent = id
		return &pb.SessionOperation{Id: id, Operation: &pb.SessionOperation_Extend{Extend: &pb.ExtendRequest{
			Key: key, Keys: keys, Mode: a.Key.Mode(), MaxHolders: int32(a.Key.MaxHolders()), Slot: int32(a.Slot),
			Token: a.token, Ttl: duration(a.TTL), Retry: &pb.RetryPolicy{MaxRetries: new(int32)},
			DowngradeFrom: a.downgradeFrom()}}}
	case a.state == asking:
		a.sent = id
		a.sendings++
		token := a.token // the message is written later, when a.token may be another one
		request := &pb.AcquireRequest{Key: key, Keys: keys, Mode: a.Key.Mode(), MaxHolders: int32(a.Key.MaxHolders()),
			Ttl: duration(a.TTL), Token: &token, Owner: a.Owner, Value: a.Value, LockDelay: Optional(a.LockDelay),
			Retry: a.Retry, ExtendIfHeld: a.unsure}
		return &pb.SessionOperation{Id: id, Operation: &pb.SessionOperation_Acquire{Acquire: request}}
	case a.state == joining:
		a.sent = id
		// Each copy that was sent with extend_if_held may have moved the lease to another stream.
		a.sequence = nextSequence(a.sequence, a.granted.fence+a.sendings)
		return adoptRequest(id, a.id(), a.granted.Slot, a.TTL, a.sequence, a.downgradeFrom())
	default:
		return nil
	}
}

func (a *Acquisition) onAnswer(m *Machine, now Instant, answer answer) {
	a.sent = 0
	switch {
	case a.state == over && a.takes && a.granted == nil: // it was only extended
	case answer.lease != nil && (a.state == givenUp || a.state == over):
		a.leave(m, now, true)
		a.lastWord(m.notInTime(a))
	case a.state == over:
	case a.state == givenUp:
		a.end(m, now)
		a.lastWord(answer.failure.EndOfWait())
	case a.state == joining:
		a.onAdopted(m, now, answer)
	case answer.lease != nil:
		a.granted = a.leaseOf(answer)
		if a.unsure || a.takes {
			// An earlier Session may hold the lock, and release it when that Session ends.
			a.state = joining
			if a.takes && a.ExtendIfHeld {
				a.spared = later(a.spared, answer.validUntil)
			}
			m.enqueue(a)
			return
		}
		a.grant(m, now)
	case answer.failedWith(Draining): // the next Session sends it again
	case answer.failedWith(Overloaded) && !a.Try:
		a.refused = answer.failure
		a.rest(m, now.Add(longest(answer.failure.RetryAfter, leastDelay)), asking)
	case a.takes && a.ExtendIfHeld && answer.failedWith(LockNotHeld):
		a.takes, a.spared = false, longAgo // whatever the token holds from now on, this call has acquired
		m.enqueue(a)
	case a.takes && !a.Try && (answer.failedWith(QuorumUnavailable) || answer.failedWith(NodeSetMismatch)):
		a.refused = answer.failure
		a.rest(m, now.Add(adoptAgain), asking)
	default:
		a.fail(m, now, answer.failure)
	}
}

func (a *Acquisition) onAdopted(m *Machine, now Instant, answer answer) {
	switch {
	case answer.lease != nil:
		a.granted = a.leaseOf(answer)
		a.granted.sequence = a.sequence
		a.grant(m, now)
	case answer.failedWith(Draining): // the next Session adopts it
	case answer.failedWith(LockNotHeld): // or another client has used higher sequences
		a.state, a.granted = asking, nil
		a.sequence += sequenceStep
		m.enqueue(a)
	case answer.failure.refusal():
		a.fail(m, now, answer.failure)
	default:
		a.refused = answer.failure
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
	return &Lease{Key: a.Key, Token: a.token, Slot: int(answer.lease.GetSlot()), ttl: a.TTL, longest: a.longest(), delay: a.LockDelay, margin: a.Margin,
		onLost: a.Lost, callers: a.Token != "", fence: answer.lease.GetFencingToken(), validUntil: answer.validUntil}
}

func (a *Acquisition) grant(m *Machine, now Instant) {
	lease := a.granted
	lease.in, lease.users, lease.spared = m.session, 1, a.spared
	if now >= lease.trust().Add(-lease.margin) {
		a.unsure = true
		a.fail(m, now, &Failure{Reason: ValidityExpired, Message: "the lock was granted, but its validity had ended when the answer was read"})
		return
	}
	a.leave(m, now, false)
	m.hold(lease)
	a.Done(lease, nil)
}

func (a *Acquisition) onAbandoned(m *Machine, now Instant) {
	a.sent = 0
	switch {
	case a.state == over && a.takes: // the daemon releases the lock after the grace if it was adopted
	case a.state == givenUp || a.state == over:
		a.leave(m, now, true)
		a.lastWord(m.notInTime(a))
	case a.takes:
	case a.Token != "": // the next Session sends it again, and adopts the lock once it is granted
		a.unsure = true
	default:
		m.release(now, a.id(), a.longest(), now)
		a.token = m.host.NewToken()
		a.sendings = 0
	}
}

// giveBack gives back a lock that no caller gets; but one that ExtendIfHeld has found only once its caller can no longer
// rely on it. The lock of a downgrade is released, even if the client made its token, because a give_up would not end a
// lease that belongs to another Session.
func (a *Acquisition) giveBack(m *Machine, now Instant) {
	m.giveBack(now, a.id(), a.longest(), a.Token != "" && a.from == nil, a.spared)
}

// cancel gives up the acquire with this id. The daemon does not answer it.
type cancel struct{ id uint64 }

func (c cancel) request(*Machine, uint64) *pb.SessionOperation {
	return &pb.SessionOperation{Id: c.id, Operation: &pb.SessionOperation_Cancel{Cancel: &pb.CancelOperation{}}}
}

func (cancel) onAnswer(*Machine, Instant, answer) {}
func (cancel) onAbandoned(*Machine, Instant)      {}
