package redlockd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// Reasons, as in proto/redlock/v1/lock_service.proto, and Unreachable, which means that no daemon answered.
const (
	LockAlreadyHeld   = "LOCK_ALREADY_HELD"
	LockNotHeld       = core.LockNotHeld
	ValidityExpired   = "VALIDITY_EXPIRED"
	QuorumUnavailable = "QUORUM_UNAVAILABLE"
	NodeSetMismatch   = "NODE_SET_MISMATCH"
	Draining          = core.Draining
	Overloaded        = core.Overloaded
	DeadlineExceeded  = "DEADLINE_EXCEEDED"
	Canceled          = core.Cancelled
	InvalidArgument   = core.InvalidArgument
	Unauthenticated   = core.Unauthenticated
	PermissionDenied  = core.PermissionDenied
	Unreachable       = core.Unreachable
)

// Error says why an operation failed or a lock was lost. If the caller's context ended the operation, errors.Is finds
// context.Canceled or context.DeadlineExceeded in it.
type Error struct {
	Reason     string // one of the constants of this package
	Message    string
	RetryAfter time.Duration // the delay before a retry; 0: unknown
	cause      error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.cause }

// ReasonOf returns the reason of an Error, even if it is wrapped, and "" for any other error.
func ReasonOf(err error) string {
	var own *Error
	if errors.As(err, &own) {
		return own.Reason
	}
	return ""
}

func errorOf(key string, failure *core.Failure) *Error {
	return &Error{Reason: failure.Reason, Message: key + ": " + failure.Message, RetryAfter: failure.RetryAfter}
}

// endedBy returns the error of an operation that the caller's context has ended.
func endedBy(ctx context.Context, key, deadlineMessage string) *Error {
	if ctx.Err() == context.DeadlineExceeded {
		return &Error{Reason: DeadlineExceeded, Message: key + ": " + deadlineMessage, cause: ctx.Err()}
	}
	return &Error{Reason: Canceled, Message: key + ": the caller cancelled the context", cause: ctx.Err()}
}

func invalid(field, format string, values ...any) *Error {
	return &Error{Reason: InvalidArgument, Message: field + ": " + fmt.Sprintf(format, values...)}
}
