package core

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// downgrade downgrades the lock to a share.
func (w *world) downgrade(writer *user) *user {
	u := &user{}
	u.acquisition = w.m.Downgrade(w.now, writer.lease, Acquire{
		Done:   func(l *Lease, f *Failure) { u.lease, u.failure, u.done = l, f, u.done+1 },
		Queued: func(int) {},
		Lost:   func(f *Failure) { u.losses++; u.loss = f },
	})
	return u
}

// downgradesFrom checks that the only operation is for a share, and that it downgrades the exclusive lock with this fence.
func (w *world) downgradesFrom(fence uint64, operations []*pb.SessionOperation, want string) *pb.SessionOperation {
	w.t.Helper()
	o := w.expect(operations, want)[0]
	mode, from := o.GetExtend().GetMode(), o.GetExtend().GetDowngradeFrom()
	if x := o.GetAdopt(); x != nil {
		mode, from = x.GetMode(), x.GetDowngradeFrom()
	}
	same(w.t, "mode", mode, pb.LockMode_LOCK_MODE_SHARED)
	same(w.t, "downgraded fence", from, fence)
	return o
}

func TestTrustEndsBeforeTheDowngradeIsSent(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	writer := w.hold(Together("a", "b"))
	u := w.downgrade(writer)
	same(t, "validity of the exclusive lock", writer.lease.Validity(w.now), 0)
	extend := w.downgradesFrom(7, w.sent(), "extend a, b rl-1")
	w.reply(granted(extend, 8, testTTL))
	same(t, "done", u.done, 0) // an extension alone is not kept alive
	adopt := w.downgradesFrom(7, w.sent(), "adopt a, b rl-1 #9")
	w.reply(granted(adopt, 8, testTTL))
	same(t, "done", u.done, 1)
	same(t, "key", u.lease.Key, Shared(Together("a", "b")))
	same(t, "validity", u.lease.Validity(w.now), trustAfter(testGrace))
	same(t, "token", u.lease.Token, writer.lease.Token)
	same(t, "TTL", u.lease.ttl, writer.lease.ttl)
	same(t, "margin", u.lease.margin, writer.lease.margin)
	same(t, "validity of the exclusive lock", writer.lease.Validity(w.now), 0)
	same(t, "losses", writer.losses, 0)
	o := &outcome{}
	w.m.Extend(w.now, writer.lease, testTTL, nil, o.on)
	same(t, "extended", o.reason(), LockNotHeld)
	same(t, "released", w.release(writer).reason(), "OK")
	w.expect(w.sent()) // the share is still held
	w.event(pb.EventType_EVENT_TYPE_LOST, Together("a", "b"), "rl-1", 0)
	same(t, "losses", u.losses, 0)
	w.event(pb.EventType_EVENT_TYPE_LOST, Shared(Together("a", "b")), "rl-1", 0)
	same(t, "losses", u.losses, 1)
}

func TestADowngradeContinuesAtAnotherDaemon(t *testing.T) {
	w := newWorld(t, 3)
	w.getReady()
	writer := w.hold("k")
	u := w.downgrade(writer)
	w.sent()
	w.breakOff()
	extend := w.downgradesFrom(7, w.getReady(), "extend k rl-1") // the exclusive lock is not adopted
	w.reply(granted(extend, 8, testTTL))
	w.downgradesFrom(7, w.sent(), "adopt k rl-1 #9")
	w.breakOff()
	w.reply(granted(w.downgradesFrom(7, w.getReady(), "adopt k rl-1 #10"), 8, testTTL))
	same(t, "granted", u.lease != nil, true)
	w.breakOff()
	w.pass(leastPause)
	w.downgradesFrom(0, w.getReady(), "adopt k rl-1 #11")
}

func TestAnAdoptionUnderWayDoesNotReleaseTheShare(t *testing.T) {
	for _, token := range []string{"", "mine"} {
		w := newWorld(t, 2)
		w.getReady()
		writer := w.acquire(Acquire{Key: "k", Token: token})
		w.reply(granted(w.sent()[0], 7, testTTL))
		w.breakOff()
		adopt := w.getReady()[0]
		u := w.downgrade(writer)
		w.reply(granted(adopt, 9, testTTL))
		name := writer.lease.Token
		w.reply(granted(w.downgradesFrom(7, w.sent(), "extend k "+name), 7, testTTL))
		w.reply(granted(w.downgradesFrom(7, w.sent(), "adopt k "+name+" #9"), 7, testTTL)) // that of the lock was #8
		same(t, "validity of the exclusive lock", writer.lease.Validity(w.now), 0)
		same(t, "validity", u.lease.Validity(w.now) > 0, true)
	}
}

