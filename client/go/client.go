// Package redlockd is a client of redlockd, the lock service.
//
//	client, err := redlockd.New([]string{"10.0.0.1:50051", "10.0.0.2:50051"}, redlockd.Options{})
//	...
//	err = client.Do(ctx, "reports", redlockd.AcquireOptions{TTL: 30 * time.Second},
//		func(ctx context.Context, lock *redlockd.Lock) error {
//			return store.Write(ctx, report, lock.FencingToken()) // ctx ends when the lock is lost
//		})
//
// All locks of a Client share one stream to one daemon, which keeps them alive. If the stream breaks or the daemon shuts
// down, the client moves to the next endpoint, and its locks with it. If the process ends without releasing its locks,
// the daemon releases them after Options.Grace.
//
// Everything may be used from any goroutine.
package redlockd

import (
	"context"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

const (
	defaultTTL     = 30 * time.Second
	defaultGrace   = 5 * time.Second
	releaseTimeout = 2 * time.Second // of Release and Close, which then go on in the background
)

// Options of a Client.
type Options struct {
	TLS   credentials.TransportCredentials // nil: no TLS. Unix sockets never use it.
	Token func() string                    // makes the bearer token of each connection; nil: none
	// How long the daemon keeps the locks after it has heard nothing from this client, at least 100 ms. The client trusts
	// no lock for longer without an answer from a daemon. 0: 5 s.
	Grace time.Duration
}

// AcquireOptions of one acquisition. The context bounds the time to wait.
type AcquireOptions struct {
	TTL   time.Duration // at least 10 ms; 0: 30 s
	Try   bool          // one attempt, no waiting
	Owner string        // a label for people, at most 128 bytes
	// The lock counts as lost when no more than this is left of the time for which it can be trusted. 0: a tenth of the
	// TTL or of the grace, whichever is less, at most 500 ms.
	Margin time.Duration
	// The secret that proves ownership, at most 128 bytes, unique to this hold. "": the client makes one.
	Token    string
	OnQueued func(position int) // called by Acquire with the number of those who wait before it
}

// Client takes locks.
type Client struct {
	driver *driver
	grace  time.Duration
}

// New makes a client, which connects in the background. Endpoints ("host:port" or "unix:/path") are tried in turn.
func New(endpoints []string, options Options) (*Client, error) {
	return newClient(endpoints, options, systemNow, dialGRPC(endpoints, options))
}

func newClient(endpoints []string, options Options, clock func() core.Instant, dial dialer) (*Client, error) {
	if options.Grace == 0 {
		options.Grace = defaultGrace
	}
	switch {
	case len(endpoints) == 0:
		return nil, invalid("endpoints", "must have at least one address such as \"127.0.0.1:50051\"")
	case options.Grace < leastGrace:
		return nil, invalid("grace", "must be at least %v: %v", leastGrace, options.Grace)
	}
	return &Client{newDriver(endpoints, options.Grace, clock, dial), options.Grace}, nil
}

// Acquire waits for the lock until ctx ends; it rides out daemons that restart or cannot be reached. The end of ctx is not
// the end of the lock: call Release. If Acquire returns an error, no lock stays behind.
func (c *Client) Acquire(ctx context.Context, key string, options AcquireOptions) (*Lock, error) {
	if options.TTL == 0 {
		options.TTL = defaultTTL
	}
	if options.Margin == 0 {
		options.Margin = core.DefaultMargin(options.TTL, c.grace)
	}
	if err := checkAcquire(key, options, c.grace); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, endedBy(ctx, key, "the time was over before anything was sent")
	}
	a := newAttempt(c.driver, key, options)
	defer a.leave()
	if err := a.begin(); err != nil {
		return nil, err
	}
	return a.wait(ctx, options.OnQueued)
}

// Do calls work while the lock is held, and releases it. The context of work ends when the lock is lost; the error of Do
// is the loss then. context.Cause gives it inside, from Go 1.20 on.
func (c *Client) Do(ctx context.Context, key string, options AcquireOptions, work func(context.Context, *Lock) error) error {
	lock, err := c.Acquire(ctx, key, options)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release(context.Background()) }()
	inside, cancel := lock.WithContext(ctx)
	defer cancel()
	err = work(inside, lock)
	if loss := lock.Err(); loss != nil {
		return loss
	}
	return err
}

// Close ends all Acquires and releases all locks. It waits up to 2 s for that, which then goes on in the background.
func (c *Client) Close() {
	c.driver.do(func(m *core.Machine, now core.Instant) {
		if !c.driver.closing {
			c.driver.closing = true
			m.Close(now, func() { close(c.driver.over) })
		}
	})
	timer := time.NewTimer(releaseTimeout)
	defer timer.Stop()
	select {
	case <-c.driver.over:
	case <-timer.C:
	}
}
