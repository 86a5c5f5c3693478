package core

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

func TestNothingIsSentBeforeThePingIsAnswered(t *testing.T) {
	w := newWorld(t, 1)
	u := w.acquire(Acquire{Key: "k"})
	first := w.m.TakeMessage(w.now, 1)
	w.expect(first.Operations, "ping")
	w.expect(w.sent())
	w.reply(ok(first.Operations[0]))
	w.expect(w.sent(), "acquire k rl-1")
	same(t, "done", u.done, 0)
}

func TestOperationsShareAMessageUpTo1000(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	for i := 0; i < 1500; i++ {
		w.acquire(Acquire{Key: "k"})
	}
	ids := map[uint64]bool{}
	for _, want := range []int{1000, 500} {
		message := w.m.TakeMessage(w.now, 1)
		same(t, "operations", len(message.Operations), want)
		for _, o := range message.Operations {
			if ids[o.Id] {
				t.Fatalf("the id %d is used twice", o.Id)
			}
			ids[o.Id] = true
		}
	}
}

// The daemon refuses larger messages, every time, so that all locks would be lost.
func TestAMessageStaysBelowTheDaemonsLimitOfBytes(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	names := make([]string, 64)
	for i := range names {
		names[i] = fmt.Sprintf("%0128d", i)
	}
	for i := 0; i < 300; i++ {
		w.acquire(Acquire{Key: Together(names...)})
	}
	operations := 0
	for message := w.m.TakeMessage(w.now, 1); message != nil; message = w.m.TakeMessage(w.now, 1) {
		operations += len(message.Operations)
		if size := proto.Size(message); size > 600_000 {
			t.Fatalf("a message has %d bytes", size)
		}
	}
	same(t, "operations", operations, 300)
}

func TestAnUnknownIdIsIgnored(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k"})
	operations := w.sent()
	w.reply(&pb.SessionResult{Id: 999, Lease: lease("k", "rl-1", 7, testTTL)})
	same(t, "done", u.done, 0)
	w.reply(granted(operations[0], 7, testTTL))
	w.reply(failed(operations[0], Draining)) // answered before
	same(t, "done", u.done, 1)
	same(t, "sessions", w.session(), 1)
}

func TestAPingGoesOutAtAQuarterOfTheGrace(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	for i := 0; i < 20; i++ {
		w.pass(testGrace/4 - 1)
		w.expect(w.sent())
		w.pass(1)
		w.reply(ok(w.expect(w.sent(), "ping")[0]))
	}
	same(t, "sessions", w.session(), 1)
}

// Acquires that wait are sent but not answered, so the trust would run out without pings.
func TestPingsKeepTheTrustWhileOperationsWait(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.hold("held")
	for i := 0; i < 40; i++ {
		w.acquire(Acquire{Key: "waits"})
		for _, o := range w.sent() {
			if o.GetPing() != nil {
				w.reply(ok(o))
			}
		}
		w.pass(testGrace / 8)
	}
	same(t, "losses", u.losses, 0)
	same(t, "sessions", w.session(), 1)
}

func TestASilentDaemonIsAbandoned(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.hold("k")
	w.pass(testGrace / 4)
	ping := w.expect(w.sent(), "ping")[0]
	w.pass(testGrace/3 - 1)
	same(t, "sessions", w.session(), 1)
	w.pass(1)
	same(t, "sessions", w.session(), 2)
	same(t, "cancelled", w.cancelled[1], true)
	same(t, "endpoint", w.opened[1], 1)
	w.m.OnMessage(w.now, 1, w.message(ok(ping))) // too late
	adopt := w.expect(w.getReady(), "adopt k rl-1 #8")[0]
	w.reply(granted(adopt, 9, testTTL))
	same(t, "losses", u.losses, 0)
	same(t, "fence", u.lease.FencingToken(), 9)
}

func TestAMessageThatCannotBeWrittenDoesNotHideTheSilence(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	w.pass(testGrace/4 + testGrace/3) // the ping was never taken
	same(t, "sessions", w.session(), 2)
}

