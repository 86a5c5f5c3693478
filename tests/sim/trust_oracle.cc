#include "tests/sim/trust_oracle.h"

#include <algorithm>
#include <utility>

#include "client/cpp/core/keys.h"

namespace redlock::sim {

void TrustOracle::Check(std::size_t client, const client::LeaseRef& lease) {
  limits_.insert(client::LimitOf(lease->key()));
  for (const std::string& name : client::NamesOf(lease->key())) CheckKey(client, name);
}

void TrustOracle::CheckKey(std::size_t client, const std::string& key) {
  for (std::size_t other = 0; other < clients_.size(); ++other) {
    if (other == client || !Conflict(clients_[client], clients_[other], key)) continue;
    violations_.push_back("two clients trust " + key + ": " + clients_[client].name + " and " +
                          clients_[other].name);
  }
}

bool TrustOracle::Conflict(const Client& one, const Client& other, const std::string& key) const {
  const bool exclusive = one.trusts(key);
  const bool others_exclusive = other.trusts(key);
  if (exclusive && others_exclusive) return true;
  const std::string share = client::shared(key);
  if ((exclusive && other.trusts(share)) || (others_exclusive && one.trusts(share))) return true;
  const auto slots_of = [&](const Client& whose) {
    std::set<std::pair<int, int>> slots;  // limit and slot
    for (const int limit : limits_) {
      for (int slot = 1; slot <= limit; ++slot) {
        if (whose.trusts(client::semaphore(key, limit, slot))) slots.emplace(limit, slot);
      }
    }
    return slots;
  };
  const auto slots = slots_of(one);
  const auto others = slots_of(other);
  const bool lock = exclusive || one.trusts(share);
  const bool others_lock = others_exclusive || other.trusts(share);
  if ((lock && !others.empty()) || (others_lock && !slots.empty())) return true;
  return std::ranges::any_of(slots, [&others](const auto& of_one) {
    return std::ranges::any_of(others, [&of_one](const auto& of_other) {
      return of_one.first != of_other.first || of_one.second == of_other.second;
    });
  });
}

void TrustOracle::Acquired(std::size_t client, const client::LeaseRef& lease) {
  ++leases_;
  const bool shares = client::IsShared(lease->key());
  for (const std::string& name : client::NamesOf(lease->key())) {
    Highest& highest = highest_[name];
    const client::LeaseRef& last = shares               ? highest.of_exclusive
                                   : lease->slot() != 0 ? highest.of_slots[lease->slot()]
                                                        : highest.of_all;
    const std::uint64_t fence = lease->fencing_token();
    if (last && last->token() != lease->token() && fence <= last->fencing_token()) {
      violations_.push_back(
          "the fencing token of " + name + " does not grow: " + std::to_string(fence) + " for " +
          clients_[client].name + " after " + std::to_string(last->fencing_token()));
    }
    const auto raise = [&](client::LeaseRef& one) {
      if (!one || one->fencing_token() <= fence) one = lease;
    };
    raise(highest.of_all);
    if (lease->slot() != 0) {
      raise(highest.of_slots[lease->slot()]);
    } else if (!shares) {
      raise(highest.of_exclusive);
    }
  }
}

}  // namespace redlock::sim
