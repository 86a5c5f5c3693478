// Computes how long a holder may rely on its lock. Pure.
#pragma once

#include "server/core/types.h"

namespace redlock {

// Allowance for clocks that run at different rates, and for the granularity of Redis' expiry.
struct DriftBudget {
  double factor = 0.01;                            // fraction of the TTL
  Duration buffer = std::chrono::milliseconds(2);  // added to it
};

[[nodiscard]] inline Duration Drift(Duration ttl, const DriftBudget& budget) {
  const auto scaled = static_cast<double>(ttl.count()) * budget.factor;
  return Duration(static_cast<Duration::rep>(scaled)) + budget.buffer;
}

// Validity as the Redis documentation defines it: TTL - elapsed - drift. `elapsed` is measured on
// the monotonic clock from before the first byte is sent. If the result is not positive, there is
// no lock.
[[nodiscard]] inline Duration Validity(Duration ttl, Duration elapsed, const DriftBudget& budget) {
  return ttl - elapsed - Drift(ttl, budget);
}

// The longest TTL, in whole milliseconds, whose validity is at most `validity`. If the result is
// not positive, there is no such TTL.
[[nodiscard]] inline Duration TtlFor(Duration validity, const DriftBudget& budget) {
  const auto scaled = static_cast<double>((validity + budget.buffer).count()) / (1 - budget.factor);
  return std::chrono::floor<std::chrono::milliseconds>(
      Duration(static_cast<Duration::rep>(scaled)));
}

}  // namespace redlock
