package core

import (
	"testing"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

func TestTrustIsFrozenUntilAnAdoption(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.hold("k")
	end := w.now.Add(trustAfter(testGrace))
	w.pass(500 * time.Millisecond)
	w.breakOff()
	same(t, "validity", u.lease.Validity(w.now), end.Sub(w.now))
	adopt := w.expect(w.getReady(), "adopt k rl-1 #8")[0] // its ping was answered, which is no adoption
	same(t, "validity", u.lease.Validity(w.now), end.Sub(w.now))
	w.event(extended, "k", "rl-1", time.Hour) // neither is an event
	same(t, "validity", u.lease.Validity(w.now), end.Sub(w.now))
	o := &outcome{}
	w.m.Extend(w.now, u.lease, testTTL, nil, o.on)
	w.reply(granted(w.sent()[0], 7, testTTL)) // nor an extension
	same(t, "extended", o.reason(), "OK")
	same(t, "validity", u.lease.Validity(w.now), end.Sub(w.now))
	w.reply(granted(adopt, 7, testTTL))
	same(t, "validity", u.lease.Validity(w.now), trustAfter(testGrace))
}

func TestTheSequenceGrowsWithEveryAdoption(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.hold("k") // fence 7
	w.breakOff()
	w.expect(w.getReady(), "adopt k rl-1 #8")
	w.breakOff() // not answered
	w.pass(leastPause)
	adopt := w.expect(w.getReady(), "adopt k rl-1 #9")[0]
	w.reply(failed(adopt, "QUORUM_UNAVAILABLE"))
	w.pass(adoptAgain - 1)
	w.expect(w.sent())
	w.pass(1)
	adopt = w.expect(w.sent(), "adopt k rl-1 #10")[0]
	w.reply(granted(adopt, 50, testTTL)) // the fence has overtaken it
	same(t, "fence", u.lease.FencingToken(), 50)
	w.pass(300 * time.Millisecond)
	w.breakOff()
	w.pass(time.Second)
	adopt = w.expect(w.getReady(), "adopt k rl-1 #51")[0]
	w.reply(granted(adopt, 20, testTTL))
	same(t, "fence", u.lease.FencingToken(), 50) // never decreases
}

func TestAnAdoptionThatFindsNothingIsALoss(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.hold("k")
	w.breakOff()
	w.reply(failed(w.getReady()[0], LockNotHeld))
	same(t, "losses", u.losses, 1)
	w.pass(time.Second)
	for _, kind := range kinds(w.sent()) {
		same(t, "sent", kind, "ping") // nothing is left to release
	}
}

func TestAnAdoptionThatComesTooLateIsReleased(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.hold("k")
	w.breakOff()
	adopt := w.getReady()[0]
	w.pass(trustAfter(testGrace) / 2)
	for _, o := range w.sent() {
		w.reply(ok(o)) // pings
	}
	w.pass(trustAfter(testGrace)/2 - u.lease.margin)
	same(t, "losses", u.losses, 1)
	for _, kind := range kinds(w.sent()) {
		same(t, "sent", kind, "ping") // work may still end during the margin
	}
	w.pass(u.lease.margin)
	released := w.expect(w.sent(), "release k rl-1")
	w.reply(failed(released[0], LockNotHeld))
	w.reply(granted(adopt, 8, testTTL)) // carried out after the release
	w.expect(w.sent(), "release k rl-1")
	same(t, "losses", u.losses, 1)
	same(t, "validity", u.lease.Validity(w.now), 0)
}

func TestLateAnswersOfAnAbandonedSessionAreIgnored(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.hold("k")
	w.breakOff()
	adopt := w.getReady()[0] // in session 2
	w.event(pb.EventType_EVENT_TYPE_DRAINING, "", "", 0)
	w.pass(leastPause)
	w.m.OnMessage(w.now, 2, w.message(granted(adopt, 8, testTTL)))
	w.m.OnMessage(w.now, 2, w.message(failed(adopt, LockNotHeld)))
	message := w.message()
	message.Events = []*pb.WatchResponse{{Type: pb.EventType_EVENT_TYPE_LOST, Key: "k", Lease: lease("k", "rl-1", 0, 0)}}
	message.Events = append(message.Events, &pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_DRAINING})
	w.m.OnMessage(w.now, 2, message)
	w.m.OnBroken(w.now, 2, &Failure{})
	same(t, "losses", u.losses, 0)
	same(t, "sessions", w.session(), 3)
	w.expect(w.getReady(), "adopt k rl-1 #9")
}

