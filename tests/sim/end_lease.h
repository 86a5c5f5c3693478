// Ends a lease as the end of a stream that releases does (LeaseSet::End).
#pragma once

#include "server/core/shard.h"

namespace redlock {

// The lease is released if it still belongs to the watchdog's stream. One that belongs to no stream
// is left to expire.
inline void EndLease(Shard& shard, Watchdog& watchdog) {
  const Lease lease = watchdog.lease();
  watchdog.Detach();
  if (lease.keeper) shard.ReleaseAtEndOf(lease, true, [](const ReleaseResult&) {});
}

// The same for what a Hold waits for or holds.
inline void EndHold(Shard& shard, HoldOperation& hold) {
  if (const auto watchdog = hold.TakeWatchdog()) {
    EndLease(shard, *watchdog);
  } else {
    hold.Detach();
  }
}

}  // namespace redlock
