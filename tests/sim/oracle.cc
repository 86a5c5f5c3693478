#include "tests/sim/oracle.h"

#include <algorithm>

namespace redlock::sim {

void Oracle::Holds(MonotonicTime now, const Lease& lease, Duration delay) {
  ++leases_;
  lease.key.ForEach([&](std::string_view key) { Holds(now, std::string(key), lease, delay); });
}

void Oracle::Keeps(const Lease& lease, MonotonicTime until) {
  lease.key.ForEach([&](std::string_view key) { keys_[std::string(key)].kept_until = until; });
}

bool Oracle::MayBothHold(const Key& one, const Key& other) {
  if (one.IsShared() && other.IsShared()) return true;
  return one.IsSemaphore() && one.limit() == other.limit() && one.slot() != other.slot();
}

void Oracle::Holds(MonotonicTime now, const std::string& key, const Lease& lease, Duration delay) {
  const std::string& token = lease.token.str();
  History& history = keys_[key];
  for (const auto& [other, holder] : history.holders) {
    if (other != token && holder.valid_until > now && !MayBothHold(holder.key, lease.key)) {
      violations_.push_back("two valid leases of " + key + ": " + other + " still holds it while " +
                            token + " gets it");
    } else if (other != token && holder.out_until > now && !MayBothHold(holder.key, lease.key)) {
      violations_.push_back(token + " gets " + key + " during the lock delay of " + other);
    }
  }
  if (history.kept_until > now) violations_.push_back(token + " gets " + key + ", which is kept");
  const int slot = lease.key.slot();
  History::OfSlot& of_slot = history.slots[slot];  // 0: not of a slot
  const std::string& last_holder = slot != 0 ? of_slot.last_holder : history.last_holder;
  const FencingToken before = slot != 0              ? std::max(history.exclusive, of_slot.highest)
                              : lease.key.IsShared() ? history.exclusive
                                                     : history.highest;
  const bool may_stay = !lease.key.IsShared() && last_holder == token;
  const bool grows = lease.fence > before || (may_stay && lease.fence == before);
  if (!grows) {
    violations_.push_back("fence of " + key +
                          " does not grow: " + std::to_string(lease.fence.value) + " for " + token +
                          " after " + std::to_string(before.value) + " for " + last_holder);
  }
  history.last_holder = token;
  history.highest = std::max(history.highest, lease.fence);
  if (slot != 0) {
    of_slot = {std::max(of_slot.highest, lease.fence), token};
  } else if (!lease.key.IsShared()) {
    history.exclusive = std::max(history.exclusive, lease.fence);
  }
  const auto found = history.holders.find(token);
  const bool goes_on = found != history.holders.end() && found->second.valid_until > now;
  history.holders[token] = {lease.fence, lease.valid_until, goes_on ? found->second.since : now,
                            lease.key, lease.valid_until + delay};
}

bool Oracle::HeldSince(const std::string& key, MonotonicTime from, MonotonicTime now) const {
  const auto history = keys_.find(key);
  return history != keys_.end() &&
         std::ranges::any_of(history->second.holders, [from, now](const auto& holder) {
           return holder.second.since <= from && holder.second.valid_until > now;
         });
}

void Oracle::Ends(const std::string& key, const std::string& token) {
  Key(key).ForEach([&](std::string_view one) { keys_[std::string(one)].holders.erase(token); });
}

}  // namespace redlock::sim
