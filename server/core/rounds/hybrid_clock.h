// Proposes fencing tokens.
//
// fence = max(wall clock in microseconds, last proposed + 1, highest seen + 1). A node grants only
// a fence above the one that it stores for the key. Any two quorums share a node, so a later
// holder's fence is always higher, whatever the daemons' clocks show. If the clocks agree, the
// first proposal is accepted. A node forgets the fences of single keys (fence_retention), and then
// grants only above a bound for all of them, which a proposal that follows the clock exceeds.
#pragma once

#include <algorithm>
#include <chrono>

#include "server/core/types.h"

namespace redlock {

// Strand-confined: one instance for each shard.
class HybridClock {
 public:
  [[nodiscard]] FencingToken Next(WallTime now) {
    const auto since_epoch =
        std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count();
    const auto micros = static_cast<std::uint64_t>(std::max<std::int64_t>(since_epoch, 1));
    last_ = std::min(std::max(micros, last_ + 1), kMaxFencingToken.value);
    return FencingToken{last_};
  }

  // Records a fence that a node stores; the next proposal is above it.
  void Saw(FencingToken seen) { last_ = std::max(last_, std::min(seen, kMaxFencingToken).value); }

 private:
  std::uint64_t last_ = 0;
};

}  // namespace redlock
