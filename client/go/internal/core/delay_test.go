package core

import (
	"fmt"
	"testing"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const testDelay = 3 * time.Second

const lostEvent = pb.EventType_EVENT_TYPE_LOST

// sentButPings answers pings, and returns the other operations.
func (w *world) sentButPings() (others []*pb.SessionOperation) {
	for _, o := range w.sent() {
		if o.GetPing() == nil {
			others = append(others, o)
		} else {
			w.reply(ok(o))
		}
	}
	return others
}

// passAlive lets time pass with a daemon that answers pings, and expects nothing else.
func (w *world) passAlive(d time.Duration) {
	w.t.Helper()
	for ; d > 0; d -= 100 * time.Millisecond {
		w.pass(least(d, 100*time.Millisecond))
		w.expect(w.sentButPings())
	}
}

func (w *world) holdWithDelay(token string) *user {
	w.t.Helper()
	u := w.acquire(Acquire{Key: "k", TTL: time.Second, LockDelay: testDelay, Value: "v", Token: token})
	acquire := w.sent()[0]
	same(w.t, "value", acquire.GetAcquire().Value, "v")
	same(w.t, "delay", acquire.GetAcquire().LockDelay.AsDuration(), testDelay)
	w.reply(granted(acquire, 7, time.Second))
	return u
}

// The client's own clean-up must not end the delay of a lock that was lost.
func TestALostLockIsNotReleasedBeforeItsDelayHasPassed(t *testing.T) {
	for token, want := range map[string]string{"": "release k rl-1", "own": "give up k own"} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.holdWithDelay(token)
		w.passAlive(time.Second)
		same(t, "losses", u.losses, 1)
		same(t, "released", w.release(u).reason(), LockNotHeld)
		w.passAlive(testDelay - 1)
		w.pass(1)
		w.expect(w.sentButPings(), want)
	}
}

func TestALossThatIsReportedIsNotReleasedBeforeTheDelay(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.holdWithDelay("")
	w.event(lostEvent, "k", "rl-1", 0)
	same(t, "losses", u.losses, 1)
	w.release(u)
	w.passAlive(testDelay - 1)
	w.pass(1)
	w.expect(w.sentButPings(), "release k rl-1")
}

func TestCloseDoesNotEndTheDelayOfALostLock(t *testing.T) {
	for _, token := range []string{"", "own"} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.holdWithDelay(token)
		w.passAlive(time.Second)
		same(t, "losses", u.losses, 1)
		w.hold("other")
		closed := false
		w.m.Close(w.now, func() { closed = true })
		released := w.expect(w.sentButPings(), "release other "+w.lastToken())[0]
		same(t, "closed", closed, false)
		w.reply(ok(released))
		same(t, "closed", closed, true)
		same(t, "left", w.cancelled[w.session()], true)
	}
}

func TestCloseIsOrderlyAfterTheDelay(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	w.holdWithDelay("own")
	w.passAlive(time.Second + testDelay - 1)
	w.pass(1)
	w.expect(w.sentButPings(), "give up k own")
	w.m.Close(w.now, func() {})
	w.expect(w.sentButPings(), "close")
}

func (w *world) lastToken() string { return fmt.Sprintf("rl-%d", w.tokens) }

func TestAHeldLockWithADelayIsReleasedAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.holdWithDelay("")
	w.release(u)
	w.expect(w.sent(), "release k rl-1")
}

func TestAReleaseTriesForTheDelayToo(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.holdWithDelay("")
	o := w.release(u)
	w.sent()
	w.breakOff()
	w.pass(testGrace + time.Second + testDelay - time.Millisecond)
	same(t, "released", o.reason(), "pending")
	w.breakOff()
	w.pass(2 * time.Second)
	same(t, "released", o.reason(), Unreachable)
}

func TestARepeatedReleaseKeepsTheKeyAsWell(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u, o := w.hold("k"), &outcome{}
	w.m.Release(w.now, u.lease, time.Minute, o.on)
	first := w.expect(w.sent(), "release k rl-1")[0]
	w.reply(failed(first, Overloaded))
	w.pass(leastDelay)
	again := w.expect(w.sent(), "release k rl-1")[0]
	w.breakOff()
	w.pass(leastPause)
	moved := w.expect(w.getReady(), "release k rl-1")[0]
	for _, operation := range []*pb.SessionOperation{first, again, moved} {
		same(t, "keep_for", operation.GetRelease().KeepFor.AsDuration(), time.Minute)
	}
	w.reply(ok(moved))
	same(t, "released", o.reason(), "OK")
}

func TestTheReleaseOfALostLockKeepsNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u, o := w.hold("k"), &outcome{}
	w.event(lostEvent, "k", "rl-1", 0)
	w.m.Release(w.now, u.lease, time.Minute, o.on)
	same(t, "released", o.reason(), LockNotHeld)
	same(t, "keeps", w.expect(w.sent(), "release k rl-1")[0].GetRelease().KeepFor == nil, true)
}

func TestALockIsReleasedEvenIfTheDaemonCannotKeepTheKey(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u, o := w.hold("k"), &outcome{}
	w.m.Release(w.now, u.lease, 1000*time.Hour, o.on)
	w.reply(failed(w.sent()[0], InvalidArgument))
	same(t, "released", o.reason(), InvalidArgument)
	again := w.expect(w.sent(), "release k rl-1")[0]
	same(t, "keeps", again.GetRelease().KeepFor == nil, true)
	w.reply(failed(again, InvalidArgument)) // the end, whatever the answer
	w.expect(w.sent())
	same(t, "reports", o.done, 1)
}

// The answer to a ping may follow, in the same message, that of the release which ends the machine.
func TestAnAnswerAfterTheEndOfTheClientIsIgnored(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	w.holdWithDelay("")
	w.passAlive(time.Second)
	w.hold("other")
	w.pass(testGrace/4 - time.Millisecond)
	closed := false
	w.m.Close(w.now, func() { closed = true })
	release := w.expect(w.sent(), "release other "+w.lastToken())[0]
	w.pass(time.Millisecond)
	ping := w.expect(w.sent(), "ping")[0]
	w.reply(ok(release), ok(ping))
	same(t, "closed", closed, true)
}
