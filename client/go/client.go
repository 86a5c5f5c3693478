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
// releases them after Options.Grace. Client.AcquireDetached makes locks that outlive the process. Together makes one key
// of several, which are locked all at once or not at all, Shared a key that many holders share, and Semaphore a key that a
// limited number of holders have. Client.Election elects a leader, and Client.Observe reports who holds a key.
//
// All types are safe for concurrent use. Package redlockdtest starts daemons for tests.
package redlockd

import (
	"context"
	"log/slog"
	"slices"
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
	TLS credentials.TransportCredentials // nil: no TLS. Unix sockets never use it.
	// Token returns the bearer token. The client calls it for each connection, and for each call that does not use the
	// shared stream. Its context ends when the connection or the call is given up. If it fails, so do the calls that
	// wait for the connection, once all endpoints were tried. nil: no token.
	Token func(context.Context) (string, error)
	// Grace is how long the daemon keeps the locks of a silent client, at least 100 ms. The client trusts no lock for
	// longer without an answer from a daemon. 0: 5 s.
	Grace time.Duration
	// Owner is the label of this client's locks, for people who ask who holds a key. At most 128 bytes of UTF-8.
	// "": HOST/PID/PROGRAM.
	Owner string
	// Logger hears of connections that fail or move, of lost locks, and of callbacks that panic. nil: nothing is logged.
	Logger *slog.Logger
}

// Client acquires locks. Make one with New and share it.
type Client struct {
	driver *driver
	calls  *calls
	grace  time.Duration
	owner  string
	log    logger
	ctx    context.Context // ends when the client is closed
	cancel context.CancelFunc
}

// New makes a client, which connects in the background. It tries endpoints ("host:port" or "unix:/path") in turn.
func New(endpoints []string, options Options) (*Client, error) {
	return newClient(endpoints, options, systemNow)
}

func newClient(endpoints []string, options Options, clock func() core.Instant) (*Client, error) {
	if options.Grace == 0 {
		options.Grace = defaultGrace
	}
	if options.Owner == "" {
		options.Owner = defaultOwner()
	}
	if err := checkEndpoints(endpoints); err != nil {
		return nil, err
	}
	if options.Grace < leastGrace {
		return nil, invalid("grace", "must be at least %v, not %v", leastGrace, options.Grace)
	}
	if err := checkText("owner", options.Owner, mostLabel); err != nil {
		return nil, err
	}
	log := newLogger(options.Logger)
	t := &transport{endpoints: slices.Clone(endpoints), tls: options.TLS, token: options.Token, log: log}
	ctx, cancel := context.WithCancel(context.Background())
	return &Client{driver: newDriver(t, options.Grace, clock, log), calls: newCalls(t, clock), grace: options.Grace,
		owner: options.Owner, log: log, ctx: ctx, cancel: cancel}, nil
}

// Do calls work while the lock is held, then releases the lock, with options.KeepFor if it is set. If the lock is lost, the
// context of work ends, its cause is the loss, and Do returns the loss. If work panics, the lock is released first. Do fails
// if work succeeded and no daemon has confirmed in time that the key is kept (options.KeepFor).
func (c *Client) Do(ctx context.Context, key string, options AcquireOptions, work func(context.Context, *Lock) error) (err error) {
	if options.KeepFor != 0 {
		if err := checkKeepFor(options.KeepFor); err != nil {
			return err
		}
	}
	lock, err := c.Acquire(ctx, key, options)
	if err != nil {
		return err
	}
	defer func() {
		if failure := lock.end(context.Background(), options.KeepFor); options.KeepFor != 0 && err == nil {
			err = failure
		}
	}()
	inside, cancel := lock.WithContext(ctx)
	defer cancel()
	err = work(inside, lock)
	if loss := lock.Err(); loss != nil {
		return loss
	}
	return err
}

// Close fails all waiting calls, ends all watches and releases all locks, except detached ones. It waits up to 2 s; after
// that, the releases continue in the background.
func (c *Client) Close() {
	c.cancel()
	c.calls.close()
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
