package redlockd

import (
	"context"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

const (
	connectTimeout = 2 * time.Second // to one endpoint
	callTimeout    = 5 * time.Second // of Extend and Release by key and token, if their context has no deadline
	leastPause     = 50 * time.Millisecond
	mostPause      = time.Second
)

// calls makes the calls that do not use the Session. Each moves through the endpoints until one answers.
type calls struct {
	transport *transport
	clock     func() core.Instant

	mutex       sync.Mutex
	connections []*grpc.ClientConn // by endpoint; nil: not opened yet
	current     int                // the endpoint of the last connection that was used; a release follows its acquire there
	users       int                // calls under way, also in the background
	closed      bool
}

func newCalls(t *transport, clock func() core.Instant) *calls {
	return &calls{transport: t, clock: clock, connections: make([]*grpc.ClientConn, t.count())}
}

// enter must be called before a call, and leave after it. It fails once the client is closed, except for calls that
// continue in the background.
func (c *calls) enter(background bool) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed && !background {
		return false
	}
	c.users++
	return true
}

func (c *calls) leave() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.users--
	c.closeUnused()
}

func (c *calls) close() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.closed = true
	c.closeUnused()
}

func (c *calls) closeUnused() {
	if !c.closed || c.users > 0 {
		return
	}
	for i, connection := range c.connections {
		if connection != nil {
			_ = connection.Close()
			c.connections[i] = nil
		}
	}
}

func (c *calls) connection(endpoint int) (*grpc.ClientConn, *core.Failure) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.connections[endpoint] == nil {
		connection, failure := c.transport.unary(endpoint)
		if failure != nil {
			return nil, failure
		}
		c.connections[endpoint] = connection
	}
	return c.connections[endpoint], nil
}

func (c *calls) first() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.current
}

func (c *calls) prefer(endpoint int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.current = endpoint
}

// stub returns a stub of the endpoint, once there is a connection. If there is none, the first call fails at once.
func (c *calls) stub(ctx context.Context, endpoint int) (pb.LockServiceClient, *core.Failure) {
	connection, failure := c.connection(endpoint)
	if failure != nil {
		return nil, failure
	}
	bounded, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	// gRPC reads a map in ResetConnectBackoff while the first attempt to connect may write it.
	if connection.GetState() == connectivity.TransientFailure {
		connection.ResetConnectBackoff()
	}
	for state := connection.GetState(); state != connectivity.Ready && state != connectivity.TransientFailure; state = connection.GetState() {
		connection.Connect()
		if !connection.WaitForStateChange(bounded, state) {
			return nil, &core.Failure{Reason: core.Unreachable, Message: "there is no connection yet"}
		}
	}
	return pb.NewLockServiceClient(connection), nil
}

// open returns what a call to the endpoint needs: an authorized context, and a stub.
func (c *calls) open(ctx context.Context, endpoint int) (context.Context, pb.LockServiceClient, *core.Failure) {
	stub, failure := c.stub(ctx, endpoint)
	if failure != nil {
		return nil, nil, failure
	}
	authorized, failure := c.transport.authorize(ctx)
	return authorized, stub, failure
}

// A stream that ends sooner counts as a failure.
const leastUse = time.Second

// follow keeps a stream open: it calls stream for one endpoint after the other, until ctx ends or stream returns false.
func (c *calls) follow(ctx context.Context, stream func(endpoint int) (more bool)) {
	endpoint, failures, pause := c.first(), 0, leastPause
	for {
		begun := time.Now()
		if !stream(endpoint) || ctx.Err() != nil {
			return
		}
		endpoint = (endpoint + 1) % c.transport.count()
		if time.Since(begun) >= leastUse {
			failures, pause = 0, leastPause
			continue
		}
		failures++
		if failures%c.transport.count() == 0 {
			sleep(ctx, pause/2+mathrand.N(pause/2))
			pause = min(2*pause, mostPause)
		}
	}
}

// result is the outcome of one call to one endpoint.
type result struct {
	failure *core.Failure // nil: it succeeded
	unsure  bool          // the daemon may have carried out the call
}

// decided reports whether another endpoint would not change the result.
func (r result) decided() bool {
	return r.failure == nil || !r.unsure && r.failure.Reason != core.Unreachable && r.failure.Reason != core.Draining &&
		r.failure.Reason != core.Overloaded
}

// undecidedError is the error of a unaryCall to which too few nodes have answered, and which the daemon does not repeat.
type undecidedError struct {
	error
	failure *core.Failure
}

// unaryCall is one call to one endpoint. again: an earlier copy may have been carried out.
type unaryCall func(ctx context.Context, stub pb.LockServiceClient, again bool) error

// run makes a call until an endpoint decides it or ctx ends. If `once`, it tries each endpoint once. share: each try gets
// at most half of the time that is left, so that there is time for another endpoint.
func (c *calls) run(ctx context.Context, once, share bool, call unaryCall) (last result) {
	pause, unsure := leastPause, false
	for endpoint := c.first(); ; {
		for range c.transport.count() {
			last = c.try(ctx, endpoint, share && c.transport.count() > 1, unsure, call)
			unsure = unsure || last.unsure
			last.unsure = unsure
			if last.decided() || ctx.Err() != nil {
				return last
			}
			endpoint = (endpoint + 1) % c.transport.count()
		}
		if once {
			return last
		}
		wait := pause/2 + mathrand.N(pause/2)
		if last.failure.RetryAfter > wait {
			wait = last.failure.RetryAfter
		}
		if !sleep(ctx, wait) {
			return last
		}
		pause = min(2*pause, mostPause)
	}
}

func (c *calls) try(ctx context.Context, endpoint int, share, again bool, call unaryCall) result {
	if share {
		if deadline, bounded := ctx.Deadline(); bounded {
			half, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
			defer cancel()
			ctx = half
		}
	}
	authorized, stub, failure := c.open(ctx, endpoint)
	if failure != nil {
		failure.Message = c.transport.name(endpoint) + ": " + failure.Message
		return result{failure: failure}
	}
	c.prefer(endpoint)
	err := call(authorized, stub, again)
	if err == nil {
		return result{}
	}
	if undecided, ok := err.(undecidedError); ok {
		return result{failure: undecided.failure, unsure: true}
	}
	if failure = reportedBy(err); failure != nil {
		// A shared deadline is not the caller's: another endpoint may still succeed.
		return result{failure: failure, unsure: share && failure.Reason == core.DeadlineExceeded}
	}
	failure = brokenBy(err)
	failure.Message = c.transport.name(endpoint) + ": " + failure.Message
	switch status.Code(err) {
	case codes.DeadlineExceeded: // by the client, whose clock the daemon's answer missed
		failure = &core.Failure{Reason: core.DeadlineExceeded, Message: c.transport.name(endpoint) + ": no answer in time"}
		return result{failure: failure, unsure: true}
	case codes.Canceled, codes.Unavailable, codes.Internal, codes.Unknown:
		return result{failure: failure, unsure: true}
	}
	return result{failure: failure}
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
