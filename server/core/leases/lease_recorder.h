// Receives what happens to the leases of one stream, for the audit log, even after the stream broke
// and its listener is gone.
#pragma once

#include "server/core/keys/acquisition.h"
#include "server/core/leases/holding.h"

namespace redlock {

// Called on the strand of the key's shard; must not call back. A stream has leases on several
// shards.
class LeaseRecorder {
 public:
  virtual ~LeaseRecorder() = default;
  // The result has a lease.
  virtual void OnAcquired(const AcquireResult& result, const OwnerLabel& owner) = 0;
  virtual void OnReleased(const Holding& holding, MonotonicTime now) = 0;
  // The lease is no longer kept alive, although its client has not released it.
  virtual void OnLost(const Holding& holding, const Error& why, MonotonicTime now) = 0;
};

}  // namespace redlock
