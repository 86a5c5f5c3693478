package core

import (
	"strings"
	"testing"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

func withMetadata(r *pb.SessionResult, metadata map[string]string) *pb.SessionResult {
	r.Status.Metadata = metadata
	return r
}

// When the time to wait is over, an outage never reads as contention.
func TestTheEndOfTheWaitSaysWhy(t *testing.T) {
	const silent = "(no answer)"
	for _, c := range []struct {
		answer   string
		metadata map[string]string
		reason   string
		holder   string
		heldFor  time.Duration
	}{
		{Cancelled, nil, DeadlineExceeded, "", 0},
		{Cancelled, map[string]string{"last_reason": LockAlreadyHeld, "owner": "them"}, DeadlineExceeded, "them", 0},
		{Cancelled, map[string]string{"last_reason": LockAlreadyHeld, "owner": "them", "held_for": "1.5"}, DeadlineExceeded, "them",
			1500 * time.Millisecond},
		{Cancelled, map[string]string{"last_reason": QuorumUnavailable, "owner": "them"}, QuorumUnavailable, "", 0},
		{DeadlineExceeded, map[string]string{"last_reason": NodeSetMismatch}, NodeSetMismatch, "", 0},
		{QuorumUnavailable, nil, QuorumUnavailable, "", 0},
		{silent, nil, DeadlineExceeded, "", 0},
	} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.acquire(Acquire{Key: "k"})
		acquire := w.sent()[0]
		w.m.TimeOut(w.now, u.acquisition)
		w.expect(w.sent(), "cancel 2")
		same(t, "done", u.done, 0)
		if c.answer == silent {
			w.pass(lastWordTimeout - 1)
			same(t, "done", u.done, 0)
			w.pass(1)
		} else {
			w.reply(withMetadata(failed(acquire, c.answer), c.metadata))
		}
		same(t, "done", u.done, 1)
		same(t, "reason", u.failure.Reason, c.reason)
		same(t, "holder", u.failure.Holder, c.holder)
		same(t, "held for", u.failure.HeldFor, c.heldFor)
		w.m.TimeOut(w.now, u.acquisition)
		w.pass(2 * time.Second)
		same(t, "done", u.done, 1)
	}
}

func TestATimeThatCannotBeReadIsUnknown(t *testing.T) {
	for text, heldFor := range map[string]time.Duration{"12.345": 12345 * time.Millisecond, "7": 7 * time.Second, "0.000": 0,
		"": 0, " ": 0, "soon": 0, "-1": 0, "NaN": 0, "Inf": 0, "1.5 s": 0, " 1": 0, "1,5": 0, "1000000000": 0, "1e400": 0} {
		failure := NewFailure(LockAlreadyHeld, "held", 0, map[string]string{"owner": "them", "held_for": text, "": "", "new": "x"})
		same(t, "held for "+text, failure.HeldFor, heldFor)
		same(t, "holder", failure.Holder, "them")
	}
}

func TestTheEndOfTheWaitWithoutADaemon(t *testing.T) {
	w := newWorld(t, 1)
	u := w.acquire(Acquire{Key: "k"})
	w.m.TimeOut(w.now, u.acquisition) // while it connects
	same(t, "reason", u.failure.Reason, Unreachable)

	v := w.acquire(Acquire{Key: "k"})
	w.getReady()
	w.breakOff()
	w.m.TimeOut(w.now, v.acquisition)
	same(t, "reason", v.failure.Reason, Unreachable)
	same(t, "names the error", strings.Contains(v.failure.Message, "reset"), true)

	w.pass(time.Second)
	w.getReady()
	x := w.acquire(Acquire{Key: "k"})
	w.sent()
	w.m.TimeOut(w.now, x.acquisition)
	w.sent()
	w.breakOff() // before the answer
	same(t, "reason", x.failure.Reason, Unreachable)
	w.pass(time.Second)
	w.expect(w.getReady(), "release k rl-2", "release k rl-4")
	same(t, "done", u.done+v.done+x.done, 3)
}

func TestALeaseThatComesAfterTheWaitIsReleased(t *testing.T) {
	for _, after := range []time.Duration{0, lastWordTimeout} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.acquire(Acquire{Key: "k"})
		acquire := w.sent()[0]
		w.m.TimeOut(w.now, u.acquisition)
		w.sent()
		w.pass(after)
		w.reply(granted(acquire, 7, testTTL))
		same(t, "reason", u.failure.Reason, DeadlineExceeded)
		same(t, "done", u.done, 1)
		w.expect(w.sent(), "release k rl-1")
	}
}

