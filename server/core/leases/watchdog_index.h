// Finds the watchdogs of a lease.
#pragma once

#include <cstddef>
#include <memory>
#include <unordered_set>
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

  // By the token. Hashes are not stored, because there may be a million watchdogs.
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const OwnerToken& token) const noexcept { return HashText()(token); }
    std::size_t operator()(const Watchdog* watchdog) const noexcept;
  };
  struct HasEqualToken {
    using is_transparent = void;
    bool operator()(const Watchdog* watchdog, const OwnerToken& token) const;
    bool operator()(const OwnerToken& token, const Watchdog* watchdog) const;
    bool operator()(const Watchdog* one, const Watchdog* other) const;
  };
  std::unordered_multiset<Watchdog*, Hash, HasEqualToken> watchdogs_;
  HoldAges ages_;
};

}  // namespace redlock
