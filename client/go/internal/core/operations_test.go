package core

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

func TestAnUnansweredAcquireIsReleasedAndSentWithANewToken(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: "k"})
	first := w.expect(w.sent(), "acquire k rl-1")[0]
	w.breakOff()
	w.m.OnMessage(w.now, 1, w.message(granted(first, 7, testTTL))) // too late
	same(t, "done", u.done, 0)
	operations := w.expect(w.getReady(), "release k rl-1", "acquire k rl-2")
	w.reply(ok(operations[0]), granted(operations[1], 8, testTTL))
	same(t, "token", u.lease.Token, "rl-2")
	w.expect(w.sent())
}

func TestReleasesComeBeforeAnythingElse(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	held := w.hold("held")
	w.acquire(Acquire{Key: "asked"})
	w.sent()
	released := w.hold("released")
	o := w.release(released)
	w.sent()
	w.m.Extend(w.now, held.lease, testTTL, nil, func(*Failure) {})
	w.breakOff()
	operations := w.expect(w.getReady(), "release released rl-3", "release asked rl-2",
		"adopt held rl-1 #8", "extend held rl-1", "acquire asked rl-4")
	w.reply(failed(operations[0], LockNotHeld)) // the first release was carried out
	same(t, "released", o.reason(), "OK")
}

func TestACallersTokenIsSentAgainAndAdopted(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "mine"})
	same(t, "in use", w.m.InUse("k", "mine"), true)
	w.expect(w.sent(), "acquire k mine")
	w.breakOff()
	again := w.expect(w.getReady(), "reacquire k mine")[0]
	w.reply(granted(again, 7, testTTL))
	same(t, "done", u.done, 0) // the first Session may release it
	adopt := w.expect(w.sent(), "adopt k mine #10")[0]
	w.reply(failed(adopt, "QUORUM_UNAVAILABLE"))
	w.pass(adoptAgain)
	adopt = w.expect(w.sent(), "adopt k mine #11")[0]
	w.breakOff()
	w.pass(leastPause)
	adopt = w.expect(w.getReady(), "adopt k mine #12")[0]
	w.reply(failed(adopt, LockNotHeld)) // the first Session has released it
	again = w.expect(w.sent(), "reacquire k mine")[0]
	w.reply(granted(again, 12, testTTL))
	adopt = w.expect(w.sent(), "adopt k mine #1000013")[0]
	w.reply(granted(adopt, 12, testTTL))
	same(t, "granted", u.lease != nil, true)
	same(t, "in use", w.m.InUse("k", "mine"), true)
	w.breakOff()
	w.pass(time.Second)
	w.expect(w.getReady(), "adopt k mine #1000014")
	o := w.release(u)
	same(t, "in use", w.m.InUse("k", "mine"), true)
	w.reply(ok(w.sent()[0]))
	same(t, "released", o.reason(), "OK")
	same(t, "in use", w.m.InUse("k", "mine"), false)
}

func TestACallersTokenThatMayBeHeldIsGivenUpAfterAFailure(t *testing.T) {
	for _, giveUp := range []bool{false, true} {
		w := newWorld(t, 2)
		w.getReady()
		u := w.acquire(Acquire{Key: "k", Token: "mine", Try: true})
		w.sent()
		w.breakOff()
		again := w.expect(w.getReady(), "reacquire k mine")[0]
		if giveUp {
			w.m.GiveUp(w.now, u.acquisition)
			w.sent()
			w.reply(failed(again, Cancelled))
		} else {
			w.reply(failed(again, "QUORUM_UNAVAILABLE"))
			same(t, "reason", u.failure.Reason, "QUORUM_UNAVAILABLE")
		}
		w.expect(w.sent(), "give up k mine")
	}
}

func TestAnOverloadedDaemonIsAskedLater(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u, v := w.acquire(Acquire{Key: "k"}), w.acquire(Acquire{Key: "k", Try: true})
	operations := w.sent()
	refused := failed(operations[0], Overloaded)
	refused.Status.RetryDelay = durationpb.New(200 * time.Millisecond)
	w.reply(refused, failed(operations[1], Overloaded))
	same(t, "a single try", v.failure.Reason, Overloaded)
	w.pass(200*time.Millisecond - 1)
	w.expect(w.sent())
	w.pass(1)
	again := w.expect(w.sent(), "acquire k rl-1")[0]
	w.reply(failed(again, Overloaded)) // without a retry delay
	w.pass(leastDelay - 1)
	w.expect(w.sent())
	w.pass(1)
	w.expect(w.sent(), "acquire k rl-1")
	w.m.GiveUp(w.now, u.acquisition)
	same(t, "done", u.done, 0)
}

func TestASingleTryEndsOnceAllEndpointsWereTried(t *testing.T) {
	w := newWorld(t, 2)
	u, waits := w.acquire(Acquire{Key: "k", Try: true}), w.acquire(Acquire{Key: "k"})
	w.breakOff()
	same(t, "done", u.done, 0)
	w.breakOff()
	same(t, "reason", u.failure.Reason, Unreachable)
	same(t, "done", waits.done, 0)
}