func TestAFailedDowngradeReleasesTheTokenWhoeverMadeIt(t *testing.T) {
	for token, aftermath := range map[string]string{
		"":     "; the lock is being released",
		"mine": "; the lock is being released, and its token must not be used again",
	} {
		w := newWorld(t, 1)
		w.getReady()
		writer := w.acquire(Acquire{Key: "k", Token: token})
		w.reply(granted(w.sent()[0], 7, time.Second))
		o := &outcome{}
		w.m.Extend(w.now, writer.lease, time.Hour, nil, o.on)
		w.reply(failed(w.sent()[0], QuorumUnavailable)) // some nodes have extended it
		u := w.downgrade(writer)
		same(t, "in use", w.m.InUse("k", writer.lease.Token), true)
		for end := w.now.Add(time.Second); w.now < end; w.pass(adoptAgain) {
			same(t, "done", u.done, 0)
			for _, o := range w.sent() {
				w.reply(failed(o, QuorumUnavailable))
			}
		}
		same(t, "done", u.done, 1)
		same(t, "reason", u.failure.Reason, QuorumUnavailable)
		same(t, "ending of "+u.failure.Message, strings.HasSuffix(u.failure.Message, aftermath), true)
		w.reply(failed(w.expect(w.sent(), "release k "+writer.lease.Token)[0], Overloaded))
		w.pass(20 * time.Minute)
		w.expect(w.getReady(), "release k "+writer.lease.Token) // for as long as the lock may last
	}
}

// The daemon may answer after the client has given up.
func TestADowngradeThatIsGivenUpIsReleased(t *testing.T) {
	for _, sent := range []string{"", "extend", "adopt", "share"} {
		w := newWorld(t, 1)
		w.getReady()
		writer := w.acquire(Acquire{Key: "k", Token: "mine"})
		w.reply(granted(w.sent()[0], 7, testTTL))
		u := w.downgrade(writer)
		var last *pb.SessionOperation
		if sent != "" {
			last = w.sent()[0]
		}
		if sent == "adopt" || sent == "share" {
			w.reply(granted(last, 7, testTTL))
			last = w.sent()[0]
		}
		if sent == "share" { // the machine does not know yet that the caller has gone
			w.reply(granted(last, 7, testTTL))
			w.m.Return(w.now, u.acquisition)
		} else {
			w.m.GiveUp(w.now, u.acquisition)
		}
		released := w.expect(w.sent(), "release k mine")[0]
		same(t, "in use", w.m.callers[leaseID{"k", "mine"}] != nil, false)
		if sent == "adopt" {
			w.reply(granted(last, 7, testTTL))
			w.reply(ok(released))
			w.expect(w.sent(), "release k mine")
		}
		same(t, "losses", u.losses+writer.losses, 0)
	}
}

func TestAShareThatIsGrantedTooLateIsReleased(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.downgrade(w.own(time.Second))
	w.reply(granted(w.sent()[0], 7, time.Second))
	w.reply(granted(w.sent()[0], 7, time.Millisecond))
	same(t, "reason", u.failure.Reason, ValidityExpired)
	w.expect(w.sent(), "release k mine")
}

func TestALockThatIsNoLongerHeldIsNotReleased(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.downgrade(w.own(testTTL))
	w.reply(failed(w.sent()[0], LockNotHeld))
	same(t, "reason", u.failure.Reason, LockNotHeld)
	same(t, "message", u.failure.Message, "because")
	same(t, "in use", w.m.InUse("k", "mine"), false)
	same(t, "given up", w.givenUps(2*time.Second), 0)
}

func TestTheTokenOfADowngradeIsInUseUntilItHasEnded(t *testing.T) {
	for _, token := range []string{"", "mine"} {
		w := newWorld(t, 1)
		w.getReady()
		writer := w.acquire(Acquire{Key: Together("a", "b"), Token: token})
		w.reply(granted(w.sent()[0], 7, testTTL))
		name := writer.lease.Token
		u := w.downgrade(writer)
		for _, key := range []Key{Together("a", "b"), Shared(Together("a", "b"))} {
			same(t, fmt.Sprintf("%q in use", string(key)), w.m.InUse(key, name), true)
		}
		same(t, "another key in use", w.m.InUse("a", name), false)
		same(t, "another token in use", w.m.InUse(Together("a", "b"), "other"), false)
		w.reply(granted(w.sent()[0], 7, testTTL))
		w.reply(granted(w.sent()[0], 7, testTTL))
		same(t, "held", w.m.Held(Shared(Together("a", "b")), name), u.lease)
		same(t, "in use", w.m.InUse(Together("a", "b"), name), false)
	}
}

