package redlockd

import (
	"testing"
	"time"
)

// until skips states until one is as wanted.
func (r *reader) until(t *testing.T, wanted func(KeyState) bool) KeyState {
	t.Helper()
	for last := (KeyState{}); ; {
		next, more := r.next(t)
		if next.err != nil || !more {
			t.Fatalf("%v after %+v", next.err, last)
		}
		if last = next.state; wanted(last) {
			return last
		}
	}
}

func isVacant(s KeyState) bool { return s.State == StateVacant }

func isHeldWith(value string) func(KeyState) bool {
	return func(s KeyState) bool { return s.State == StateHeld && s.Value == value }
}

func TestAnElectionIsObservedAtARealDaemon(t *testing.T) {
	server := realDaemon(t)
	first, second := realClient(t, server), realClient(t, server)
	election := first.Election("e")
	r := observe(soon(t), t, second, "e")
	r.until(t, isVacant)
	lock, err := election.Campaign(soon(t), "a", AcquireOptions{TTL: time.Minute, Owner: "one", LockDelay: time.Second})
	none(t, err)
	s := r.until(t, isHeldWith("a"))
	if s.FencingToken != lock.FencingToken() || s.Owner != "one" || s.Holders != 1 || s.Shared || s.MaxHolders != 0 || s.Remaining == 0 ||
		len(s.HeldBy) != 1 || s.HeldBy[0].Value != "a" || s.HeldBy[0].Owner != "one" {
		t.Fatalf("%+v", s)
	}
	none(t, server.Restart())
	none(t, election.Proclaim(soon(t), "b"))
	r.until(t, isHeldWith("b"))
	none(t, second.Proclaim(soon(t), "e", lock.Token(), "c"))
	r.until(t, isHeldWith("c"))
	leader, err := second.Election("e").Leader(soon(t))
	none(t, err)
	if leader.Value != "c" || leader.FencingToken != lock.FencingToken() {
		t.Fatalf("%+v", leader)
	}
	is(t, second.Proclaim(soon(t), "e", own, "d"), ErrNotHeld)
	none(t, lock.ReleaseAndKeep(soon(t), time.Minute))
	if s := r.until(t, isVacant); s.KeptFor <= 30*time.Second {
		t.Fatalf("%+v", s)
	}
	_, err = second.TryAcquire(soon(t), "e", AcquireOptions{})
	is(t, err, ErrAlreadyHeld)
	is(t, election.Resign(soon(t)), ErrNotHeld)
}

func TestSharesAndSlotsAreObserved(t *testing.T) {
	client := realClient(t, realDaemon(t))
	for _, key := range []string{Shared("shared"), Semaphore("semaphore", 3)} {
		r := observe(soon(t), t, client, key)
		r.until(t, isVacant)
		first, err := client.Acquire(soon(t), key, AcquireOptions{TTL: time.Minute, Value: "a"})
		none(t, err)
		r.until(t, func(s KeyState) bool { return s.State == StateHeld && s.Holders == 1 })
		second, err := client.Acquire(soon(t), key, AcquireOptions{TTL: time.Minute, Value: "b"})
		none(t, err)
		s := r.until(t, func(s KeyState) bool { return s.Holders == 2 })
		if s.HeldBy[0].Value != "a" || s.HeldBy[1].Value != "b" || s.MaxHolders != first.MaxHolders() || s.Shared != first.Shared() ||
			s.HeldBy[1].Slot != second.Slot() || s.FencingToken != second.FencingToken() {
			t.Fatalf("%+v", s)
		}
		none(t, first.Proclaim(soon(t), "c"))
		r.until(t, func(s KeyState) bool { return s.Holders == 2 && s.HeldBy[0].Value == "c" })
		second.release(t)
		s = r.until(t, func(s KeyState) bool { return s.Holders == 1 })
		if s.HeldBy[0].FencingToken != first.FencingToken() || s.FencingToken != second.FencingToken() {
			t.Fatalf("%+v", s)
		}
		first.release(t)
		r.until(t, isVacant)
	}
}

// The client's own clean-up must not end the delay.
func TestALostLockStaysTakenForItsDelay(t *testing.T) {
	server := realDaemon(t)
	first, second := realClient(t, server), realClient(t, server)
	lock, err := first.Acquire(soon(t), "k", AcquireOptions{TTL: time.Second, LockDelay: 4 * time.Second})
	none(t, err)
	server.Cut()
	<-lock.Lost()
	lost := time.Now()
	server.Mend()
	is(t, lock.Release(soon(t)), ErrLockLost)
	first.Close()
	acquire(t, second, "k").release(t)
	if took := time.Since(lost); took < 3*time.Second {
		t.Fatalf("granted to another %v after the loss", took)
	}
}