func TestPositions(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k"})
	o := w.sent()[0]
	message := w.message()
	message.Positions = []*pb.QueuePosition{{Id: o.Id, Position: 3}, {Id: 999, Position: 1}}
	w.m.OnMessage(w.now, 1, message)
	same(t, "positions", len(u.positions), 1)
	same(t, "position", u.positions[0], 3)
	w.m.GiveUp(w.now, u.acquisition)
	w.m.OnMessage(w.now, 1, message)
	same(t, "positions", len(u.positions), 1)
}

// In whatever order giving up and the answer happen, no lock is left behind and the caller gets no further result.
func TestGivingUp(t *testing.T) {
	const own = "own"
	type step func(w *world, u *user, acquire *pb.SessionOperation)
	answer := func(w *world, _ *user, acquire *pb.SessionOperation) { w.reply(granted(acquire, 7, testTTL)) }
	cancelled := func(w *world, _ *user, acquire *pb.SessionOperation) { w.reply(failed(acquire, Cancelled)) }
	second := func(w *world, _ *user, _ *pb.SessionOperation) { w.pass(giveUpTimeout) }
	breaks := func(w *world, _ *user, _ *pb.SessionOperation) { w.breakOff() }
	for name, c := range map[string]struct {
		steps []step
		sent  []string // after the cancel
	}{
		"answered by a lease":              {[]step{answer}, []string{"give up k own"}},
		"answered CANCELLED":               {[]step{cancelled}, nil},
		"not answered":                     {[]step{second}, []string{"give up k own", "ping"}},
		"answered by a lease after that":   {[]step{second, answer}, []string{"give up k own", "ping", "give up k own"}},
		"answered CANCELLED after that":    {[]step{second, cancelled}, []string{"give up k own", "ping"}},
		"the Session breaks":               {[]step{breaks}, nil},
		"the Session breaks after that":    {[]step{second, breaks}, []string{"give up k own", "ping"}},
		"a lease of the abandoned Session": {[]step{breaks, answer}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.getReady()
			u := w.acquire(Acquire{Key: "k", Token: own})
			acquire := w.sent()[0]
			w.m.GiveUp(w.now, u.acquisition)
			w.expect(w.sent(), "cancel 2")
			w.m.GiveUp(w.now, u.acquisition) // once more
			var all []*pb.SessionOperation
			for _, step := range c.steps {
				before := w.session()
				step(w, u, acquire)
				if w.session() != before {
					all = append(all, w.getReady()...)
				}
				all = append(all, w.sent()...)
			}
			for open := all; len(open) > 0; all = append(all, open...) {
				for _, o := range open {
					w.reply(ok(o))
				}
				open = w.sent()
			}
			w.expect(all, c.sent...)
			same(t, "in use", w.m.InUse("k", own), false)
			same(t, "done", u.done, 0)
			same(t, "operations", len(w.m.acquires)+len(w.m.releases)+len(w.m.leases)+len(w.m.callers)+len(w.m.leaving), 0)
		})
	}
}

func TestGivingUpBeforeAnythingWasSent(t *testing.T) {
	w := newWorld(t, 1)
	early := w.acquire(Acquire{Key: "early"})
	w.m.GiveUp(w.now, early.acquisition)
	w.expect(w.getReady())
	u := w.acquire(Acquire{Key: "k"})
	w.m.GiveUp(w.now, u.acquisition) // before the message was taken
	w.expect(w.sent())
}

func TestTrustEndsBeforeTheReleaseIsSent(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.hold("k")
	o := w.release(u)
	same(t, "validity", u.lease.Validity(w.now), 0)
	release := w.expect(w.sent(), "release k rl-1")[0]
	w.event(extended, "k", "rl-1", testTTL)
	same(t, "validity", u.lease.Validity(w.now), 0)
	same(t, "again", w.release(u).reason(), "OK")
	w.expect(w.sent())
	w.reply(ok(release))
	same(t, "released", o.reason(), "OK")
	same(t, "losses", u.losses, 0)
}

func TestAReleaseIsSentOnceUnlessItIsNotAnswered(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.hold("k")
	o := w.release(u)
	w.reply(failed(w.sent()[0], LockNotHeld)) // sent once: the lock had been lost
	same(t, "released", o.reason(), LockNotHeld)

	u = w.hold("l")
	o = w.release(u)
	w.reply(failed(w.sent()[0], Overloaded))
	same(t, "released", o.reason(), "pending")
	w.pass(leastDelay)
	w.reply(failed(w.expect(w.sent(), "release l rl-2")[0], Draining))
	w.reply(failed(w.expect(w.getReady(), "release l rl-2")[0], LockNotHeld))
	same(t, "released", o.reason(), "OK")

	u = w.hold("m")
	o = w.release(u)
	w.reply(failed(w.sent()[0], "QUORUM_UNAVAILABLE"))
	same(t, "released", o.reason(), "QUORUM_UNAVAILABLE")
	w.expect(w.sent())
}

