// The fences that the granting nodes of a round report.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>

#include "server/core/rounds/round.h"

namespace redlock {

struct GrantedFences {
  FencingToken lowest;
  FencingToken highest;
  bool agree = true;  // all are the same, and none belongs to an earlier holder
};

[[nodiscard]] inline GrantedFences FencesOfGrants(const Round& round, std::size_t nodes) {
  std::optional<FencingToken> lowest;
  GrantedFences fences;
  bool known = true;
  for (NodeIndex node = 0; node < nodes; ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply == nullptr || reply->outcome != Outcome::kGranted) continue;
    lowest = lowest ? std::min(*lowest, reply->fence) : reply->fence;
    fences.highest = std::max(fences.highest, reply->fence);
    known = known && !reply->fence_of_earlier_holder;
  }
  fences.lowest = lowest.value_or(FencingToken{});
  fences.agree = known && fences.lowest == fences.highest;
  return fences;
}

}  // namespace redlock