func TestALossThatIsReported(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u, other := w.hold("k"), w.hold("other")
	w.event(pb.EventType_EVENT_TYPE_LOST, "k", "rl-0", 0) // an earlier hold of the same key
	same(t, "losses", u.losses, 0)
	w.event(pb.EventType_EVENT_TYPE_LOST, "k", "rl-1", 0)
	same(t, "losses", u.losses, 1)
	same(t, "validity", u.lease.Validity(w.now), 0)
	same(t, "other losses", other.losses, 0)
	released := w.release(u)
	same(t, "released", released.reason(), LockNotHeld)
	w.expect(w.sent(), "release k rl-1") // of what is left on some nodes
	same(t, "again", w.release(u).reason(), "OK")
}

func TestAGrantAndItsLossInOneMessage(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k"})
	message := w.message(granted(w.sent()[0], 7, testTTL))
	message.Events = []*pb.WatchResponse{{Type: pb.EventType_EVENT_TYPE_LOST, Key: "k", Lease: lease("k", "rl-1", 0, 0)}}
	w.m.OnMessage(w.now, 1, message)
	same(t, "granted", u.lease != nil, true)
	same(t, "losses", u.losses, 1)
}

func TestExtend(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", TTL: time.Second})
	w.reply(granted(w.sent()[0], 7, time.Second))
	extend := func() *outcome {
		o := &outcome{}
		w.m.Extend(w.now, u.lease, 3*time.Second, nil, o.on)
		return o
	}
	o := extend()
	w.reply(granted(w.expect(w.sent(), "extend k rl-1")[0], 7, 3*time.Second))
	same(t, "extended", o.reason(), "OK")
	same(t, "validity", u.lease.Validity(w.now), 3*time.Second)

	o = extend()
	w.reply(failed(w.sent()[0], "QUORUM_UNAVAILABLE"))
	same(t, "extended", o.reason(), "QUORUM_UNAVAILABLE")
	same(t, "losses", u.losses, 0)

	o = extend()
	w.sent()
	w.breakOff() // the next Session carries it out, after the adoption
	operations := w.expect(w.getReady(), "adopt k rl-1 #8", "extend k rl-1")
	w.reply(granted(operations[0], 7, time.Second), failed(operations[1], Draining))
	w.pass(leastPause)
	operations = w.expect(w.getReady(), "adopt k rl-1 #9", "extend k rl-1")
	w.reply(granted(operations[0], 7, time.Second), failed(operations[1], LockNotHeld))
	same(t, "extended", o.reason(), LockNotHeld)
	same(t, "losses", u.losses, 1)
	same(t, "extended", extend().reason(), LockNotHeld)
}

func TestAReleaseEndsAnExtension(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u, o := w.hold("k"), &outcome{}
	w.m.Extend(w.now, u.lease, testTTL, nil, o.on)
	extend := w.sent()[0]
	w.release(u)
	same(t, "extended", o.reason(), LockNotHeld)
	w.reply(granted(extend, 7, testTTL)) // has no effect
	same(t, "done", o.done, 1)
	same(t, "validity", u.lease.Validity(w.now), 0)
	w.m.Extend(w.now, u.lease, testTTL, nil, o.on)
	same(t, "done", o.done, 2)
	w.expect(w.sent(), "release k rl-1")
}
