// How long a holder may trust its lock. Pure.
#pragma once

#include "server/core/types.h"

namespace redlock {

// Allowance for clocks that run at different rates, and for the granularity of Redis' expiry.
struct DriftBudget {
  double factor = 0.01;                            // of the TTL
  Duration buffer = std::chrono::milliseconds(2);  // on top
};

[[nodiscard]] inline Duration Drift(Duration ttl, const DriftBudget& budget) {
  const auto scaled = static_cast<double>(ttl.count()) * budget.factor;
  return Duration(static_cast<Duration::rep>(scaled)) + budget.buffer;
}

// Validity as the Redis documentation defines it: TTL - elapsed - drift. `elapsed` counts on the
// monotonic clock from before the first byte was sent. Not positive: no lock.
[[nodiscard]] inline Duration Validity(Duration ttl, Duration elapsed, const DriftBudget& budget) {
  return ttl - elapsed - Drift(ttl, budget);
}

// The longest TTL, in whole milliseconds, whose validity is not longer than `validity`. Not
// positive: there is none.
[[nodiscard]] inline Duration TtlFor(Duration validity, const DriftBudget& budget) {
  const auto scaled = static_cast<double>((validity + budget.buffer).count()) / (1 - budget.factor);
  return std::chrono::floor<std::chrono::milliseconds>(
      Duration(static_cast<Duration::rep>(scaled)));
}

}  // namespace redlock
