// When an operation is retried.
#pragma once

#include <algorithm>

#include "server/core/random.h"

namespace redlock {

// The terms and the defaults are those of trviph/redlock.
struct RetryPolicy {
  static constexpr int kNoLimit = -1;
  int max_retries = kNoLimit;
  Duration min_delay{};
  Duration max_jitter = std::chrono::milliseconds(300);
};

// The shortest delay. It keeps nodes that fail at once from turning a policy without a delay into a
// busy loop.
inline constexpr Duration kMinRetryDelay = std::chrono::milliseconds(1);

// The delay before the next attempt. The caller decides whether there is one.
[[nodiscard]] inline Duration NextRetryDelay(const RetryPolicy& policy, Random& random) {
  return std::max(policy.min_delay + random.UpTo(policy.max_jitter), kMinRetryDelay);
}

}  // namespace redlock
