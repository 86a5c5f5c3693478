package redlockd

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// logged collects what is logged.
type logged struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *logged) Write(text []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(text)
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logged) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

func (l *logged) contains(t *testing.T, what string) {
	t.Helper()
	eventually(t, "logged: "+what, func() bool { return strings.Contains(l.String(), what) })
}

func TestFailoverLossAndReconnectAreLogged(t *testing.T) {
	first, second, log := startDaemon(t), startDaemon(t), &logged{}
	second.holders = first.holders
	c := newTestClient(t, Options{Logger: log.logger()}, first, second)
	lock := acquire(t, c, "k")
	log.contains(t, "connected\" endpoint="+first.address)
	first.server.Stop()
	log.contains(t, "the client moves to the next endpoint\" endpoint="+first.address)
	log.contains(t, "connected\" endpoint="+second.address)
	eventually(t, "logged: the loss", func() bool { // before the second daemon has adopted the lock, its events do not count
		second.send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_LOST, Key: "k", Lease: &pb.Lease{Key: "k", Token: lock.Token()}})
		return strings.Contains(log.String(), "a lock was lost\" key=k")
	})
	if strings.Contains(log.String(), lock.Token()) {
		t.Fatal("the token is logged")
	}
}

// A handler is the caller's code: it may panic, and it may call the client.
func TestAHandlerThatPanicsIsContained(t *testing.T) {
	d := startDaemon(t)
	c := newTestClient(t, Options{Logger: slog.New(panicking{slog.DiscardHandler})}, d)
	lock := acquire(t, c, "k")
	d.send(&pb.WatchResponse{Type: pb.EventType_EVENT_TYPE_LOST, Key: "k", Lease: &pb.Lease{Key: "k", Token: lock.Token()}})
	<-lock.Lost()
	acquire(t, c, "l")
}

type panicking struct{ slog.Handler }

func (panicking) Enabled(_ context.Context, _ slog.Level) bool { panic("the handler") }

func TestNothingIsPrintedWithoutALogger(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, stdout, preset := os.Stderr, os.Stdout, slog.Default()
	defer func() { os.Stderr, os.Stdout = stderr, stdout; slog.SetDefault(preset) }()
	os.Stderr, os.Stdout = write, write
	slog.SetDefault(slog.New(slog.NewTextHandler(write, nil)))
	d := startDaemon(t)
	c := newTestClient(t, Options{}, d)
	acquire(t, c, "k")
	d.server.Stop()
	c.Close()
	_ = write.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(read); err != nil || text.Len() > 0 {
		t.Fatal(err, text.String())
	}
}
