package core

import (
	"testing"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// givenUps answers everything that is sent while d passes, and returns how many locks were given up.
func (w *world) givenUps(d time.Duration) (count int) {
	w.t.Helper()
	for end := w.now.Add(d); w.now < end; {
		w.pass(100 * time.Millisecond)
		for _, o := range w.sent() {
			if o.GetRelease() != nil {
				w.t.Fatalf("sent %q", kinds([]*pb.SessionOperation{o}))
			}
			if o.GetGiveUp() != nil {
				count++
			}
			if o.GetPing() != nil || o.GetGiveUp() != nil {
				w.reply(ok(o))
			}
		}
	}
	return count
}

// own acquires the key with the caller's own token.
func (w *world) own(validity time.Duration) *user {
	w.t.Helper()
	u := w.acquire(Acquire{Key: "k", Token: "mine", TTL: validity})
	w.reply(granted(w.sent()[0], 7, validity))
	same(w.t, "granted", u.lease != nil, true)
	return u
}

// takeOver makes a later call that gets the lock of the token.
func (w *world) takeOver() *user {
	w.t.Helper()
	u, extend := orExtend(w)
	w.reply(granted(extend, 7, testTTL))
	w.reply(granted(w.sent()[0], 7, time.Hour))
	same(w.t, "granted", u.lease != nil, true)
	return u
}

func TestAFailedCallGivesUpOnlyOnItsSession(t *testing.T) {
	for _, orExtend := range []bool{false, true} {
		w := newWorld(t, 2)
		w.getReady()
		u := w.acquire(Acquire{Key: "k", Token: "rl-1", ExtendIfHeld: orExtend}) // what the token looks like does not matter
		acquire := w.sent()[0]
		if orExtend {
			w.reply(failed(acquire, LockNotHeld))
			acquire = w.expect(w.sent(), "acquire k rl-1")[0]
		}
		w.m.GiveUp(w.now, u.acquisition)
		w.sent()
		w.reply(granted(acquire, 7, testTTL))
		w.expect(w.sent(), "give up k rl-1")
		w.breakOff() // before the answer
		w.expect(w.getReady())
		same(t, "given up", w.givenUps(testTTL), 0)
	}
}

func TestNoSessionGivesUpWhatAnotherMayHave(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "mine"})
	w.sent()
	w.breakOff()
	w.m.GiveUp(w.now, u.acquisition) // while no Session is ready
	w.pass(time.Second)
	w.expect(w.getReady())
	same(t, "in use", w.m.InUse("k", "mine"), false)
}

func TestAMadeTokenIsReleasedOnTheNextSession(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: "k"})
	acquire := w.sent()[0]
	w.m.GiveUp(w.now, u.acquisition)
	w.sent()
	w.reply(granted(acquire, 7, testTTL))
	w.expect(w.sent(), "release k rl-1")
	w.breakOff()
	w.expect(w.getReady(), "release k rl-1")
}

func TestALaterCallIsSentAfterTheGiveUp(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "mine"})
	acquire := w.sent()[0]
	w.m.GiveUp(w.now, u.acquisition)
	same(t, "in use", w.m.InUse("k", "mine"), false)
	next := w.acquire(Acquire{Key: "k", Token: "mine"})
	w.expect(w.sent(), "cancel 2")
	w.reply(granted(acquire, 7, testTTL))
	operations := w.expect(w.sent(), "give up k mine", "acquire k mine")
	w.reply(ok(operations[0]), granted(operations[1], 8, testTTL))
	same(t, "granted", next.lease != nil, true)
	same(t, "given up", w.givenUps(3*time.Second), 0)
}

func TestALaterCallDoesNotWaitForAnAbandonedSession(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "mine"})
	w.sent()
	w.m.GiveUp(w.now, u.acquisition)
	w.acquire(Acquire{Key: "k", Token: "mine"})
	w.breakOff()
	w.expect(w.getReady(), "acquire k mine")
}

func TestALaterCallThatIsGivenUpFirstIsNeverSent(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "mine"})
	acquire := w.sent()[0]
	w.m.GiveUp(w.now, u.acquisition)
	next := w.acquire(Acquire{Key: "k", Token: "mine"})
	w.m.TimeOut(w.now, next.acquisition)
	same(t, "reason", next.failure.Reason, DeadlineExceeded)
	w.expect(w.sent(), "cancel 2")
	w.reply(failed(acquire, Cancelled))
	w.expect(w.sent())
	same(t, "calls", len(w.m.acquires)+len(w.m.callers)+len(w.m.leaving), 0)
}

