// Decides whether a node may have evicted locks, from what it reports about itself. A lock that is
// evicted can be granted again while its holder still trusts it. Strand-confined.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "server/core/nodes/node.h"

namespace redlock {

class EvictionWatch {
 public:
  // Another server process answers from now on. Its counter has started at 0.
  void OnRestart() {
    if (evicted_) evicted_ = 0;
  }

  // Adds a report. Returns why the node must not grant for the longest TTL from now on; empty if it
  // may grant. The first report of a counter proves nothing, because the evictions may be old.
  [[nodiscard]] std::string Read(const Eviction& now) {
    const bool grew = evicted_ && now.evicted != *evicted_ && now.evicted != 0;
    const bool was_on = on_;
    evicted_ = now.evicted;
    on_ = !now.policy.empty();
    if (on_) {
      return "it may evict locks: maxmemory-policy is " + now.policy + "; set it to noeviction";
    }
    if (!grew && !was_on) return {};
    return "it may have evicted locks: maxmemory-policy was not noeviction until now";
  }

 private:
  std::optional<std::uint64_t> evicted_;
  bool on_ = false;
};

}  // namespace redlock