func TestAReleaseDuringAMove(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.hold("k")
	w.breakOff()
	first := w.m.TakeMessage(w.now, 2)
	o := w.release(u) // while connecting
	w.reply(ok(first.Operations[0]))
	release := w.expect(w.sent(), "release k rl-1")[0] // and no adoption
	w.reply(ok(release))
	same(t, "released", o.reason(), "OK")

	u = w.hold("l")
	w.breakOff()
	w.pass(leastPause)
	adopt := w.expect(w.getReady(), "adopt l rl-2 #8")[0]
	o = w.release(u) // while it is being adopted
	release = w.expect(w.sent(), "release l rl-2")[0]
	w.reply(granted(adopt, 8, testTTL)) // the order on the daemon is unknown
	w.reply(ok(release))
	w.reply(failed(w.expect(w.sent(), "release l rl-2")[0], LockNotHeld))
	same(t, "released", o.reason(), "OK")
	same(t, "losses", u.losses, 0)

	u = w.hold("m")
	w.breakOff()
	w.pass(2 * leastPause)
	w.reply(ok(w.m.TakeMessage(w.now, w.session()).Operations[0]))
	w.release(u) // before the adoption is sent
	w.expect(w.sent(), "release m rl-3")
}

func TestAReleaseEndsWhenTheLockHasExpired(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.hold("k")
	o := w.release(u)
	w.sent()
	w.breakOff()
	for i := 0; i < 100 && o.done == 0; i++ { // no daemon returns
		w.pass(time.Second)
	}
	same(t, "released", o.reason(), Unreachable)
	w.expect(w.getReady())
}

func TestCloseReleasesAll(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u, waits, closed := w.hold("k"), w.acquire(Acquire{Key: "w"}), 0
	w.sent()
	w.m.Close(w.now, func() { closed++ })
	same(t, "waiting", waits.failure.Reason, Cancelled)
	same(t, "losses", u.losses, 1)
	same(t, "released", w.release(u).reason(), "OK")
	operations := w.expect(w.sent(), "cancel 3", "close")
	late := w.acquire(Acquire{Key: "late"})
	same(t, "late", late.failure.Reason, Cancelled)
	w.reply(ok(operations[1]))
	same(t, "closed", closed, 1)
	same(t, "cancelled", w.cancelled[1], true)
	w.pass(time.Minute)
	same(t, "sessions", w.session(), 1)
	w.m.Close(w.now, func() { closed++ })
	same(t, "closed", closed, 2)
}

func TestCloseDuringAMoveReleasesOneByOne(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	w.hold("a")
	w.hold("b")
	w.breakOff()
	operations := w.getReady()
	w.reply(granted(operations[0], 8, testTTL)) // a only
	closed := 0
	w.m.Close(w.now, func() { closed++ })
	released := w.expect(w.sent(), "release b rl-2")
	w.reply(ok(released[0]))
	operations = w.expect(w.sent(), "close")
	w.breakOff() // it is unknown whether it was carried out
	w.pass(leastPause)
	operations = w.expect(w.getReady(), "release a rl-1")
	w.reply(failed(operations[0], LockNotHeld))
	w.reply(ok(w.expect(w.sent(), "close")[0]))
	same(t, "closed", closed, 1)
}

func TestCloseDoesNotWaitLongForReleases(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.hold("a")
	w.hold("b")
	w.release(u)
	w.sent()
	w.m.Close(w.now, func() {})
	w.pass(closeAnyway - 1)
	for _, kind := range kinds(w.sent()) {
		same(t, "sent", kind, "ping")
	}
	w.pass(1)
	same(t, "sent", kinds(w.sent())[0], "close")
}

func TestCloseWithoutADaemonEnds(t *testing.T) {
	w := newWorld(t, 1)
	closed := 0
	w.m.Close(w.now, func() { closed++ }) // while it connects
	same(t, "closed", closed, 1)

	w = newWorld(t, 1)
	w.getReady()
	w.hold("k")
	w.breakOff()
	w.m.Close(w.now, func() { closed++ })
	same(t, "closed", closed, 1)
	w.pass(testTTL + 2*testGrace)
	same(t, "closed", closed, 2)
	before := w.session()
	w.pass(time.Minute)
	same(t, "sessions", w.session(), before)
}

func TestALockThatIsLostByTheClockIsReleasedByItsHolderAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", TTL: time.Second, Margin: 500 * time.Millisecond})
	w.reply(granted(w.sent()[0], 7, time.Second))
	w.pass(500 * time.Millisecond)
	same(t, "losses", u.losses, 1)
	w.expect(w.sent())
	same(t, "released", w.release(u).reason(), LockNotHeld)
	w.expect(w.sent(), "release k rl-1")
}
