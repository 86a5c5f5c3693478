package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

func TestTheOrderOfNamesDoesNotMatter(t *testing.T) {
	names := []string{"b", "é", "a", "Z", "a, b"}
	key := Together(names...)
	same(t, "first", names[0], "b") // the caller's list is unchanged
	same(t, "key", key, Together("a, b", "Z", "a", "b", "é"))
	same(t, "names", fmt.Sprintf("%q", key.Names()), `["Z" "a" "a, b" "b" "é"]`)
	same(t, "text", fmt.Sprintf("%v %q", key, Together("b", "a")), `Z, a, a, b, b, é "a, b"`)
	for _, other := range []Key{Together("a", "b"), Together("a", "b", "Z", "é"), Together("a, b", "b"), "a, b"} {
		if other == key || other == Together("b") {
			t.Errorf("%q equals another key", other)
		}
	}
}

func TestOneNameIsAKeyAndNoneIsEmpty(t *testing.T) {
	same(t, "one", Together("a"), "a")
	same(t, "one", fmt.Sprint(Together("a").Names()), "[a]")
	same(t, "none", Together(), "")
	same(t, "none", len(Key("").Names()), 0)
}

// Otherwise a name that is not UTF-8 would lock other keys instead of being refused.
func TestAnInvalidNameDoesNotBecomeOthers(t *testing.T) {
	for _, bad := range []string{"\xff", "\xffa", "a\xff", "a\xffb", "\xffa\xffb", "\xff\xff", "\xfe", "\xfea", "a\xfe", "\xfc", "\xfc5\xfca", "\xfc5/2\xfca"} {
		same(t, "one", len(Together(bad).Names()), 1)
		for _, key := range []Key{Together(bad), Together("x", bad), Together(bad, "")} {
			if !slices.ContainsFunc(key.Names(), func(name string) bool { return !utf8.ValidString(name) }) {
				t.Errorf("%q became the names %q", bad, key.Names())
			}
		}
		if names := Together("x", bad, "y").Names(); len(names) != 3 {
			t.Errorf("%q became the names %q", bad, names)
		}
	}
	for _, raw := range []Key{"\xff", "\xffa", "a\xffb", "a\xffb\xffc"} { // not made by Together
		same(t, "names", strings.Join(raw.Names(), " "), string(raw))
	}
	same(t, "an empty name", fmt.Sprintf("%q", Together("a", "").Names()), `["" "a"]`)
	same(t, "a name that is there twice", fmt.Sprintf("%q", Together("a", "a").Names()), `["a" "a"]`)
}

func TestAMessageNamesOneKeyOrSeveral(t *testing.T) {
	key, keys := Key("a").Fields()
	same(t, "fields", fmt.Sprintf("%q %q", key, keys), `"a" []`)
	key, keys = Together("b", "a").Fields()
	same(t, "fields", fmt.Sprintf("%q %q", key, keys), `"" ["a" "b"]`)
	same(t, "key", KeyOf(&pb.Lease{Key: "a"}), "a")
	same(t, "key", KeyOf(&pb.Lease{Keys: []string{"b", "a"}}), Together("a", "b"))
	same(t, "key", KeyOf(&pb.WatchResponse{}), "")
}

func TestALockOfSeveralKeysFromBeginToEnd(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	both := Together("b", "a")
	u := w.acquire(Acquire{Key: both})
	acquire := w.expect(w.sent(), "acquire a, b rl-1")[0]
	same(t, "key", acquire.GetAcquire().Key, "")
	same(t, "keys", strings.Join(acquire.GetAcquire().Keys, " "), "a b")
	w.reply(granted(acquire, 7, time.Second))
	same(t, "key", u.lease.Key, Together("a", "b"))
	same(t, "held", w.m.Held(Together("a", "b"), "rl-1"), u.lease)
	one := w.hold("a") // a lock of its own for the client, whatever a real daemon does

	w.event(extended, both, "rl-1", 3*time.Second)
	same(t, "validity", u.lease.Validity(w.now), 3*time.Second)
	o := &outcome{}
	w.m.Extend(w.now, u.lease, testTTL, nil, o.on)
	w.reply(granted(w.expect(w.sent(), "extend a, b rl-1")[0], 7, testTTL))
	same(t, "extended", o.reason(), "OK")

	w.breakOff()
	operations := w.expect(w.getReady(), "adopt a, b rl-1 #8", "adopt a rl-2 #8")
	w.reply(granted(operations[0], 8, testTTL), granted(operations[1], 8, testTTL))
	w.event(pb.EventType_EVENT_TYPE_LOST, "a", "rl-2", 0)
	same(t, "losses", u.losses, 0)
	same(t, "losses of the other", one.losses, 1)
	o = w.release(u)
	w.reply(ok(w.expect(w.sent(), "release a, b rl-1")[0]))
	same(t, "released", o.reason(), "OK")
}

