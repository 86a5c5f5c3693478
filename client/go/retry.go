package redlockd

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// NoLimit is the number of retries without a limit.
const NoLimit = -1

// RetryPolicy says how the daemon retries. Waiters in the daemon's queue are woken by a release and need no retries;
// retries matter if other programs compete for the key without the daemon.
type RetryPolicy struct {
	MaxRetries int           // after the first attempt; 0: a single attempt; NoLimit: no limit
	MinDelay   time.Duration // the shortest pause between attempts; 0: the daemon's default, which is no pause
	MaxJitter  time.Duration // the longest random pause added to MinDelay; 0: the daemon's default of 300 ms; negative: none
}

func (p *RetryPolicy) check() *Error {
	switch {
	case p == nil:
		return nil
	case p.MaxRetries < NoLimit || p.MaxRetries > math.MaxInt32:
		return invalid("retry", "MaxRetries must be from -1 to %d, not %d", math.MaxInt32, p.MaxRetries)
	case p.MinDelay < 0:
		return invalid("retry", "MinDelay must not be negative: %v", p.MinDelay)
	}
	return nil
}

func (p *RetryPolicy) message() *pb.RetryPolicy {
	if p == nil {
		return nil
	}
	retries := int32(p.MaxRetries)
	message := &pb.RetryPolicy{MaxRetries: &retries}
	if p.MinDelay > 0 {
		message.MinDelay = durationpb.New(p.MinDelay)
	}
	if p.MaxJitter != 0 {
		message.MaxJitter = durationpb.New(max(p.MaxJitter, 0))
	}
	return message
}
