// Package redlockd is a client of redlockd, the lock service.
//
//	client, err := redlockd.New([]string{"10.0.0.1:50051", "10.0.0.2:50051"}, redlockd.Options{})
//	...
//	err = client.Do(ctx, "reports", redlockd.AcquireOptions{TTL: 30 * time.Second},
//		func(ctx context.Context, lock *redlockd.Lock) error {
//			return store.Write(ctx, report, lock.FencingToken) // ctx ends when the lock is lost
//		})
//
// A lock has a stream of its own (Session), in which the daemon keeps it alive. Where the stream
// breaks or the daemon shuts down, the lock is taken along to the next endpoint, if nobody else has
// had it since. Everything may be used from any goroutine.
package redlockd

import (
	"context"
	"errors"
	"math/rand"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "redlockd/redlockv1"
)

const (
	pause        = 50 * time.Millisecond
	longestPause = time.Second
	mostMargin   = 500 * time.Millisecond
	defaultTTL   = 30 * time.Second
)

// Options of a Client.
type Options struct {
	TLS   credentials.TransportCredentials // nil: no TLS
	Token func() string                    // a bearer token; nil: none
}

// AcquireOptions of one acquisition. How long to wait is up to the context.
type AcquireOptions struct {
	TTL   time.Duration // 0: 30 s
	Try   bool          // one attempt, no waiting
	Owner string        // a label for people, at most 128 bytes
	// The lock counts as lost when no more than this is left of its validity. 0: a tenth of the TTL,
	// at most 500 ms.
	Margin   time.Duration
	OnQueued func(position int) // hears how many are before it
}

// Client takes locks.
type Client struct {
	options Options
	targets []target

	mutex   sync.Mutex
	current int
	locks   map[*Lock]struct{}
}

type target struct {
	endpoint   string
	connection *grpc.ClientConn
	stub       pb.LockServiceClient
}

// New connects in the background. Endpoints ("host:port" or "unix:/path") are tried in turn.
func New(endpoints []string, options Options) (*Client, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("endpoints: there is none")
	}
	c := &Client{options: options, locks: map[*Lock]struct{}{}}
	for _, endpoint := range endpoints {
		dial := []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{})),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTimeout,
				Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}}),
		}
		if options.TLS != nil && !strings.HasPrefix(endpoint, "unix:") {
			dial = append(dial, grpc.WithTransportCredentials(options.TLS))
		} else {
			dial = append(dial, grpc.WithInsecure())
		}
		connection, err := grpc.Dial(endpoint, dial...)
		if err != nil {
			return nil, err
		}
		c.targets = append(c.targets, target{endpoint, connection, pb.NewLockServiceClient(connection)})
	}
	return c, nil
}

// Acquire waits for the lock until ctx ends, which is not the lock's end. Release it.
func (c *Client) Acquire(ctx context.Context, key string, options AcquireOptions) (*Lock, error) {
	if options.TTL == 0 {
		options.TTL = defaultTTL
	}
	if options.Margin == 0 {
		options.Margin = least(options.TTL/10, mostMargin)
	}
	request := &pb.AcquireRequest{Key: key, Ttl: durationpb.New(options.TTL), Owner: options.Owner}
	if options.Try {
		request.Retry = &pb.RetryPolicy{MaxRetries: new(int32)}
	}
	failures, between, wasThere := 0, pause, false
	var last *Error
	for {
		if ctx.Err() != nil {
			if last != nil {
				return nil, last
			}
			return nil, ended(ctx, key)
		}
		lock, gone, err := c.acquireOnce(ctx, key, request, options)
		switch {
		case err != nil && err.Reason == Overloaded && !options.Try:
			sleep(ctx, longer(err.RetryAfter, pause))
		case err != nil:
			return nil, err
		case gone != nil:
			if gone.Reason == Unauthenticated || gone.Reason == PermissionDenied {
				return nil, gone.Error
			}
			last = nil
			if !gone.orderly {
				last = gone.Error
			}
			wasThere = wasThere || gone.orderly
			failures++
			c.next()
			if failures < len(c.targets) {
				continue
			}
			if !wasThere && last != nil && ctx.Err() == nil {
				return nil, last
			}
			sleep(ctx, about(between))
			between = least(between*2, longestPause)
		default:
			return lock, nil
		}
	}
}

// One stream: the lock, or why the stream ended, or why there is no lock.
func (c *Client) acquireOnce(ctx context.Context, key string, request *pb.AcquireRequest, options AcquireOptions) (*Lock, *broken, *Error) {
	s, gone := c.stream(ctx, options.TTL)
	if gone != nil {
		if ctx.Err() != nil {
			return nil, nil, ended(ctx, key)
		}
		return nil, gone, nil
	}
	s.send(&pb.SessionOperation{Id: acquire, Operation: &pb.SessionOperation_Acquire{Acquire: request}})
	for {
		select {
		case m := <-s.in:
			if options.OnQueued != nil {
				for _, position := range m.GetPositions() {
					options.OnQueued(int(position.GetPosition()))
				}
			}
			result := m.result(acquire)
			if result.GetLease() != nil {
				return newLock(c, key, options, s, result.GetLease(), m), nil, nil
			}
			if result.GetStatus() != nil && result.GetStatus().GetReason() != Draining {
				s.cancel()
				return nil, nil, errorOf(result.GetStatus())
			}
			if m.err != nil {
				s.cancel()
				return nil, m.err, nil
			}
		case <-ctx.Done():
			s.cancel() // the daemon gives up, or back
			return nil, nil, ended(ctx, key)
		}
	}
}

// Do calls work while the lock is held, and releases it. Work's context ends when the lock is lost;
// then the error is the loss.
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

// Close releases all locks.
func (c *Client) Close() {
	c.mutex.Lock()
	locks := make([]*Lock, 0, len(c.locks))
	for lock := range c.locks {
		locks = append(locks, lock)
	}
	c.mutex.Unlock()
	for _, lock := range locks {
		lock.abandon(&Error{Reason: Canceled, Message: "the client was closed"})
		<-lock.ended
	}
	for _, target := range c.targets {
		_ = target.connection.Close()
	}
}

func (c *Client) stream(ctx context.Context, ttl time.Duration) (*stream, *broken) {
	c.mutex.Lock()
	to := c.targets[c.current]
	c.mutex.Unlock()
	token := ""
	if c.options.Token != nil {
		token = c.options.Token()
	}
	return open(ctx, to.stub, to.endpoint, token, ttl)
}

func (c *Client) next() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.current = (c.current + 1) % len(c.targets)
}

func sleep(ctx context.Context, duration time.Duration) {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func about(d time.Duration) time.Duration { return d/2 + time.Duration(rand.Int63n(int64(d/2)+1)) }

func least(a, b time.Duration) time.Duration {
	if a < b {
		return a
	}
	return b
}

func longer(a, b time.Duration) time.Duration {
	if a > b {
		return a
	}
	return b
}