func TestALockOfSeveralKeysIsTakenOverAndLost(t *testing.T) {
	w := newWorld(t, 1)
	w.getReady()
	u := w.acquire(Acquire{Key: Together("b", "a"), Token: "mine", ExtendIfHeld: true})
	w.reply(granted(w.expect(w.sent(), "extend a, b mine")[0], 7, testTTL))
	w.reply(granted(w.expect(w.sent(), "adopt a, b mine #8")[0], 7, testTTL))
	same(t, "granted", u.lease.Key, Together("a", "b"))
	w.event(pb.EventType_EVENT_TYPE_LOST, Together("a", "b"), "mine", 0)
	same(t, "losses", u.losses, 1)
}

func TestAShareOfAKeyIsAnotherKeyWithTheSameNames(t *testing.T) {
	for _, key := range []Key{"a", Together("a", "b")} {
		shared := Shared(key)
		same(t, "differs", shared != key, true)
		same(t, "again", Shared(shared), shared)
		same(t, "shared", fmt.Sprint(key.Shared(), shared.Shared()), "false true")
		same(t, "text", fmt.Sprintf("%v %q", shared, shared), fmt.Sprintf("%v %q", key, key))
		same(t, "names", fmt.Sprint(shared.Names()), fmt.Sprint(key.Names()))
		one, several := shared.Fields()
		same(t, "key", KeyOf(&pb.Lease{Key: one, Keys: several, Mode: shared.Mode()}), shared)
		same(t, "key", KeyOf(&pb.Lease{Key: one, Keys: several, Mode: key.Mode()}), key)
		same(t, "key", KeyOf(&pb.Lease{Key: one, Keys: several, Mode: pb.LockMode_LOCK_MODE_EXCLUSIVE}), key)
	}
	same(t, "no names", len(Shared("").Names()), 0)
	same(t, "an invalid name", Shared("\xfe\xfea").Names()[0], "\xfea")
}

func TestAShareFromBeginToEnd(t *testing.T) {
	for _, key := range []Key{"a", Together("a", "b")} {
		w := newWorld(t, 2)
		w.getReady()
		u := w.acquire(Acquire{Key: Shared(key), Token: "mine"})
		acquire := w.expect(w.sent(), fmt.Sprintf("acquire %s mine", key))[0]
		same(t, "mode", acquire.GetAcquire().Mode, pb.LockMode_LOCK_MODE_SHARED)
		w.reply(granted(acquire, 7, time.Second))
		exclusive := w.acquire(Acquire{Key: key, Token: "mine"}) // another lock, whatever a daemon says
		w.reply(granted(w.sent()[0], 8, time.Second))
		w.event(extended, Shared(key), "mine", 3*time.Second)
		same(t, "validity", u.lease.Validity(w.now), 3*time.Second)
		same(t, "validity of the other", exclusive.lease.Validity(w.now), time.Second)
		w.event(pb.EventType_EVENT_TYPE_LOST, key, "mine", 0)
		same(t, "losses", u.losses, 0)
		same(t, "losses of the other", exclusive.losses, 1)
		w.m.Extend(w.now, u.lease, testTTL, nil, func(*Failure) {})
		same(t, "mode", w.sent()[0].GetExtend().Mode, pb.LockMode_LOCK_MODE_SHARED)
	}
}

func TestAShareIsTakenOverMovedAndReleased(t *testing.T) {
	w := newWorld(t, 2)
	w.getReady()
	u := w.acquire(Acquire{Key: Shared("a"), Token: "mine", ExtendIfHeld: true})
	extend := w.expect(w.sent(), "extend a mine")[0]
	same(t, "mode", extend.GetExtend().Mode, pb.LockMode_LOCK_MODE_SHARED)
	w.reply(granted(extend, 7, testTTL))
	w.reply(granted(w.expect(w.sent(), "adopt a mine #8")[0], 7, testTTL))
	w.breakOff()
	adopt := w.expect(w.getReady(), "adopt a mine #9")[0]
	same(t, "mode", adopt.GetAdopt().Mode, pb.LockMode_LOCK_MODE_SHARED)
	o := w.release(u)
	w.reply(ok(w.expect(w.sent(), "release a mine")[0]), granted(adopt, 7, testTTL))
	same(t, "released", o.reason(), "OK")
	w.expect(w.sent(), "give up a mine")
}