func TestAGiveUpThatTheDaemonRefusedDoesNotEndALaterHold(t *testing.T) {
	for _, again := range []bool{false, true} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.acquire(Acquire{Key: "k", Token: "mine"})
		acquire := w.sent()[0]
		w.m.GiveUp(w.now, u.acquisition)
		w.sent()
		w.reply(granted(acquire, 7, testTTL))
		w.reply(failed(w.expect(w.sent(), "give up k mine")[0], Overloaded))
		if !again {
			same(t, "given up", w.givenUps(time.Second), 1)
			continue
		}
		next := w.takeOver()
		same(t, "given up", w.givenUps(3*time.Second), 0)
		same(t, "losses", next.losses, 0)
		closed := 0
		w.m.Close(w.now, func() { closed++ })
		w.reply(ok(w.expect(w.sent(), "close")[0]))
		same(t, "closed", closed, 1) // it does not wait for the give_up
	}
}

func TestALateGrantDoesNotEndALaterHold(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "mine"})
	late := w.sent()[0]
	w.m.GiveUp(w.now, u.acquisition)
	same(t, "given up", w.givenUps(giveUpTimeout), 1)
	next := w.takeOver()
	w.reply(granted(late, 7, testTTL))
	same(t, "given up", w.givenUps(3*time.Second), 0)
	w.release(next)
	w.reply(ok(w.expect(w.sent(), "release k mine")[0]))
	same(t, "given up afterwards", w.givenUps(2*time.Second), 1)
}

// Work may go on until the trust ends.
func TestALostLockIsGivenUpUnlessALaterCallHasIt(t *testing.T) {
	for _, again := range []bool{false, true} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.acquire(Acquire{Key: "k", Token: "mine", TTL: time.Second, Margin: 300 * time.Millisecond})
		w.reply(granted(w.sent()[0], 7, time.Second))
		same(t, "given up", w.givenUps(900*time.Millisecond), 0)
		same(t, "losses", u.losses, 1)
		same(t, "in use", w.m.InUse("k", "mine"), false)
		if !again {
			same(t, "given up", w.givenUps(100*time.Millisecond), 1)
			continue
		}
		next := w.takeOver()
		same(t, "given up", w.givenUps(3*time.Second), 0)
		same(t, "losses", next.losses, 0)
	}
}

func TestALostLockOfTheCallersTokenIsGivenUpByItsHolderAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "mine", TTL: time.Second, Margin: 300 * time.Millisecond})
	w.reply(granted(w.sent()[0], 7, time.Second))
	same(t, "given up", w.givenUps(700*time.Millisecond), 0)
	same(t, "released", w.release(u).reason(), LockNotHeld)
	w.expect(w.sent(), "give up k mine")
	same(t, "given up again", w.givenUps(time.Second), 0)
}

func TestALateAdoptionOfALostLockIsGivenUpOnceTheWorkHasStopped(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "mine", TTL: time.Second, Margin: 300 * time.Millisecond})
	w.reply(granted(w.sent()[0], 7, time.Second))
	w.breakOff()
	adopt := w.expect(w.getReady(), "adopt k mine #8")[0]
	same(t, "given up", w.givenUps(800*time.Millisecond), 0)
	same(t, "losses", u.losses, 1)
	w.reply(granted(adopt, 7, time.Second))
	w.expect(w.sent())
	same(t, "given up", w.givenUps(200*time.Millisecond), 1)
	same(t, "given up again", w.givenUps(2*time.Second), 0)
}

func TestALateAdoptionOfAReleasedLockIsGivenUp(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.own(testTTL)
	w.breakOff()
	adopt := w.expect(w.getReady(), "adopt k mine #8")[0]
	w.release(u)
	release := w.expect(w.sent(), "release k mine")[0]
	w.reply(ok(release), granted(adopt, 7, testTTL))
	w.expect(w.sent(), "give up k mine")
}

// spare gives up a call while it adopts what it has found. The caller may trust that lock for testTTL.
func spare(w *world) {
	u, extend := orExtend(w)
	w.reply(granted(extend, 7, testTTL))
	adopt := w.sent()[0]
	w.m.GiveUp(w.now, u.acquisition)
	w.reply(granted(adopt, 7, testTTL))
	w.expect(w.sent())
}

func TestALaterCallThatFailsDoesNotKeepASparedLock(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	spare(w)
	same(t, "given up", w.givenUps(testTTL-time.Second), 0)
	next, _ := orExtend(w)
	same(t, "given up", w.givenUps(3*time.Second), 0) // the later call may get the lock
	w.m.TimeOut(w.now, next.acquisition)
	same(t, "reason", next.failure.Reason, DeadlineExceeded)
	same(t, "given up", w.givenUps(2*time.Second), 1)
}

func TestNothingGivesUpASparedLockOnceItsSessionHasEnded(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	spare(w)
	w.pass(leastUse)
	w.sent()
	w.breakOff()
	w.pass(time.Second)
	w.expect(w.getReady())
	same(t, "given up", w.givenUps(testTTL+time.Second), 0)
}

