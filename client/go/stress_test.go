package redlockd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redlockd/redlockd/client/go/redlockdtest"
)

// realDaemon starts the daemon named by REDLOCKD, with its own nodes.
func realDaemon(t *testing.T) *redlockdtest.Server {
	t.Helper()
	if os.Getenv("REDLOCKD") == "" {
		t.Skip("REDLOCKD does not name a daemon")
	}
	return redlockdtest.Start(t)
}

func realClient(t *testing.T, server *redlockdtest.Server) *Client {
	t.Helper()
	client, err := New([]string{server.Endpoint()}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// rounds returns how often a stress test repeats: `normally`, times the environment variable REDLOCKD_STRESS.
func rounds(normally int) int {
	if times, err := strconv.Atoi(os.Getenv("REDLOCKD_STRESS")); err == nil {
		return normally * times
	}
	return normally
}

// The contexts of acquisitions end at any moment: before, while and after the daemon decides.
func TestCancellingAtAnyMomentLeavesNoLock(t *testing.T) {
	client := realClient(t, realDaemon(t))
	for name, acquire := range map[string]func(context.Context, string) (release func(), err error){
		"acquire": func(ctx context.Context, key string) (func(), error) {
			lock, err := client.Acquire(ctx, key, AcquireOptions{TTL: time.Minute})
			return func() { lock.release(t) }, err
		},
		"acquire or extend": func(ctx context.Context, key string) (func(), error) {
			lock, err := client.AcquireOrExtend(ctx, key, newToken(), AcquireOptions{TTL: time.Minute})
			return func() { lock.release(t) }, err
		},
		"acquire detached": func(ctx context.Context, key string) (func(), error) {
			lease, err := client.AcquireDetached(ctx, key, AcquireOptions{TTL: time.Minute})
			return func() {
				if err := client.Release(background, key, lease.Token()); err != nil {
					t.Error(err)
				}
			}, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			// How long a cycle takes depends on the machine, so later moments are tried until both sides are hit.
			for longest := 200 * time.Millisecond; longest < 20*time.Second; longest *= 4 {
				granted, gone := cancelAtAnyMoment(t, client, name, longest, acquire)
				t.Logf("%d granted, %d ended", granted, gone)
				if granted >= 20 && gone >= 20 {
					return
				}
			}
			t.Error("the moments do not hit both sides")
		})
	}
}

// cancelAtAnyMoment returns how many acquisitions were granted, and how many ended before.
func cancelAtAnyMoment(t *testing.T, client *Client, prefix string, longest time.Duration,
	acquire func(context.Context, string) (func(), error)) (int64, int64) {
	t.Helper()
	const workers, keys = 16, 16
	granted, gone := atomic.Int64{}, atomic.Int64{}
	var all sync.WaitGroup
	for i := range workers {
		random := rand.New(rand.NewSource(int64(i)))
		all.Go(func() {
			for range rounds(40) {
				ctx, cancel := context.WithCancel(background)
				moment := time.Duration(math.Exp2(-11*random.Float64()) * float64(longest))
				if random.Intn(2) == 0 {
					ctx, cancel = context.WithTimeout(background, moment)
				} else {
					time.AfterFunc(moment, cancel)
				}
				release, err := acquire(ctx, fmt.Sprint(prefix, random.Intn(keys)))
				cancel()
				switch {
				case err == nil:
					release()
					granted.Add(1)
				case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
					gone.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range keys { // far sooner than the TTL
		ctx, cancel := context.WithTimeout(background, 10*time.Second)
		lock, err := client.Acquire(ctx, fmt.Sprint(prefix, i), AcquireOptions{})
		cancel()
		if err != nil {
			t.Errorf("a lock was left: %v", err)
			continue
		}
		lock.release(t)
	}
	return granted.Load(), gone.Load()
}

// Extensions, releases and the close of one client run concurrently.
func TestExtendReleaseAndCloseDoNotHangTogether(t *testing.T) {
	server := realDaemon(t)
	for range rounds(10) {
		client, err := New([]string{server.Endpoint()}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for j := 0; j < 8; j++ {
			lock := acquire(t, client, fmt.Sprint("key", j))
			all.Add(2)
			go func() { defer all.Done(); _ = lock.Extend(background, time.Minute) }()
			go func() { defer all.Done(); _ = lock.Release(background) }()
		}
		begun := time.Now()
		client.Close()
		all.Wait()
		if took := time.Since(begun); took > 2500*time.Millisecond {
			t.Fatalf("took %v", took)
		}
	}
}

func (l *Lock) release(t *testing.T) {
	t.Helper()
	if err := l.Release(background); err != nil {
		t.Error(err)
	}
}
