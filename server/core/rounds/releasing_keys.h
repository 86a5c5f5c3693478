// The keys that this shard is releasing, so that no repair puts a key back meanwhile.
#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>

#include "server/core/check.h"
#include "server/core/types.h"

namespace redlock {

// Strand-confined.
class ReleasingKeys {
 public:
  // From a release's start until the last node has answered it. Releases of one key may overlap.
  void Begin(const Key& key) { ++releases_[key.value()]; }
  void End(const Key& key) {
    const auto found = releases_.find(key.value());
    REDLOCK_CHECK(found != releases_.end());
    if (--found->second == 0) releases_.erase(found);
  }
  [[nodiscard]] bool Contains(const Key& key) const { return releases_.contains(key.value()); }

 private:
  std::unordered_map<std::string, std::size_t> releases_;
};

}  // namespace redlock
