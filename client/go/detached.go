package redlockd

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// After a call that may still be under way was cancelled, its release is repeated once after this time.
const releaseAgain = time.Second

// AcquireDetached acquires a lock that outlives the process and that no client extends: it expires after options.TTL.
// Its keys and token can be handed to another process, which can extend, release or adopt it. AcquireDetached waits until
// ctx ends. options.Margin, options.KeepFor and options.OnQueued have no effect.
//
// If AcquireDetached returns an error, the client releases in the background what a daemon may have acquired, also after
// Close, until a daemon has answered or the TTL has passed. Do not use options.Token again then: that release would end
// a later lock of the same token. The errors are those of Acquire.
func (c *Client) AcquireDetached(ctx context.Context, key string, options AcquireOptions) (Lease, error) {
	options.Margin = 0
	options = c.withDefaults(options)
	if options.Token == "" {
		options.Token = newToken()
	}
	what := c.request(core.Key(key), options)
	if err := checkAcquire(core.Key(key), options, c.grace); err != nil {
		return Lease{}, err
	}
	if err := checkAnySlot(core.Key(key)); err != nil {
		return Lease{}, err
	}
	if ctx.Err() != nil {
		return Lease{}, endedBy(ctx, what.Key, "the deadline passed before the request was sent")
	}
	if !c.calls.enter(false) {
		return Lease{}, closedError(what.Key)
	}
	defer c.calls.leave()
	ctx, cancel := c.untilClosed(ctx)
	defer cancel()

	one, several := what.Key.Fields()
	request := &pb.AcquireRequest{Key: one, Keys: several, Mode: what.Key.Mode(), MaxHolders: int32(what.Key.MaxHolders()),
		Token: &options.Token, Ttl: durationpb.New(options.TTL), Owner: options.Owner, Value: options.Value,
		LockDelay: core.Optional(options.LockDelay), Retry: what.Retry}
	if what.Try {
		request.Retry = (&RetryPolicy{}).message()
	}
	var lease Lease
	got := c.calls.run(ctx, what.Try, false, func(ctx context.Context, stub pb.LockServiceClient, again bool) error {
		request.ExtendIfHeld = again
		sent := c.calls.clock()
		response, err := stub.Acquire(ctx, request)
		if err == nil {
			// The daemon granted the lock no earlier than after it had waited for it.
			waited := response.GetWaited().AsDuration()
			lease = c.leaseOf(response.GetLease(), sent.Add(waited-core.Drift(waited)))
		}
		return err
	})
	if got.failure == nil && lease.Validity() == 0 {
		got = result{&core.Failure{Reason: core.ValidityExpired,
			Message: "the lock was granted, but its validity had ended when the answer was read"}, true}
	}
	if got.failure == nil {
		return lease, nil
	}
	if got.unsure {
		c.releaseInBackground(what.Key, options.Token, options.TTL+options.LockDelay)
	}
	if ctx.Err() == context.DeadlineExceeded || got.failure.Reason == core.DeadlineExceeded {
		got.failure = got.failure.EndOfWait()
	}
	return Lease{}, c.callError(ctx, what.Key, got.failure)
}

// Extend extends a lock by its key and token to ttl from now, at least 10 ms. The daemon retries while too few nodes
// answer. Without a deadline in ctx, Extend takes at most 5 s. It returns ErrNotHeld if the token does not hold the key.
// Of a semaphore, it extends the slot that token holds. A key that names a slot (see Slot) extends no other.
func (c *Client) Extend(ctx context.Context, key, token string, ttl time.Duration) (Lease, error) {
	return c.extend(ctx, core.Key(key), token, ttl, nil)
}

// TryExtend is Extend with a single attempt.
func (c *Client) TryExtend(ctx context.Context, key, token string, ttl time.Duration) (Lease, error) {
	return c.extend(ctx, core.Key(key), token, ttl, &RetryPolicy{})
}

// ExtendWithRetry is Extend with a retry policy for attempts to which too few nodes have answered.
func (c *Client) ExtendWithRetry(ctx context.Context, key, token string, ttl time.Duration, retry RetryPolicy) (Lease, error) {
	return c.extend(ctx, core.Key(key), token, ttl, &retry)
}

func (c *Client) extend(ctx context.Context, key core.Key, token string, ttl time.Duration, retry *RetryPolicy) (lease Lease, err error) {
	if err := checkTTL(ttl); err != nil {
		return Lease{}, err
	}
	if err := retry.check(); err != nil {
		return Lease{}, err
	}
	one, several := key.Fields()
	slot, _ := key.Slot()
	request := &pb.ExtendRequest{Key: one, Keys: several, Mode: key.Mode(), MaxHolders: int32(key.MaxHolders()), Slot: int32(slot),
		Token: token, Ttl: durationpb.New(ttl), Retry: retry.message()}
	err = c.byToken(ctx, key, token, func(ctx context.Context, stub pb.LockServiceClient, _ bool) error {
		sent := c.calls.clock()
		response, err := stub.Extend(ctx, request)
		if err == nil {
			lease = c.leaseOf(response.GetLease(), sent)
		}
		return err
	})
	return lease, err
}

