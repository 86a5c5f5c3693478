// Which tokens are being released, so that no repair puts a key back for them meanwhile.
#pragma once

#include <cstddef>
#include <unordered_map>

#include "server/core/check.h"
#include "server/core/types.h"

namespace redlock {

// A token may hold several keys, one of which is released. The others are then repaired later.
// Strand-confined.
class ReleasingTokens {
 public:
  // From a release's start until the last node has answered it. Releases of one token may overlap.
  void Begin(const OwnerToken& token) { ++releases_[token]; }
  void End(const OwnerToken& token) {
    const auto found = releases_.find(token);
    REDLOCK_CHECK(found != releases_.end());
    if (--found->second == 0) releases_.erase(found);
  }
  [[nodiscard]] bool Contains(const OwnerToken& token) const { return releases_.contains(token); }

 private:
  std::unordered_map<OwnerToken, std::size_t, HashText> releases_;
};

}  // namespace redlock
