package redlockd

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// realDaemon starts the daemon named by REDLOCKD, with its own nodes.
func realDaemon(t *testing.T) string {
	program := os.Getenv("REDLOCKD")
	if program == "" {
		t.Skip("REDLOCKD does not name a daemon")
	}
	socket := "unix:" + filepath.Join(t.TempDir(), "socket")
	daemon := exec.Command(program, "--dev", "--listen", socket, "--log-level", "error", "--node-timeout", "2s")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
	})
	return socket
}

// The contexts of acquisitions end at any moment: before, while and after the daemon decides.
func TestCancellingAtAnyMomentLeavesNoLock(t *testing.T) {
	socket := realDaemon(t)
	client, err := New([]string{socket}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	acquire(t, client, "warm-up").release(t)

	const workers, rounds, keys = 16, 100, 16
	granted, cancelled := make(chan int, workers), make(chan int, workers)
	var all sync.WaitGroup
	for i := 0; i < workers; i++ {
		random := rand.New(rand.NewSource(int64(i)))
		all.Add(1)
		go func() {
			defer all.Done()
			got, gone := 0, 0
			for j := 0; j < rounds; j++ {
				ctx, cancel := context.WithCancel(background)
				moment := time.Duration(random.Int63n(int64(8 * time.Millisecond)))
				timer := time.AfterFunc(moment, cancel)
				lock, err := client.Acquire(ctx, fmt.Sprint("key", random.Intn(keys)), AcquireOptions{TTL: time.Minute})
				timer.Stop()
				cancel()
				switch {
				case err == nil:
					lock.release(t)
					got++
				case ReasonOf(err) == Canceled:
					gone++
				default:
					t.Error(err)
				}
			}
			granted <- got
			cancelled <- gone
		}()
	}
	all.Wait()
	got, gone := 0, 0
	for i := 0; i < workers; i++ {
		got, gone = got+<-granted, gone+<-cancelled
	}
	t.Logf("%d granted, %d cancelled", got, gone)
	if got < 50 || gone < 50 {
		t.Error("the moments do not hit both sides")
	}
	for i := 0; i < keys; i++ { // far sooner than the TTL
		ctx, cancel := context.WithTimeout(background, 3*time.Second)
		lock, err := client.Acquire(ctx, fmt.Sprint("key", i), AcquireOptions{})
		cancel()
		if err != nil {
			t.Errorf("a lock was left: %v", err)
			continue
		}
		lock.release(t)
	}
}

// Extensions, releases and the close of one client run concurrently.
func TestExtendReleaseAndCloseDoNotHangTogether(t *testing.T) {
	socket := realDaemon(t)
	for i := 0; i < 20; i++ {
		client, err := New([]string{socket}, Options{})
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
		if took := time.Since(begun); took > time.Second {
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