func TestTheEndOfTheWaitDuringOverload(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k"})
	w.reply(failed(w.sent()[0], Overloaded))
	w.m.TimeOut(w.now, u.acquisition)
	same(t, "reason", u.failure.Reason, Overloaded)
	w.expect(w.sent())
}

func TestCloseEndsACallerThatWaitsForTheReason(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k"})
	w.sent()
	w.m.TimeOut(w.now, u.acquisition)
	w.m.Close(w.now, func() {})
	same(t, "done", u.done, 1)
	same(t, "reason", u.failure.Reason, Cancelled)
}

func TestALockIsAdoptedAboveEverySequenceOfOthers(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "theirs", Adopt: true, Sequence: 1000})
	extend := w.expect(w.sent(), "extend k theirs")[0]
	w.reply(granted(extend, 7, testTTL))
	same(t, "done", u.done, 0)
	adopt := w.expect(w.sent(), "adopt k theirs #1001")[0]
	w.reply(failed(adopt, LockNotHeld)) // another client has used higher ones
	extend = w.expect(w.sent(), "extend k theirs")[0]
	w.breakOff()
	extend = w.expect(w.getReady(), "extend k theirs")[0]
	w.reply(failed(extend, QuorumUnavailable))
	w.pass(adoptAgain)
	w.reply(granted(w.expect(w.sent(), "extend k theirs")[0], 7, testTTL))
	w.reply(granted(w.expect(w.sent(), "adopt k theirs #1001002")[0], 8, testTTL))
	same(t, "token", u.lease.Token, "theirs")
	w.breakOff()
	w.pass(time.Second)
	w.expect(w.getReady(), "adopt k theirs #1001003")
}

func TestAdoptNeverAcquires(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "theirs", Adopt: true})
	w.reply(failed(w.sent()[0], LockNotHeld))
	same(t, "reason", u.failure.Reason, LockNotHeld)
	w.expect(w.sent())
	same(t, "in use", w.m.InUse("k", "theirs"), false)
}

// A lock whose adoption was given up belongs to its holder, unless this client has it already.
func TestGivingUpAnAdoption(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", Token: "theirs", Adopt: true})
	extend := w.sent()[0]
	w.m.GiveUp(w.now, u.acquisition)
	w.reply(granted(extend, 7, testTTL))
	w.expect(w.sent())

	u = w.acquire(Acquire{Key: "k", Token: "theirs", Adopt: true})
	w.reply(granted(w.sent()[0], 7, testTTL))
	adopt := w.sent()[0]
	w.m.GiveUp(w.now, u.acquisition)
	w.reply(granted(adopt, 7, testTTL))
	w.expect(w.sent(), "give up k theirs")
	same(t, "done", u.done, 0)
}

func orExtend(w *world) (*user, *pb.SessionOperation) {
	u := w.acquire(Acquire{Key: "k", Token: "mine", ExtendIfHeld: true, Sequence: 1000})
	extend := w.expect(w.sent(), "extend k mine")[0]
	same(w.t, "retries", *extend.GetExtend().GetRetry().MaxRetries, 0)
	return u, extend
}

func TestAcquireOrExtendAdoptsALockThatTheTokenHolds(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u, extend := orExtend(w)
	w.reply(granted(extend, 7, testTTL))
	same(t, "done", u.done, 0)
	w.reply(failed(w.expect(w.sent(), "adopt k mine #1001")[0], LockNotHeld))
	w.reply(granted(w.expect(w.sent(), "extend k mine")[0], 7, testTTL))
	w.reply(granted(w.expect(w.sent(), "adopt k mine #1001002")[0], 7, testTTL))
	same(t, "token", u.lease.Token, "mine")
}

