package core

import (
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// Reasons that the machine itself handles or returns; see proto/redlock/v1/lock_service.proto.
const (
	LockAlreadyHeld    = "LOCK_ALREADY_HELD"
	LockNotHeld        = "LOCK_NOT_HELD"
	KindMismatch       = "KIND_MISMATCH"
	MaxRetriesExceeded = "MAX_RETRIES_EXCEEDED"
	ValidityExpired    = "VALIDITY_EXPIRED"
	QuorumUnavailable  = "QUORUM_UNAVAILABLE"
	NodeSetMismatch    = "NODE_SET_MISMATCH"
	DeadlineExceeded   = "DEADLINE_EXCEEDED"
	Draining           = "DRAINING"
	Overloaded         = "OVERLOADED"
	Cancelled          = "CANCELLED"
	InvalidArgument    = "INVALID_ARGUMENT"
	Unauthenticated    = "UNAUTHENTICATED"
	PermissionDenied   = "PERMISSION_DENIED"
	Unreachable        = "UNREACHABLE"   // no daemon answered
	Unimplemented      = "UNIMPLEMENTED" // the daemon does not know the call
)

// Failure says why an operation failed, a lock was lost or a Session ended.
type Failure struct {
	Reason     string
	Message    string
	RetryAfter time.Duration // the delay before a retry; 0: unknown
	Holder     string        // the label of the holder that refused the key; "": unknown
	HeldFor    time.Duration // for how long that holder has held the key; 0: unknown
	InUseAs    string        // for KindMismatch: how the key is in use, as in "a semaphore of 5"
	Lost       bool          // the operation failed because the lock had been lost
	lastReason string        // why the last attempt of an acquire failed; "": unknown
}

// NewFailure returns the failure that a daemon has reported, with the metadata as in the proto.
func NewFailure(reason, message string, retryAfter time.Duration, metadata map[string]string) *Failure {
	return &Failure{Reason: reason, Message: message, RetryAfter: retryAfter, Holder: metadata["owner"],
		HeldFor: secondsIn(metadata["held_for"]), InUseAs: metadata["in_use_as"], lastReason: metadata["last_reason"]}
}

// secondsIn reads a time in seconds, such as "12.345". It returns 0 for any other text.
func secondsIn(text string) time.Duration {
	const most = 1e9 // a Duration can express it
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0 && seconds < most) { // or NaN
		return 0
	}
	return time.Duration(math.Round(seconds*1000)) * time.Millisecond
}

func failureOf(status *pb.OperationStatus) *Failure {
	return NewFailure(status.GetReason(), status.GetMessage(), status.GetRetryDelay().AsDuration(), status.GetMetadata())
}

// EndOfWait returns the failure for a caller whose time to wait is over. It is called with the daemon's answer to the
// cancel of an acquire. Too few nodes, or a wrong node set, must not read as contention.
func (f *Failure) EndOfWait() *Failure {
	switch {
	case f.Reason != Cancelled && f.Reason != DeadlineExceeded:
		return f.withinTheWait()
	case f.lastReason == QuorumUnavailable || f.lastReason == NodeSetMismatch:
		return &Failure{Reason: f.lastReason, Message: "not acquired within the time to wait: " + f.Message}
	default:
		return &Failure{Reason: DeadlineExceeded, Message: "not acquired within the time to wait", Holder: f.Holder,
			HeldFor: f.HeldFor}
	}
}

func (f *Failure) withinTheWait() *Failure {
	same := *f
	same.Message = "not acquired within the time to wait: " + f.Message
	return &same
}

func closed() *Failure { return &Failure{Reason: Cancelled, Message: "the client was closed"} }

// Final reports whether a repetition of the call would not help, at whichever daemon.
func (f *Failure) Final() bool {
	return f.Reason == Unimplemented || f.refusal()
}

// refusal reports whether the daemon refused the client or the operation, so that a retry cannot help.
func (f *Failure) refusal() bool {
	return f.Reason == Unauthenticated || f.Reason == PermissionDenied || f.Reason == InvalidArgument || f.Reason == KindMismatch
}

func duration(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

// Optional returns a field of a message that is unset if d is 0.
func Optional(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return duration(d)
}
