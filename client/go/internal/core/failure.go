package core

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// Reasons that the machine itself acts on or gives; see proto/redlock/v1/lock_service.proto.
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

// Failure is why an operation failed, a lock was lost or a Session ended.
type Failure struct {
	Reason     string
	Message    string
	RetryAfter time.Duration // 0: no advice
}

func failureOf(status *pb.OperationStatus) *Failure {
	return &Failure{Reason: status.GetReason(), Message: status.GetMessage(),
		RetryAfter: status.GetRetryDelay().AsDuration()}
}

func closed() *Failure { return &Failure{Reason: Cancelled, Message: "the client was closed"} }

// refusal is whether a daemon that ends a Session in this way will do so again: waiting does not help.
func (f *Failure) refusal() bool {
	return f.Reason == Unauthenticated || f.Reason == PermissionDenied || f.Reason == InvalidArgument
}

func duration(d time.Duration) *durationpb.Duration { return durationpb.New(d) }
