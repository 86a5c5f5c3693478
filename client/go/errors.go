package redlockd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// Reasons, as in proto/redlock/v1/lock_service.proto, and two of the client: Unreachable, which means that no daemon
// answered, and Unimplemented, which means that the daemon does not know the call.
const (
	LockAlreadyHeld    = core.LockAlreadyHeld
	LockNotHeld        = core.LockNotHeld
	KindMismatch       = core.KindMismatch
	MaxRetriesExceeded = core.MaxRetriesExceeded
	ValidityExpired    = core.ValidityExpired
	QuorumUnavailable  = core.QuorumUnavailable
	NodeSetMismatch    = core.NodeSetMismatch
	Draining           = core.Draining
	Overloaded         = core.Overloaded
	DeadlineExceeded   = core.DeadlineExceeded
	Canceled           = core.Cancelled
	InvalidArgument    = core.InvalidArgument
	Unauthenticated    = core.Unauthenticated
	PermissionDenied   = core.PermissionDenied
	Unreachable        = core.Unreachable
	Unimplemented      = core.Unimplemented
)

// Values for errors.Is. Each matches every Error with its reason; ErrLockLost matches the errors of a lock that was held
// and then lost, whatever the reason. If the caller's context ended a call, errors.Is also finds context.Canceled or
// context.DeadlineExceeded, and the context's cause, next to the value that says why.
var (
	ErrAlreadyHeld        error = sentinel{LockAlreadyHeld, "another holder has the lock"}
	ErrLockLost           error = sentinel{"", "the lock was lost"}
	ErrNotHeld            error = sentinel{LockNotHeld, "the token does not hold the key"}
	ErrKindMismatch       error = sentinel{KindMismatch, "the key is in use in another way"}
	ErrMaxRetriesExceeded error = sentinel{MaxRetriesExceeded, "all retries are used up"}
	ErrTimeout            error = sentinel{DeadlineExceeded, "the deadline has passed"}
	ErrValidityExpired    error = sentinel{ValidityExpired, "the lock was granted too late"}
	ErrQuorumUnavailable  error = sentinel{QuorumUnavailable, "too few nodes answered"}
	ErrNodeSetMismatch    error = sentinel{NodeSetMismatch, "the daemon and the nodes do not agree on the node set"}
	ErrUnreachable        error = sentinel{Unreachable, "no daemon answered"}
	ErrUnimplemented      error = sentinel{Unimplemented, "the daemon is too old for this call"}
	ErrOverloaded         error = sentinel{Overloaded, "the daemon is overloaded"}
	ErrDraining           error = sentinel{Draining, "the daemon is shutting down"}
	ErrInvalidArgument    error = sentinel{InvalidArgument, "an argument is invalid"}
	ErrUnauthenticated    error = sentinel{Unauthenticated, "the credentials are missing or invalid"}
	ErrPermissionDenied   error = sentinel{PermissionDenied, "the caller may not use this key"}
	ErrCanceled           error = sentinel{Canceled, "the caller cancelled the call or closed the client"}
)

type sentinel struct{ reason, text string }

func (s sentinel) Error() string { return "redlockd: " + s.text }

// Error says why a call failed or a lock was lost.
type Error struct {
	Reason     string // one of the constants of this package
	Message    string
	Key        string        // as it was passed to the call, or Lock.Key; see Keys. "": the error concerns no lock, or several
	Holder     string        // the label of the holder that refused the lock; "": unknown
	HeldFor    time.Duration // for how long that holder has held the lock; 0: unknown
	InUseAs    string        // for ErrKindMismatch: how the key is in use, as in "a lock" or "a semaphore of 5"
	RetryAfter time.Duration // the delay before a retry; 0: unknown

	lost   bool
	causes []error
}

func (e *Error) Error() string { return e.Message }

// Keys returns the keys of the lock, in byte order. Unlike Key, they can be shown; see Together.
func (e *Error) Keys() []string { return core.Key(e.Key).Names() }

// Unwrap returns the error and the cause of the context that ended the call.
func (e *Error) Unwrap() []error { return e.causes }

// Is reports whether target is the value for this error's reason, such as ErrAlreadyHeld.
func (e *Error) Is(target error) bool {
	value, ok := target.(sentinel)
	return ok && (value.reason == e.Reason || value == ErrLockLost && e.lost)
}

// ReasonOf returns the reason of an Error, even if it is wrapped, and "" for any other error.
func ReasonOf(err error) string {
	var own *Error
	if errors.As(err, &own) {
		return own.Reason
	}
	return ""
}

func errorOf(key core.Key, failure *core.Failure) *Error {
	message := failure.Message
	// Without a label, the daemon's own message says more about the holder.
	if held := heldText(failure); held != "" && (failure.Holder != "" || failure.Reason == DeadlineExceeded) {
		switch failure.Reason {
		case LockAlreadyHeld:
			message = held
		case MaxRetriesExceeded:
			message = held + "; the retries are used up"
		default:
			message = held + "; " + failure.Message
		}
	}
	return &Error{Reason: failure.Reason, Message: key.String() + ": " + message, Key: string(key), Holder: failure.Holder,
		HeldFor: failure.HeldFor, InUseAs: failure.InUseAs, RetryAfter: failure.RetryAfter, lost: failure.Lost}
}

// heldText returns, as far as it is known, `held by "builder 7" for 12.345 s`; "": nothing is.
func heldText(failure *core.Failure) string {
	if failure.Holder == "" && failure.HeldFor == 0 {
		return ""
	}
	text := "held"
	if failure.Holder != "" {
		text += fmt.Sprintf(" by %q", failure.Holder)
	}
	if failure.HeldFor != 0 {
		text += fmt.Sprintf(" for %.3f s", failure.HeldFor.Seconds())
	}
	return text
}

// because records that the caller's context ended the call.
func (e *Error) because(ctx context.Context) *Error {
	e.causes = []error{ctx.Err()}
	if cause := context.Cause(ctx); cause != ctx.Err() {
		e.causes = append(e.causes, cause)
	}
	return e
}

// endedBy returns the error of a call that the caller's context has ended.
func endedBy(ctx context.Context, key core.Key, deadlineMessage string) *Error {
	if ctx.Err() == context.DeadlineExceeded {
		return (&Error{Reason: DeadlineExceeded, Key: string(key), Message: key.String() + ": " + deadlineMessage}).because(ctx)
	}
	return (&Error{Reason: Canceled, Key: string(key), Message: key.String() + ": the caller cancelled the context"}).because(ctx)
}

func invalid(field, format string, values ...any) *Error {
	return &Error{Reason: InvalidArgument, Message: strings.TrimSpace(field + ": " + fmt.Sprintf(format, values...))}
}
