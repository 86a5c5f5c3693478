#include "client/cpp/core/operation.h"

namespace redlock::client {

Error ClientClosed() { return {Reason::kCancelled, "the client was destroyed"}; }

Error NotHeld(const KeptLease& lease) {
  if (!lease.loss()) return {Reason::kLockNotHeld, "the lock has been released or downgraded"};
  return {Reason::kLockNotHeld, lease.loss()->message};
}

}  // namespace redlock::client
