package redlockdtest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	redlockd "github.com/redlockd/redlockd/client/go"
	"github.com/redlockd/redlockd/client/go/redlockdtest"
)

const long = 30 * time.Second // on a busy machine

func start(t *testing.T) (*redlockdtest.Server, *redlockd.Client) {
	t.Helper()
	if os.Getenv("REDLOCKD") == "" {
		t.Skip("REDLOCKD does not name a daemon")
	}
	server := redlockdtest.Start(t)
	client, err := redlockd.New([]string{server.Endpoint()}, redlockd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return server, client
}

func acquire(t *testing.T, client *redlockd.Client, key string) *redlockd.Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	lock, err := client.Acquire(ctx, key, redlockd.AcquireOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func TestALostLockIsSignalled(t *testing.T) {
	server, client := start(t)
	lock := acquire(t, client, "k")
	if err := server.Lose("k"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lock.Lost():
	case <-time.After(long):
		t.Fatal("no loss")
	}
	if !errors.Is(lock.Err(), redlockd.ErrLockLost) {
		t.Fatal(lock.Err())
	}
}

func TestALockSurvivesRestartsAndResets(t *testing.T) {
	server, client := start(t)
	lock := acquire(t, client, "k")
	for _, disturb := range []func() error{server.Restart, server.Crash, func() error { server.Reset(); return nil }} {
		if err := disturb(); err != nil {
			t.Fatal(err)
		}
		acquire(t, client, "other").Release(context.Background())
		if !lock.Held() {
			t.Fatal("lost: ", lock.Err())
		}
	}
	if err := lock.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestACutStopsAllAndMendEndsIt(t *testing.T) {
	server, client := start(t)
	acquire(t, client, "k")
	server.Cut()
	server.Cut()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := client.Acquire(ctx, "l", redlockd.AcquireOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	server.Mend()
	acquire(t, client, "m")
}

func TestADelayCountsInEachDirection(t *testing.T) {
	server, client := start(t)
	acquire(t, client, "k")
	server.Delay(50 * time.Millisecond)
	begun := time.Now()
	acquire(t, client, "l")
	if took := time.Since(begun); took < 100*time.Millisecond {
		t.Fatal(took)
	}
	server.Mend()
}

func TestCloseLeavesNothing(t *testing.T) {
	if os.Getenv("REDLOCKD") == "" {
		t.Skip("REDLOCKD does not name a daemon")
	}
	server, err := redlockdtest.New(redlockdtest.Options{Args: []string{"--max-waiters-per-key", "1"}})
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	if connection, err := net.Dial("tcp", server.Endpoint()); err == nil {
		connection.Close()
		t.Fatal("the proxy is still there")
	}
}

func TestAMissingProgramIsNamed(t *testing.T) {
	_, err := redlockdtest.New(redlockdtest.Options{Redlockd: "/nowhere/redlockd"})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/redlockd") || !strings.Contains(err.Error(), "Options.Redlockd") {
		t.Fatal(err)
	}
	t.Setenv("REDLOCKD", "/nowhere/else")
	_, err = redlockdtest.New(redlockdtest.Options{})
	if err == nil || !strings.Contains(err.Error(), "REDLOCKD") {
		t.Fatal(err)
	}
}

func TestADaemonThatRefusesItsArgumentsIsReported(t *testing.T) {
	if os.Getenv("REDLOCKD") == "" {
		t.Skip("REDLOCKD does not name a daemon")
	}
	_, err := redlockdtest.New(redlockdtest.Options{Args: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Fatal(err)
	}
}