func TestOnlyAHeldLockIsDowngraded(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	writer := w.hold("k")
	w.release(writer)
	w.reply(ok(w.sent()[0]))
	u := w.downgrade(writer)
	same(t, "reason", u.failure.Reason, LockNotHeld)
	w.m.TimeOut(w.now, u.acquisition)
	same(t, "done", u.done, 1)
	writer = w.hold("k")
	w.event(pb.EventType_EVENT_TYPE_LOST, "k", "rl-2", 0)
	u = w.downgrade(writer)
	same(t, "failure", u.failure, writer.loss)
	w.expect(w.sent())
}

func TestADowngradeEndsTheExtensionsOfTheLock(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	writer, o := w.hold("k"), &outcome{}
	w.m.Extend(w.now, writer.lease, time.Hour, nil, o.on)
	extend := w.sent()[0]
	w.downgrade(writer)
	same(t, "extended", o.reason(), LockNotHeld)
	w.reply(granted(extend, 7, time.Hour))
	same(t, "validity", writer.lease.Validity(w.now), 0)
}

func TestNoLockIsDowngradedWhileItsTokenRequestsTheKey(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	writer := w.own(testTTL)
	other := w.acquire(Acquire{Key: Shared("k"), Token: "mine"})
	acquire := w.expect(w.sent(), "acquire k mine")[0]
	u := w.downgrade(writer)
	same(t, "reason", u.failure.Reason, InvalidArgument)
	same(t, "message", u.failure.Message, "token: this client is requesting the key with it")
	same(t, "held", w.m.Held("k", "mine"), writer.lease)
	w.expect(w.sent())
	w.reply(failed(acquire, LockAlreadyHeld))
	same(t, "done", other.done, 1)
	w.downgrade(writer)
	w.downgradesFrom(7, w.sent(), "extend k mine")
}

// The acquire of the share may still be carried out, and its give_up would end the downgraded share.
func TestADowngradeIsSentAfterAnEarlierCallForTheShareIsOver(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	writer := w.own(testTTL)
	other := w.acquire(Acquire{Key: Shared("k"), Token: "mine"})
	acquire := w.expect(w.sent(), "acquire k mine")[0]
	w.m.GiveUp(w.now, other.acquisition)
	w.downgrade(writer)
	w.expect(w.sent(), fmt.Sprint("cancel ", acquire.Id))
	w.reply(failed(acquire, Cancelled))
	w.downgradesFrom(7, w.sent(), "extend k mine")
}

func TestCloseReleasesTheLockOfADowngrade(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.downgrade(w.own(testTTL))
	w.sent()
	closed := 0
	w.m.Close(w.now, func() { closed++ })
	same(t, "reason", u.failure.Reason, Cancelled)
	same(t, "message", u.failure.Message, "the client was closed; the lock is being released, and its token must not be used again")
	w.reply(ok(w.expect(w.sent(), "release k mine")[0]))
	w.reply(ok(w.expect(w.sent(), "close")[0]))
	same(t, "done", u.done, 1)
	same(t, "closed", closed, 1)
}

// The pause after a refused adoption may end after the next Session is ready and before anything is written there.
func TestADowngradeIsAdoptedOnceOnEachSession(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.hold("k")
	w.pass(leastUse)
	d := w.downgrade(u)
	extend := w.sentButPings()[0]
	w.reply(granted(extend, 7, testTTL))
	w.reply(failed(w.sentButPings()[0], QuorumUnavailable))
	w.breakOff() // and a Session is opened at once
	first := w.m.TakeMessage(w.now, w.session())
	w.holdUp(adoptAgain)
	w.reply(ok(first.Operations[0]))
	w.pass(0)
	adopts := w.sent()
	w.reply(granted(adopts[0], 9, testTTL))
	same(t, "granted", d.lease != nil, true)
	for _, late := range adopts[1:] {
		w.reply(granted(late, 9, testTTL))
	}
	same(t, "held", d.lease.state == held, true)
	w.expect(w.sent())
	same(t, "adopted", len(adopts), 1)
}