func TestTheSilenceTimeoutIsAtMost2s(t *testing.T) {
	w := newWorld(t, 1)
	w.opened = nil
	w.m = New(Config{Endpoints: 1, Grace: time.Minute}, w, w.now)
	w.reply(ok(w.m.TakeMessage(w.now, 1).Operations[0]))
	w.pass(15 * time.Second)
	w.expect(w.sent(), "ping")
	w.pass(2*time.Second - 1)
	same(t, "cancelled", w.cancelled[1], false)
	w.pass(1)
	same(t, "cancelled", w.cancelled[1], true)
}

// The process was stopped before the answer arrived.
func TestAClientThatWasHeldUpReadsFirst(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	w.pass(testGrace / 4)
	ping := w.expect(w.sent(), "ping")[0]
	w.suspend(10 * time.Second)
	w.m.Tick(w.now)
	same(t, "cancelled", w.cancelled[1], false)
	w.reply(ok(ping))
	w.pass(testGrace/4 - time.Millisecond)
	same(t, "cancelled", w.cancelled[1], false)
}

func TestAClientThatWasHeldUpWaitsOnceMore(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	w.pass(testGrace / 4)
	w.expect(w.sent(), "ping")
	w.suspend(10 * time.Second)
	w.m.Tick(w.now)
	w.pass(testGrace/3 - 1)
	same(t, "cancelled", w.cancelled[1], false)
	w.pass(1)
	same(t, "cancelled", w.cancelled[1], true)
}

func TestAfterASuspendTrustIsJudgedFirst(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.hold("k")
	w.pass(testGrace / 4)
	ping := w.expect(w.sent(), "ping")[0]
	answer := w.message(ok(ping))
	answer.Events = append(answer.Events, extendedEvent("k", u.lease.Token, testTTL))
	w.suspend(testGrace)
	w.m.OnMessage(w.now, 1, answer) // read before the timer has fired
	same(t, "losses", u.losses, 1)
	same(t, "validity", u.lease.Validity(w.now), 0)
	// The daemon may still extend it.
	w.expect(w.sent(), "release k rl-1")
}

// Unlike after a suspend: an event loop or a process that was held up must not report a needless loss.
func TestAClientThatWasHeldUpReadsAnExtensionBeforeItJudges(t *testing.T) {
	for _, arrived := range []bool{true, false} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.acquire(Acquire{Key: "k", TTL: time.Second})
		w.reply(granted(w.sent()[0], 7, time.Second))
		w.holdUp(1400 * time.Millisecond)
		extension := w.message()
		extension.Events = append(extension.Events, extendedEvent("k", u.lease.Token, time.Second))
		w.holdUp(100 * time.Millisecond)
		same(t, "validity", u.lease.Validity(w.now), 0)
		w.m.Tick(w.now)
		same(t, "losses", u.losses, 0)
		if arrived {
			w.m.OnMessage(w.now, 1, extension)
		}
		w.pass(slack)
		same(t, "held", u.losses == 0 && u.lease.Validity(w.now) > 0, arrived)
	}
}

func TestALateTimerLetsAnExtensionBeReadBeforeTheMargin(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.hold("k")
	w.pass(testGrace / 4)
	ping := w.sent()[0]
	answer := w.message(ok(ping))
	w.now = Instant(time.Hour).Add(trustAfter(testGrace) - u.lease.margin/2) // within the margin
	w.m.Tick(w.now)
	same(t, "losses", u.losses, 0)
	w.m.OnMessage(w.now, 1, answer)
	w.pass(slack)
	same(t, "losses", u.losses, 0)
}

