// The same classes as require('redlockd') returns.
import redlockd from './index.js';

export const {
  Client, Election, Lease, Lock, Observer, Watch,
  LockError, LockAlreadyHeldError, LockTimeoutError, MaxRetriesExceededError, ValidityExpiredError, LockNotHeldError,
  LockLostError, KindMismatchError, QuorumUnavailableError, NodeSetMismatchError, UnreachableError, OverloadedError,
  DrainingError, InvalidArgumentError, UnauthenticatedError, PermissionDeniedError, CancelledError,
} = redlockd;