// Proclaim replaces the value that a lock publishes, by its key and token: see Lock.Proclaim. Without a deadline in ctx, it
// takes at most 5 s. It returns ErrNotHeld if the token does not hold the key.
func (c *Client) Proclaim(ctx context.Context, key, token, value string) error {
	if err := checkText("value", value, mostValue); err != nil {
		return err
	}
	request := proclaimRequest(core.Key(key), token, value)
	return c.byToken(ctx, core.Key(key), token, func(ctx context.Context, stub pb.LockServiceClient, _ bool) error {
		return proclaim(ctx, stub, request)
	})
}

func proclaim(ctx context.Context, stub pb.LockServiceClient, request *pb.ProclaimRequest) error {
	_, err := stub.Proclaim(ctx, request)
	if failure := reportedBy(err); failure != nil && (failure.Reason == QuorumUnavailable || failure.Reason == NodeSetMismatch) {
		return undecidedError{err, failure}
	}
	return err
}

func proclaimRequest(key core.Key, token, value string) *pb.ProclaimRequest {
	one, several := key.Fields()
	return &pb.ProclaimRequest{Key: one, Keys: several, Token: token, Value: value}
}

// Release releases a lock by its key and token. Without a deadline in ctx, it takes at most 5 s. It returns ErrNotHeld if
// the token does not hold the key. A holder in this or another process learns it as a loss.
func (c *Client) Release(ctx context.Context, key, token string) error {
	return c.release(ctx, core.Key(key), token, 0)
}

// ReleaseAndKeep is Release, but the key stays taken until keepFor has passed since the acquisition: see
// Lock.ReleaseAndKeep.
func (c *Client) ReleaseAndKeep(ctx context.Context, key, token string, keepFor time.Duration) error {
	if err := checkKeepFor(keepFor); err != nil {
		return err
	}
	return c.release(ctx, core.Key(key), token, keepFor)
}

func (c *Client) release(ctx context.Context, key core.Key, token string, keepFor time.Duration) error {
	one, several := key.Fields()
	request, repeated := &pb.ReleaseRequest{Key: one, Keys: several, Token: token, KeepFor: core.Optional(keepFor)}, false
	err := c.byToken(ctx, key, token, func(ctx context.Context, stub pb.LockServiceClient, again bool) error {
		repeated = again
		_, err := stub.Release(ctx, request)
		return err
	})
	if repeated && ReasonOf(err) == LockNotHeld {
		return nil // an earlier copy has released it
	}
	return err
}

// byToken makes a call that is harmless if it is repeated.
func (c *Client) byToken(ctx context.Context, key core.Key, token string, call unaryCall) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := checkToken(token); err != nil {
		return err
	}
	if !c.calls.enter(false) {
		return closedError(key)
	}
	defer c.calls.leave()
	ctx, cancel := c.untilClosed(ctx)
	defer cancel()
	if _, bounded := ctx.Deadline(); !bounded {
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		ctx = limited
	}
	if got := c.calls.run(ctx, false, true, call); got.failure != nil {
		return c.callError(ctx, key, got.failure)
	}
	return nil
}

// releaseInBackground releases what a call may have acquired, until a daemon has answered or the TTL has passed.
func (c *Client) releaseInBackground(key core.Key, token string, ttl time.Duration) {
	one, several := key.Fields()
	c.calls.enter(true)
	go func() {
		defer c.calls.leave()
		ctx, cancel := context.WithTimeout(context.Background(), ttl)
		defer cancel()
		release := func() result {
			return c.calls.run(ctx, false, false, func(ctx context.Context, stub pb.LockServiceClient, _ bool) error {
				bounded, cancel := context.WithTimeout(ctx, callTimeout)
				defer cancel()
				_, err := stub.Release(bounded, &pb.ReleaseRequest{Key: one, Keys: several, Token: token})
				return err
			})
		}
		// The daemon may learn of the cancellation after the release.
		if got := release(); got.failure != nil && sleep(ctx, releaseAgain) {
			release()
		}
	}()
}

func (c *Client) leaseOf(lease *pb.Lease, sent core.Instant) Lease {
	token := lease.GetToken()
	return Lease{key: core.KeyOf(lease).InSlot(int(lease.GetSlot())), token: &token, fence: lease.GetFencingToken(),
		validUntil: sent.Add(lease.GetValidity().AsDuration()), clock: c.calls.clock}
}

// untilClosed derives a context that also ends when the client is closed.
func (c *Client) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(closedError("")) })
	return ctx, func() { stop(); cancel(context.Canceled) }
}

// callError returns the error of a call that failed. It never reports an outage as contention.
func (c *Client) callError(ctx context.Context, key core.Key, failure *core.Failure) error {
	switch {
	case c.ctx.Err() != nil:
		return closedError(key)
	case ctx.Err() == context.DeadlineExceeded:
		return errorOf(key, failure).because(ctx)
	case failure.Reason == core.DeadlineExceeded: // the daemon gives up shortly before the deadline
		err := errorOf(key, failure)
		err.causes = []error{context.DeadlineExceeded}
		return err
	case ctx.Err() != nil:
		return endedBy(ctx, key, "")
	}
	return errorOf(key, failure)
}

func closedError(key core.Key) *Error {
	err := &Error{Reason: Canceled, Key: string(key), Message: "the client was closed"}
	if key != "" {
		err.Message = key.String() + ": " + err.Message
	}
	return err
}
