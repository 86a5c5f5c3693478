// The times since which leases have been kept alive, by group, so that the oldest is known without
// a visit to each. Strand-confined.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <vector>

#include "server/core/check.h"
#include "server/core/types.h"

namespace redlock {

class HoldAges {
 public:
  explicit HoldAges(std::size_t groups) : since_(groups) {}

  void Add(std::size_t group, MonotonicTime since) { since_[group].insert(since); }
  // One that was added.
  void Remove(std::size_t group, MonotonicTime since) {
    const auto found = since_[group].find(since);
    REDLOCK_CHECK(found != since_[group].end());
    since_[group].erase(found);
  }
  // Nothing if the group has none.
  [[nodiscard]] std::optional<MonotonicTime> Oldest(std::size_t group) const {
    if (since_[group].empty()) return std::nullopt;
    return *since_[group].begin();
  }

 private:
  std::vector<std::multiset<MonotonicTime>> since_;
};

}  // namespace redlock
