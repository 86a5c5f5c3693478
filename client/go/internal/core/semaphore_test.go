package core

import (
	"fmt"
	"testing"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

func TestASemaphoreOfAKeyIsAnotherKeyWithTheSameName(t *testing.T) {
	key := Semaphore("a", 5)
	for _, other := range []Key{"a", Shared("a"), Semaphore("a", 4), Semaphore("b", 5), key.InSlot(2)} {
		same(t, "differs", key != other, true)
	}
	same(t, "text", fmt.Sprintf("%v %q", key, key.InSlot(2)), `a "a"`)
	same(t, "limits", fmt.Sprint(Key("a").MaxHolders(), Shared("a").MaxHolders(), key.MaxHolders()), "0 0 5")
	same(t, "kinds", fmt.Sprint(Key("a").Semaphore(), Shared("a").Semaphore(), key.Semaphore()), "false false true")
	same(t, "slots", fmt.Sprint(key.Slot())+fmt.Sprint(key.InSlot(0).Slot())+fmt.Sprint(key.InSlot(2).Slot()), "0 false0 true2 true")
	same(t, "without a slot", key.InSlot(2).WithoutSlot(), key)
	same(t, "another limit", Semaphore(key.InSlot(2), 6), Semaphore("a", 6))
	for _, lock := range []Key{"a", Shared("a"), Together("a", "b"), "\xfca", "\xfc\xfca", "\xfc5/\xfca", "\xfc/2\xfca"} {
		same(t, "a lock in a slot", lock.InSlot(2), lock)
		same(t, "a lock without a slot", lock.WithoutSlot(), lock)
		same(t, "limit", lock.MaxHolders(), 0)
	}
	for _, message := range []*pb.Lease{{Key: "a", MaxHolders: 5}, {Key: "a", MaxHolders: 5, Slot: 2}} {
		same(t, "key", KeyOf(message), key)
	}
	// They are no keys, but the check must see what they are.
	same(t, "shared", Semaphore(Shared("a"), 5), Shared(key))
	same(t, "limit", Shared(key).MaxHolders(), 5)
	same(t, "several", fmt.Sprint(Semaphore(Together("a", "b"), 5).Names()), "[a b]")
	same(t, "limit", Semaphore("a", -1).MaxHolders(), -1)
	same(t, "kind", Semaphore("a", 0).Semaphore(), true)
}

func TestASlotFromBeginToEnd(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	key := Semaphore("k", 3)
	u := w.acquire(Acquire{Key: key, Token: "mine"})
	acquire := w.expect(w.sent(), "acquire k mine")[0]
	same(t, "key", KeyOf(acquire.GetAcquire()), key)
	w.reply(granted(acquire, 7, time.Second))
	same(t, "slot", u.lease.Slot, 2)
	var others []*user // other locks, whatever a daemon says
	for _, other := range []Key{"k", Shared("k"), Semaphore("k", 4)} {
		others = append(others, w.acquire(Acquire{Key: other, Token: "mine"}))
		w.reply(granted(w.sent()[0], 8, time.Second))
	}
	w.event(extended, key.InSlot(2), "mine", 3*time.Second)
	same(t, "validity", u.lease.Validity(w.now), 3*time.Second)
	o := &outcome{}
	w.m.Extend(w.now, u.lease, testTTL, nil, o.on)
	extend := w.expect(w.sent(), "extend k mine")[0]
	same(t, "slot", KeyOf(extend.GetExtend()).InSlot(int(extend.GetExtend().Slot)), key.InSlot(2))
	w.reply(granted(extend, 7, testTTL))
	same(t, "extended", o.reason(), "OK")
	for i, other := range []Key{"k", Shared("k"), Semaphore("k", 4)} {
		same(t, "validity of the other", others[i].lease.Validity(w.now), time.Second)
		w.event(pb.EventType_EVENT_TYPE_LOST, other, "mine", 0)
		same(t, "losses of the other", others[i].losses, 1)
	}
	same(t, "losses", u.losses, 0)

	w.breakOff()
	adopt := w.expect(w.getReady(), "adopt k mine #8")[0]
	same(t, "slot", KeyOf(adopt.GetAdopt()).InSlot(int(adopt.GetAdopt().Slot)), key.InSlot(2))
	o = w.release(u)
	w.reply(ok(w.expect(w.sent(), "release k mine")[0]), granted(adopt, 7, testTTL))
	same(t, "released", o.reason(), "OK")
	same(t, "given up", KeyOf(w.expect(w.sent(), "give up k mine")[0].GetGiveUp()), key)
}

func TestASlotIsTakenOver(t *testing.T) {
	key := Semaphore("k", 3)
	for _, what := range []Acquire{{ExtendIfHeld: true, Slot: 1}, {Adopt: true, Slot: 1}, {ExtendIfHeld: true}, {Adopt: true}} {
		w := newWorld(t, 2)
		w.getReady()
		what.Key, what.Token = key, "mine"
		u := w.acquire(what)
		extend := w.expect(w.sent(), "extend k mine")[0]
		same(t, "slot", KeyOf(extend.GetExtend()).InSlot(int(extend.GetExtend().Slot)), key.InSlot(what.Slot))
		w.reply(granted(extend, 7, testTTL))
		has := what.Slot
		if has == 0 {
			has = 2 // as the answer says
		}
		adopt := w.expect(w.sent(), "adopt k mine #8")[0]
		same(t, "slot", KeyOf(adopt.GetAdopt()).InSlot(int(adopt.GetAdopt().Slot)), key.InSlot(has))
		w.reply(granted(adopt, 7, testTTL))
		same(t, "slot", u.lease.Slot, has)
		same(t, "held", w.m.Held(key, "mine"), u.lease)
		w.breakOff()
		adopt = w.expect(w.getReady(), "adopt k mine #9")[0]
		same(t, "slot", adopt.GetAdopt().Slot, int32(has))
	}
}

func TestASlotThatTheTokenDoesNotHoldIsAcquired(t *testing.T) {
	for _, slot := range []int{0, 1} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.acquire(Acquire{Key: Semaphore("k", 3), Token: "mine", ExtendIfHeld: true, Slot: slot})
		w.reply(failed(w.expect(w.sent(), "extend k mine")[0], LockNotHeld))
		w.reply(granted(w.expect(w.sent(), "acquire k mine")[0], 7, testTTL))
		same(t, "slot", u.lease.Slot, 2)
	}
}

