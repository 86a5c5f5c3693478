// Package redlockd is the Go client of redlockd, the lock service.
//
//	client, err := redlockd.New([]string{"10.0.0.1:50051", "10.0.0.2:50051"}, redlockd.Options{})
//	...
//	err = client.Do(ctx, "reports", redlockd.AcquireOptions{TTL: 30 * time.Second},
//		func(ctx context.Context, lock *redlockd.Lock) error {
//			return store.Write(ctx, report, lock.FencingToken()) // ctx ends when the lock is lost
//		})
//
// All locks of a Client share one stream to one daemon, which keeps them alive. If the stream breaks or the daemon shuts
// down, the client moves its locks to the next endpoint. If the process ends without releasing its locks, the daemon
// releases them after Options.Grace.
//
// All types are safe for concurrent use.
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
	releaseTimeout = 2 * time.Second // of Release and Close, which then continue in the background
)

// Options configures a Client.
type Options struct {
	TLS   credentials.TransportCredentials // nil: no TLS. Unix sockets never use it.
	Token func() string                    // returns the bearer token for each connection; nil: none
	// Grace is how long the daemon keeps the locks of a silent client, at least 100 ms. The client trusts no lock for
	// longer without an answer from a daemon. 0: 5 s.
	Grace time.Duration
}

// AcquireOptions configures one acquisition. The context bounds the time to wait.
type AcquireOptions struct {
	TTL   time.Duration // at least 10 ms; 0: 30 s
	Try   bool          // one attempt, no waiting
	Owner string        // a label for humans, at most 128 bytes
	// Margin: the lock counts as lost when at most this much is left of the time for which it can be trusted. At most a
	// third of the TTL or of Options.Grace, whichever is less. 0: a tenth of the TTL or of Options.Grace, whichever is
	// less, and at most 500 ms.
	Margin time.Duration
	// Token is the owner token, the secret that proves ownership. At most 128 bytes, unique to this hold. "": the client
	// makes one.
	Token    string
	OnQueued func(position int) // called by Acquire with the number of waiters ahead in the daemon's wait queue
}

// Client acquires locks. Make one with New and share it.
type Client struct {
	driver *driver
	grace  time.Duration
}

// New makes a client, which connects in the background. It tries endpoints ("host:port" or "unix:/path") in turn.
func New(endpoints []string, options Options) (*Client, error) {
	return newClient(endpoints, options, systemNow, dialGRPC(endpoints, options))
}

func newClient(endpoints []string, options Options, clock func() core.Instant, dial dialer) (*Client, error) {
	if options.Grace == 0 {
		options.Grace = defaultGrace
	}
	if err := checkEndpoints(endpoints); err != nil {
		return nil, err
	}
	if options.Grace < leastGrace {
		return nil, invalid("grace", "must be at least %v, not %v", leastGrace, options.Grace)
	}
	return &Client{newDriver(endpoints, options.Grace, clock, dial), options.Grace}, nil
}

// Acquire waits for the lock until ctx ends, and retries while daemons restart or cannot be reached. The end of ctx does
// not release an acquired lock: call Release. If Acquire returns an error, no lock is left behind.
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
		return nil, endedBy(ctx, key, "the deadline passed before the request was sent")
	}
	a := newAttempt(c.driver, key, options)
	defer a.leave()
	if err := a.begin(); err != nil {
		return nil, err
	}
	return a.wait(ctx, options.OnQueued)
}

// Do calls work while the lock is held, then releases the lock. If the lock is lost, the context of work ends and Do
// returns the loss. With Go 1.20 and newer, context.Cause returns the loss inside work.
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

// Close fails all waiting Acquire calls and releases all locks. It waits up to 2 s; after that, the releases continue in
// the background.
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