func TestAcquireOrExtendAcquiresIfTheTokenHoldsNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u, extend := orExtend(w)
	w.reply(failed(extend, LockNotHeld))
	w.reply(granted(w.expect(w.sent(), "acquire k mine")[0], 7, testTTL))
	same(t, "token", u.lease.Token, "mine")

	u = w.acquire(Acquire{Key: "other", Token: "mine", ExtendIfHeld: true})
	w.reply(failed(w.sent()[0], LockNotHeld))
	acquire := w.expect(w.sent(), "acquire other mine")[0]
	w.m.GiveUp(w.now, u.acquisition)
	same(t, "sent", kinds(w.sent())[0][:6], "cancel")
	w.reply(granted(acquire, 7, testTTL)) // a new lock
	w.expect(w.sent(), "give up other mine")
}

// Whatever happens before the adoption is sent, the lock of whoever has the token stays as it is.
func TestAnAcquireOrExtendThatFailsBeforeItAdoptsReleasesNothing(t *testing.T) {
	for _, giveUp := range []bool{false, true} {
		w := newWorld(t, 2)
		w.getReady()
		u, extend := orExtend(w)
		if giveUp {
			w.m.TimeOut(w.now, u.acquisition)
			same(t, "reason", u.failure.Reason, DeadlineExceeded)
			w.expect(w.sent())
			w.reply(granted(extend, 7, testTTL))
			w.expect(w.sent())
		} else {
			w.reply(failed(extend, "PERMISSION_DENIED"))
			same(t, "reason", u.failure.Reason, "PERMISSION_DENIED")
		}
		w.breakOff()
		w.expect(w.getReady())
	}
}

func TestAcquireOrExtendSparesTheLockThatItHasFound(t *testing.T) {
	for _, again := range []bool{false, true} {
		w := newWorld(t, 1)
		w.getReady()
		u, extend := orExtend(w)
		w.reply(granted(extend, 7, testTTL))
		adopt := w.expect(w.sent(), "adopt k mine #1001")[0]
		w.m.GiveUp(w.now, u.acquisition)
		w.reply(granted(adopt, 7, testTTL))
		w.expect(w.sent())
		if again { // a later call takes it over
			u, extend = orExtend(w)
			w.reply(granted(extend, 7, testTTL))
			w.reply(granted(w.sent()[0], 7, time.Hour))
			same(t, "granted", u.lease != nil, true)
		}
		released := 0
		for end := w.now.Add(testTTL + time.Second); w.now < end; {
			if w.now < end.Add(-time.Second-100*time.Millisecond) {
				same(t, "released early", released, 0)
			}
			w.pass(100 * time.Millisecond)
			for _, o := range w.sent() {
				if o.GetGiveUp() != nil {
					released++
				}
				w.reply(ok(o)) // pings, too
			}
		}
		same(t, "released", released == 0, again)
	}
}

func TestALockThatIsGrantedTooLateIsNotReturned(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: "k", TTL: time.Second})
	acquire := w.sent()[0]
	message := w.message(granted(acquire, 7, time.Second))
	w.suspend(time.Second)
	w.m.OnMessage(w.now, 1, message)
	same(t, "reason", u.failure.Reason, ValidityExpired)
	w.expect(w.sent(), "release k rl-1")
}

func TestTheRetryPolicyIsSent(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	retries := int32(3)
	w.acquire(Acquire{Key: "k", Retry: &pb.RetryPolicy{MaxRetries: &retries}})
	same(t, "retries", w.sent()[0].GetAcquire().GetRetry().GetMaxRetries(), 3)
	w.acquire(Acquire{Key: "k", Retry: &pb.RetryPolicy{MaxRetries: &retries}, Try: true})
	policy := w.sent()[0].GetAcquire().GetRetry()
	same(t, "a single try", policy.MaxRetries != nil && *policy.MaxRetries == 0, true)
}

// A daemon that was held up may carry out an earlier copy of a release, which would end the next hold of the token.
func TestAReleaseOfACallersTokenSaysIfTheTokenIsSpent(t *testing.T) {
	for _, token := range []string{"mine", ""} {
		w := newWorld(t, 2)
		w.getReady()
		u := w.acquire(Acquire{Key: "k", Token: token})
		w.reply(granted(w.sent()[0], 7, testTTL))
		o := w.release(u)
		w.sent()
		w.breakOff()
		w.reply(failed(w.getReady()[0], LockNotHeld))
		if token == "" {
			same(t, "released", o.reason(), "OK")
			continue
		}
		same(t, "released", o.reason(), Unreachable)
		same(t, "says so", strings.Contains(o.failure.Message, "must not be used again"), true)
	}
}