// The answer to the first acquire was lost, so that the second one may find the slot of the first.
func TestASlotOfAnAcquireThatWasSentAgainIsAdopted(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: Semaphore("k", 3), Token: "mine"})
	w.expect(w.sent(), "acquire k mine")
	w.breakOff()
	again := w.expect(w.getReady(), "reacquire k mine")[0]
	same(t, "key", KeyOf(again.GetAcquire()), Semaphore("k", 3))
	w.reply(granted(again, 7, testTTL))
	adopt := w.expect(w.sent(), "adopt k mine #10")[0]
	same(t, "slot", adopt.GetAdopt().Slot, 2)
	w.reply(granted(adopt, 7, testTTL))
	same(t, "slot", u.lease.Slot, 2)
}

func mismatch(o *pb.SessionOperation) *pb.SessionResult {
	result := failed(o, KindMismatch)
	result.Status.Metadata = map[string]string{"in_use_as": "a semaphore of 3"}
	return result
}

func TestAKindMismatchIsFinal(t *testing.T) {
	for _, what := range []Acquire{{Key: "k"}, {Key: Semaphore("k", 2), Token: "mine"}, {Key: "k", Token: "mine", Adopt: true}} {
		w := newWorld(t, 1)
		w.getReady()
		u := w.acquire(what)
		first := w.sent()[0]
		if what.Adopt {
			w.reply(granted(first, 7, testTTL))
			first = w.sent()[0]
		}
		w.reply(mismatch(first))
		same(t, "ended", u.done, 1)
		same(t, "reason", u.failure.Reason, KindMismatch)
		same(t, "in use as", u.failure.InUseAs, "a semaphore of 3")
		w.pass(2 * adoptAgain)
		w.expect(w.sent())
	}
}