// The end of the Session before has given it up.
func TestALockWhoseCallerIsGoneIsNotGivenUpOnTheNextSession(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.takeOver() // spared for testTTL
	w.breakOff()
	w.m.Return(w.now, u.acquisition)
	w.expect(w.getReady())
	same(t, "given up", w.givenUps(testTTL+time.Second), 0)
}

func TestALockWhoseCallerIsGoneIsGivenUp(t *testing.T) {
	for token, sent := range map[string]string{"mine": "give up k mine", "": "release k rl-1"} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.acquire(Acquire{Key: "k", Token: token})
		w.reply(granted(w.sent()[0], 7, testTTL))
		w.m.Return(w.now, u.acquisition)
		w.expect(w.sent(), sent)
		same(t, "validity", u.lease.Validity(w.now), 0)
	}
}

func TestALockThatIsGrantedTooLateIsGivenUpOnce(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "mine", TTL: time.Second})
	message := w.message(granted(w.sent()[0], 7, time.Second))
	w.suspend(time.Second)
	w.m.OnMessage(w.now, 1, message)
	same(t, "reason", u.failure.Reason, ValidityExpired)
	w.expect(w.sent(), "give up k mine")
}

// The work stopped before the trust ended, so nothing waits for that end.
func TestALateAdoptionOfALostLockIsGivenBackAtOnceAfterItsRelease(t *testing.T) {
	for token, sent := range map[string]string{"mine": "give up k mine", "": "release k rl-1"} {
		w := newWorld(t, 2)
		w.getReady()
		u := w.acquire(Acquire{Key: "k", Token: token, TTL: time.Second, Margin: 300 * time.Millisecond})
		w.reply(granted(w.sent()[0], 7, time.Second))
		w.breakOff()
		adopt := w.getReady()[0]
		w.pass(700 * time.Millisecond)
		same(t, "losses", u.losses, 1)
		same(t, "released", w.release(u).reason(), LockNotHeld)
		w.reply(ok(w.expect(w.sent(), sent)[0]))
		w.reply(granted(adopt, 7, time.Second))
		w.expect(w.sent(), sent)
	}
}

// The earlier call may end after the later one was queued and before it is written.
func TestALaterCallIsSentOnce(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "own"})
	acquire := w.expect(w.sent(), "acquire k own")[0]
	w.m.GiveUp(w.now, u.acquisition)
	w.sent()
	v := w.acquire(Acquire{Key: "k", Token: "own", ExtendIfHeld: true})
	w.reply(failed(acquire, Cancelled))
	extend := w.expect(w.sent(), "extend k own")[0]
	w.reply(granted(extend, 7, testTTL))
	same(t, "done", v.done, 0)
	w.expect(w.sent(), "adopt k own #8")
}

func TestALaterCallThatIsNotWrittenYetIsSentAfterTheGiveUp(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "own"})
	acquire := w.sent()[0]
	w.m.GiveUp(w.now, u.acquisition)
	w.sent()
	w.acquire(Acquire{Key: "k", Token: "own"})
	w.reply(granted(acquire, 7, testTTL))
	w.expect(w.sent(), "give up k own", "acquire k own")
}

// AcquireOrExtend gives the caller a lock that another call of this client has got.
func TestALockThatAnotherCallHasIsNotGivenBack(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "own"})
	w.reply(granted(w.sent()[0], 7, testTTL))
	same(t, "the same", w.m.Share("k", "own"), u.lease)
	w.m.Return(w.now, u.acquisition)
	same(t, "held", u.lease.state == held, true)
	w.expect(w.sent())
	w.m.Leave(w.now, u.lease)
	same(t, "held", u.lease.state == held, false)
	w.expect(w.sent(), "give up k own")
}

func TestACallThatFailsDoesNotEndTheLockOfAnother(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "own"})
	w.reply(granted(w.sent()[0], 7, testTTL))
	w.m.Leave(w.now, w.m.Share("k", "own"))
	same(t, "held", u.lease.state == held, true)
	w.expect(w.sent())
	same(t, "none", w.m.Share("k", "other") == nil, true)
}

// A release that is sent again ends whatever the token holds: it has no mode.
func TestATokenIsInUseInEveryModeWhileItIsReleased(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "own"})
	w.reply(granted(w.sent()[0], 7, testTTL))
	w.release(u)
	w.reply(failed(w.sent()[0], Overloaded))
	for _, key := range []Key{"k", Shared("k"), Semaphore("k", 3)} {
		same(t, key.String(), w.m.InUse(key, "own"), true)
		same(t, key.String(), w.m.InUse(key, "other"), false)
	}
	same(t, "another key", w.m.InUse("l", "own"), false)
	w.pass(leastDelay)
	w.reply(ok(w.expect(w.sent(), "release k own")[0]))
	same(t, "in use", w.m.InUse(Shared("k"), "own"), false)
}
