package redlockd

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestALockIsDowngraded(t *testing.T) {
	server := realDaemon(t)
	first, second := realClient(t, server), realClient(t, server)
	ctx := soon(t)
	for _, key := range []string{"k", Together("a", "b")} {
		for _, token := range []string{"", own} {
			func() {
				writer, err := first.Acquire(ctx, key, AcquireOptions{TTL: time.Minute, Token: token})
				none(t, err)
				defer writer.release(t)
				work, cancel := writer.WithContext(ctx)
				defer cancel()
				share, err := writer.Downgrade(ctx)
				none(t, err)
				defer share.release(t)

				if share == writer || !share.Shared() || share.Key() != Shared(key) || share.Token() != writer.Token() ||
					share.FencingToken() < writer.FencingToken() || share.Validity() == 0 {
					t.Fatal(share, share.Validity())
				}
				acquire(t, second, Shared(key)).release(t)
				_, err = second.TryAcquire(ctx, key, AcquireOptions{})
				is(t, err, ErrAlreadyHeld)

				none(t, writer.Release(ctx))
				is(t, writer.Extend(ctx, time.Minute), ErrNotHeld)
				_, err = writer.Downgrade(ctx)
				is(t, err, ErrNotHeld)
				select {
				case <-writer.Lost():
					t.Error("the loss of the downgraded lock is signalled")
				case <-work.Done(): // as by a release
					t.Error("the context of the downgraded lock has ended")
				default:
				}
				if writer.Held() || writer.Err() != nil {
					t.Error(writer, writer.Err())
				}
				same, err := first.Adopt(ctx, Shared(key), share.Token(), AdoptOptions{})
				none(t, err)
				if same != share {
					t.Error("a second Lock for the same lease")
				}
			}()
			acquire(t, second, key).release(t)
		}
	}
}

func TestOnlyAnExclusiveLockIsDowngraded(t *testing.T) {
	c := newTestClient(t, Options{}, startDaemon(t))
	for _, key := range []string{Shared("k"), Semaphore("s", 3)} {
		lock := acquire(t, c, key)
		_, err := lock.Downgrade(background)
		is(t, err, ErrInvalidArgument)
		if !lock.Held() || !strings.Contains(err.Error(), lock.Keys()[0]+": only an exclusive lock can be downgraded") {
			t.Error(lock, err)
		}
	}
}

func TestADowngradeWhoseContextEndsLeavesNoLock(t *testing.T) {
	server := realDaemon(t)
	first, second := realClient(t, server), realClient(t, server)
	cancelled, cancel := context.WithCancel(background)
	cancel()
	late, cancel := context.WithDeadline(background, time.Now())
	defer cancel()
	for _, ended := range []context.Context{cancelled, late} {
		for token, ending := range map[string]string{
			"":         "; the lock is being released",
			newToken(): "; the lock is being released, and its token must not be used again",
		} {
			writer, err := first.Acquire(soon(t), "k", AcquireOptions{TTL: 5 * time.Minute, Token: token})
			none(t, err)
			_, err = writer.Downgrade(ended)
			is(t, err, ended.Err())
			if !strings.HasPrefix(err.Error(), "k: ") || !strings.HasSuffix(err.Error(), ending) || writer.Held() {
				t.Fatal(err, writer)
			}
			none(t, writer.Release(soon(t)))
			acquire(t, second, "k").release(t)
		}
	}
}

func TestTheTokenIsInUseDuringADowngrade(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	for _, options := range []AcquireOptions{{}, {Token: own}} {
		writer, err := c.Acquire(soon(t), "k", options)
		none(t, err)
		d.set(func() { d.mute = true })
		ctx, cancel := context.WithCancel(background)
		ended := make(chan error)
		go func() {
			_, err := writer.Downgrade(ctx)
			ended <- err
		}()
		eventually(t, "the downgrade has begun", func() bool { return !writer.Held() })
		for _, key := range []string{"k", Shared("k")} {
			_, err := c.Acquire(soon(t), key, AcquireOptions{Token: writer.Token()})
			is(t, err, ErrInvalidArgument)
			_, err = c.AcquireOrExtend(soon(t), key, writer.Token(), AcquireOptions{})
			is(t, err, ErrInvalidArgument)
			_, err = c.Adopt(soon(t), key, writer.Token(), AdoptOptions{})
			is(t, err, ErrInvalidArgument)
		}
		cancel()
		is(t, <-ended, ErrCanceled)
		d.set(func() { d.mute, d.holders = false, map[string]string{} })
	}
}

func TestADowngradeEndsWithTheTrust(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	writer, err := c.Acquire(soon(t), "k", AcquireOptions{TTL: 200 * time.Millisecond})
	none(t, err)
	d.set(func() { d.mute = true })
	_, err = writer.Downgrade(soon(t))
	is(t, err, ErrTimeout)
}

func TestCloseEndsADowngrade(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	writer := acquire(t, c, "k")
	d.set(func() { d.mute = true })
	ended := make(chan error)
	go func() {
		_, err := writer.Downgrade(soon(t))
		ended <- err
	}()
	eventually(t, "the downgrade has begun", func() bool { return !writer.Held() })
	go c.Close()
	err := <-ended
	is(t, err, ErrCanceled)
	if !strings.HasSuffix(err.Error(), "the client was closed; the lock is being released") {
		t.Error(err)
	}
}
