package core

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// Reasons that the machine itself handles or returns; see proto/redlock/v1/lock_service.proto.
const (
	LockNotHeld      = "LOCK_NOT_HELD"
	Draining         = "DRAINING"
	Overloaded       = "OVERLOADED"
	Cancelled        = "CANCELLED"
	InvalidArgument  = "INVALID_ARGUMENT"
	Unauthenticated  = "UNAUTHENTICATED"
	PermissionDenied = "PERMISSION_DENIED"
	Unreachable      = "UNREACHABLE" // no daemon answered
)

// Failure says why an operation failed, a lock was lost or a Session ended.
type Failure struct {
	Reason     string
	Message    string
	RetryAfter time.Duration // the delay before a retry; 0: unknown
}

func failureOf(status *pb.OperationStatus) *Failure {
	return &Failure{Reason: status.GetReason(), Message: status.GetMessage(),
		RetryAfter: status.GetRetryDelay().AsDuration()}
}

func closed() *Failure { return &Failure{Reason: Cancelled, Message: "the client was closed"} }

// refusal reports whether the daemon refused the client, so that a retry cannot help.
func (f *Failure) refusal() bool {
	return f.Reason == Unauthenticated || f.Reason == PermissionDenied || f.Reason == InvalidArgument
}

func duration(d time.Duration) *durationpb.Duration { return durationpb.New(d) }
