// The times since which leases have been kept alive, by group, so that the oldest is known without
// a visit to each. Strand-confined.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <vector>

#include "server/core/check.h"
#include "server/core/types.h"

namespace redlock {

// To a tenth of a second, so that many leases share one entry.
class HoldAges {
 public:
  explicit HoldAges(std::size_t groups) : since_(groups) {}

  void Add(std::size_t group, MonotonicTime since) { ++since_[group][Rounded(since)]; }
  // One that was added.
  void Remove(std::size_t group, MonotonicTime since) {
    const auto found = since_[group].find(Rounded(since));
    REDLOCK_CHECK(found != since_[group].end());
    if (--found->second == 0) since_[group].erase(found);
  }
  // Rounded down. Nothing if the group has none.
  [[nodiscard]] std::optional<MonotonicTime> Oldest(std::size_t group) const {
    if (since_[group].empty()) return std::nullopt;
    return since_[group].begin()->first;
  }

 private:
  static constexpr Duration kResolution = std::chrono::milliseconds(100);
  [[nodiscard]] static MonotonicTime Rounded(MonotonicTime since) {
    return since - since.time_since_epoch() % kResolution;
  }

  std::vector<std::map<MonotonicTime, std::size_t>> since_;  // how many leases, for each group
};

}  // namespace redlock
