// Finds the watchdogs of a lease.
#pragma once

#include <cstddef>
#include <memory>
#include <unordered_map>
#include <vector>

#include "server/core/leases/hold_ages.h"
#include "server/core/types.h"

namespace redlock {

class Watchdog;

// Does not own the watchdogs. Strand-confined.
class WatchdogIndex {
 public:
  explicit WatchdogIndex(std::size_t groups) : ages_(groups) {}

  void Add(Watchdog& watchdog);
  void Remove(Watchdog& watchdog);
  [[nodiscard]] std::size_t size() const { return watchdogs_.size(); }
  // Of the leases that are not lost.
  [[nodiscard]] HoldAges& ages() { return ages_; }
  [[nodiscard]] const HoldAges& ages() const { return ages_; }
  // Several streams may watch one lease. Whatever the mode.
  [[nodiscard]] std::vector<std::shared_ptr<Watchdog>> Find(const Key& key,
                                                            const OwnerToken& token) const;
  // Also of leases of several keys, this one among them.
  [[nodiscard]] std::vector<std::shared_ptr<Watchdog>> FindAll(const Key& key,
                                                               const OwnerToken& token) const;

 private:
  [[nodiscard]] std::vector<std::shared_ptr<Watchdog>> FindIf(const OwnerToken& token,
                                                              auto matches) const;

  std::unordered_multimap<std::size_t, Watchdog*> watchdogs_;  // by a hash of the token
  HoldAges ages_;
};

}  // namespace redlock
