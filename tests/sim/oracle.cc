#include "tests/sim/oracle.h"

#include <algorithm>

namespace redlock::sim {

void Oracle::Holds(MonotonicTime now, const Lease& lease) {
  ++leases_;
  const std::string& token = lease.token.value();
  History& history = keys_[lease.key.value()];
  for (const auto& [other, holder] : history.holders) {
    if (other != token && holder.valid_until > now) {
      violations_.push_back("two valid leases of " + lease.key.value() + ": " + other +
                            " still holds it while " + token + " gets it");
    }
  }
  const bool new_holder = history.last_holder != token;
  if (new_holder ? lease.fence <= history.highest : lease.fence < history.highest) {
    violations_.push_back("fence of " + lease.key.value() + " does not grow: " +
                          std::to_string(lease.fence.value) + " for " + token + " after " +
                          std::to_string(history.highest.value) + " for " + history.last_holder);
  }
  history.last_holder = token;
  history.highest = std::max(history.highest, lease.fence);
  history.holders[token] = {lease.fence, lease.valid_until};
}

void Oracle::Ends(const std::string& key, const std::string& token) {
  keys_[key].holders.erase(token);
}

}  // namespace redlock::sim
