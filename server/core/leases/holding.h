// What a daemon that keeps a lease alive knows of it, for metrics and the audit log.
#pragma once

#include <optional>

#include "server/core/types.h"

namespace redlock {

struct Holding {
  Key key;
  FencingToken fence;  // 0: unknown
  OwnerLabel owner;
  // When it was acquired. Unset if it was not acquired on a stream of this daemon: nobody knows.
  std::optional<MonotonicTime> since;

  [[nodiscard]] std::optional<Duration> HeldFor(MonotonicTime now) const {
    return since ? std::optional(now - *since) : std::nullopt;
  }
};

}  // namespace redlock
