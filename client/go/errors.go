package redlockd

import (
	"context"
	"errors"
	"time"

	pb "redlockd/redlockv1"
)

// Reasons of the contract (proto/redlock/v1/lock_service.proto), and Unreachable where no daemon
// answered.
const (
	LockAlreadyHeld   = "LOCK_ALREADY_HELD"
	LockNotHeld       = "LOCK_NOT_HELD"
	ValidityExpired   = "VALIDITY_EXPIRED"
	QuorumUnavailable = "QUORUM_UNAVAILABLE"
	Draining          = "DRAINING"
	Overloaded        = "OVERLOADED"
	DeadlineExceeded  = "DEADLINE_EXCEEDED"
	Canceled          = "CANCELLED"
	InvalidArgument   = "INVALID_ARGUMENT"
	Unauthenticated   = "UNAUTHENTICATED"
	PermissionDenied  = "PERMISSION_DENIED"
	Unreachable       = "UNREACHABLE"
)

// Error is what went wrong. errors.Is finds context.Canceled and context.DeadlineExceeded in it
// where the caller's context ended the wait.
type Error struct {
	Reason     string
	Message    string
	RetryAfter time.Duration // 0: no advice
	cause      error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.cause }

// ReasonOf is the reason of an Error, and "" of any other.
func ReasonOf(err error) string {
	var own *Error
	if errors.As(err, &own) {
		return own.Reason
	}
	return ""
}

func errorOf(status *pb.OperationStatus) *Error {
	return &Error{Reason: status.GetReason(), Message: status.GetMessage(),
		RetryAfter: status.GetRetryDelay().AsDuration()}
}

// Of a caller's context that has ended.
func ended(ctx context.Context, key string) *Error {
	if ctx.Err() == context.DeadlineExceeded {
		return &Error{Reason: DeadlineExceeded, cause: ctx.Err(),
			Message: key + ": still held when the time was over"}
	}
	return &Error{Reason: Canceled, cause: ctx.Err(), Message: key + ": given up while waiting"}
}

// The stream ended, or the daemon is about to; orderly: it said so before.
type broken struct {
	*Error
	orderly bool
}