func TestEndpointsAreTriedInTurnAndThenAtPauses(t *testing.T) {
	w := newWorld(t, 3)
	w.breakOff()
	w.breakOff()
	same(t, "sessions", w.session(), 3) // at once
	pause := leastPause
	for i := 0; i < 8; i++ {
		w.breakOff()
		before := w.session()
		w.pass(pause - 1)
		same(t, "sessions", w.session(), before)
		w.pass(1)
		same(t, "sessions", w.session(), before+1)
		pause = least(2*pause, time.Second)
	}
	for i, endpoint := range w.opened {
		same(t, "endpoint", endpoint, i%3)
	}
	w.getReady()
	w.pass(2 * time.Second)
	for _, o := range w.sent() {
		w.reply(ok(o))
	}
	for i := 0; i < 4; i++ { // that endpoint, then all three
		w.breakOff()
	}
	before := w.session()
	w.pass(leastPause) // the pauses start again with the shortest
	same(t, "sessions", w.session(), before+1)
}

func TestConnectingIsBounded(t *testing.T) {
	for _, c := range []struct {
		endpoints int
		grace     time.Duration
		want      time.Duration
	}{{1, testGrace, 2 * time.Second}, {4, testGrace, 500 * time.Millisecond}, {1, time.Hour, 2 * time.Second}, {2, 100 * time.Millisecond, 25 * time.Millisecond}} {
		w := newWorld(t, 1)
		w.opened = nil
		w.m = New(Config{Endpoints: c.endpoints, Grace: c.grace}, w, w.now)
		w.pass(c.want - 1)
		same(t, "cancelled", w.cancelled[1], false)
		w.pass(1)
		same(t, "cancelled", w.cancelled[1], true)
	}
}

// Two daemons that keep draining in turn do not keep the client busy.
func TestSeveralDrainingsInARow(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.hold("k")
	for i := 0; i < 5; i++ {
		w.pass(10 * time.Millisecond)
		w.event(pb.EventType_EVENT_TYPE_DRAINING, "", "", 0)
		for w.m.session == nil { // a pause
			w.pass(leastPause)
		}
		adopt := w.getReady()
		same(t, "operations", len(adopt), 1)
		if i == 2 {
			continue // the next daemon drains before it has answered
		}
		w.reply(granted(adopt[0], uint64(20+i), testTTL))
		same(t, "fence", u.lease.FencingToken(), uint64(20+i))
	}
	same(t, "losses", u.losses, 0)
	if w.session() > 7 {
		t.Fatalf("%d sessions", w.session())
	}
}

func TestDrainingAsAReasonMovesOn(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u, v := w.acquire(Acquire{Key: "a"}), w.acquire(Acquire{Key: "b", Try: true})
	operations := w.sent()
	w.reply(failed(operations[0], Draining), failed(operations[1], Draining))
	same(t, "sessions", w.session(), 2)
	again := w.expect(w.getReady(), "acquire a rl-1", "acquire b rl-2") // they were not acquired
	w.reply(granted(again[0], 1, testTTL), granted(again[1], 1, testTTL))
	same(t, "done", u.done+v.done, 2)
}

func TestLeasesBesideADrainingCount(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: "k"})
	message := w.message(granted(w.sent()[0], 7, testTTL))
	message.Events = []*pb.WatchResponse{{Type: pb.EventType_EVENT_TYPE_DRAINING}}
	w.m.OnMessage(w.now, 1, message)
	same(t, "granted", u.lease != nil, true)
	w.expect(w.getReady(), "adopt k rl-1 #8")
}

func TestARefusalFailsAcquiresOnceAllEndpointsWereTried(t *testing.T) {
	w := newWorld(t, 2)
	u := w.acquire(Acquire{Key: "k"})
	w.m.OnBroken(w.now, 1, &Failure{Reason: Unauthenticated, Message: "no"})
	same(t, "done", u.done, 0)
	w.breakOff()
	same(t, "reason", u.failure.Reason, Unauthenticated)
}

func TestAnOutageAfterARefusalIsWaitedThrough(t *testing.T) {
	w := newWorld(t, 1)
	w.m.OnBroken(w.now, 1, &Failure{Reason: Unauthenticated, Message: "no"})
	u := w.acquire(Acquire{Key: "k"})
	w.pass(time.Second)
	w.breakOff()
	same(t, "done", u.done, 0)
	w.pass(time.Second)
	w.expect(w.getReady(), "acquire k rl-1")
}
