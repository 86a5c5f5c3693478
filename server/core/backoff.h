// The pauses between attempts that keep failing: each is twice as long as the one before, up to a
// limit.
#pragma once

#include <algorithm>
#include <utility>

#include "server/core/types.h"

namespace redlock {

class Backoff {
 public:
  Backoff(Duration first, Duration longest) : first_(first), longest_(longest), next_(first) {}

  // Returns the pause before the next attempt, and doubles the one after it.
  [[nodiscard]] Duration Next() { return std::exchange(next_, std::min(next_ * 2, longest_)); }
  // An attempt has succeeded: the next pause is the first again.
  void Reset() { next_ = first_; }

 private:
  const Duration first_;
  const Duration longest_;
  Duration next_;
};

}  // namespace redlock
