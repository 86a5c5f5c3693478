package core

import (
	"math/rand"
	"testing"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// The bound is never later than the true time, for any delays and for clocks whose rates differ by 1 %.
func TestMadeAtIsNeverAfterTheTruth(t *testing.T) {
	for seed := int64(0); seed < 300; seed++ {
		random := rand.New(rand.NewSource(seed))
		rate := 0.99 + 0.02*random.Float64() // of the daemon's clock, by the client's
		begin := Instant(time.Hour)
		read := func(at Instant) time.Duration { // the daemon's clock at that time, rounded down like the daemon's
			return daemonAhead + time.Duration(rate*float64(at.Sub(begin)))
		}
		delay := func() time.Duration {
			if random.Intn(4) == 0 {
				return time.Duration(random.Int63n(int64(5 * time.Second)))
			}
			return time.Duration(random.Int63n(int64(5 * time.Millisecond)))
		}
		var clock daemonClock
		best, now := time.Duration(1<<62), begin
		for i := 0; i < 200; i++ {
			now = now.Add(delay())
			sent := now
			made := sent.Add(delay())
			clock.onAnswer(sent, read(made))
			bound, usable := clock.madeAt(read(made))
			if !usable || bound > made {
				t.Fatalf("seed %d: made at %d, bound %d", seed, made, bound)
			}
			if bound < sent {
				t.Fatalf("seed %d: the answer's own sending was the better bound", seed)
			}
			best = least(best, made.Sub(bound))
			now = made
			// An unsolicited event, some time later.
			event := made.Add(time.Duration(random.Int63n(int64(10 * time.Second))))
			if bound, _ := clock.madeAt(read(event)); bound > event {
				t.Fatalf("seed %d: event at %d, bound %d", seed, event, bound)
			}
		}
		if best > 10*time.Millisecond {
			t.Fatalf("seed %d: the best bound is %v before the truth", seed, best)
		}
	}
}

func TestAnOlderAnswerDoesNotReplaceABetterPair(t *testing.T) {
	var clock daemonClock
	if _, usable := clock.madeAt(0); usable {
		t.Fatal("usable without any answer")
	}
	clock.onAnswer(1000, 500)
	clock.onAnswer(100, 600) // a long wait: answered at 1100 or so
	if at, _ := clock.madeAt(600); at != 1000+100-1 {
		t.Fatalf("made at %d", at)
	}
	clock.onAnswer(1200, 700)
	if at, _ := clock.madeAt(700); at != 1200 {
		t.Fatalf("made at %d", at)
	}
}

func TestASessionIsTrustedFromTheSendingOfWhatWasAnswered(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k"})
	sentAt := w.now
	operations := w.sent()
	w.pass(200 * time.Millisecond)
	w.reply(granted(operations[0], 7, testTTL))
	// 1 % and 2 ms less than the grace.
	same(t, "validity", u.lease.Validity(w.now), sentAt.Add(testGrace-42*time.Millisecond).Sub(w.now))
	w.pass(800 * time.Millisecond) // a quarter of the grace after the message was sent
	w.expect(w.sent(), "ping")
}

func TestATrustedSessionDoesNotProlongAValidity(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", TTL: time.Second})
	w.reply(granted(w.sent()[0], 7, time.Second))
	if v := u.lease.Validity(w.now); v > time.Second || v < 980*time.Millisecond {
		t.Fatalf("validity %v", v)
	}
	w.pass(500 * time.Millisecond)
	w.event(extended, "k", u.lease.Token, time.Second)
	// The pair is that of the acquire, 500 ms ago: 1 % of that is lost.
	if v := u.lease.Validity(w.now); v > 995*time.Millisecond || v < 990*time.Millisecond {
		t.Fatalf("validity %v", v)
	}
	w.event(extended, "k", u.lease.Token, 100*time.Millisecond) // never decreases
	if v := u.lease.Validity(w.now); v < 990*time.Millisecond {
		t.Fatalf("validity %v", v)
	}
	w.event(extended, "k", "another", time.Hour)
	if v := u.lease.Validity(w.now); v > 995*time.Millisecond {
		t.Fatalf("validity %v by another lease's event", v)
	}
	w.pass(894 * time.Millisecond)
	same(t, "losses above the margin", u.losses, 0)
	w.pass(2 * time.Millisecond)
	same(t, "losses", u.losses, 1) // a tenth of the TTL before the end
	same(t, "reason", u.loss.Reason, LockNotHeld)
	same(t, "validity", u.lease.Validity(w.now), 0)
}

func TestADelayOnTheWayBackDoesNotCount(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", TTL: time.Second})
	w.reply(granted(w.sent()[0], 7, time.Second))
	w.pass(400 * time.Millisecond)
	message := w.message() // made now
	message.Events = append(message.Events, extendedEvent("k", u.lease.Token, time.Second))
	w.pass(450 * time.Millisecond)
	w.m.OnMessage(w.now, 1, message)
	if v := u.lease.Validity(w.now); v > 550*time.Millisecond || v < 540*time.Millisecond {
		t.Fatalf("validity %v", v)
	}
}

func TestALossNamesTheFailureOfTheLastExtension(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	first, second := w.acquire(Acquire{Key: "a", TTL: time.Second}), w.acquire(Acquire{Key: "b", TTL: time.Second})
	for _, sent := range w.sent() {
		w.reply(granted(sent, 7, time.Second))
	}
	message := w.message()
	for _, u := range []*user{first, second} {
		event := eventOf(pb.EventType_EVENT_TYPE_EXTEND_FAILED, lease(u.lease.Key, u.lease.Token, 0, 0))
		event.Message = "too few nodes"
		message.Events = append(message.Events, event)
	}
	message.Events = append(message.Events, extendedEvent("b", second.lease.Token, time.Second))
	w.m.OnMessage(w.now, w.session(), message)
	w.pass(time.Second)
	same(t, "loss", first.loss.Message, "the lock was lost: no daemon extended it in time (too few nodes)")
	same(t, "loss", second.loss.Message, "the lock was lost: no daemon extended it in time")
}
