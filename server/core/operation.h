// Operations under way in a shard, and how one is repeated.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/core/environment.h"

namespace redlock {

class Watchdog;

// Something that takes time: owned by the registry until it says that it is done. It may live a
// little longer, until the last node has answered.
class Operation {
 public:
  virtual ~Operation() = default;
  // Ends it; its caller is told `why`, before this returns, unless it has been told already.
  virtual void Cancel(Reason why) = 0;
  // The daemon is shutting down: what only waits ends. The rest goes on.
  virtual void Drain() {}
};

class OperationRegistry {
 public:
  void Add(std::shared_ptr<Operation> operation) {
    Operation* const raw = operation.get();
    operations_.emplace(raw, std::move(operation));
  }
  void Remove(Operation& operation) { operations_.erase(&operation); }
  void Drain() {
    std::vector<std::shared_ptr<Operation>> all;
    for (const auto& [raw, operation] : operations_) all.push_back(operation);
    for (const auto& operation : all) operation->Drain();
  }
  [[nodiscard]] std::size_t size() const { return operations_.size(); }

  // Those of one kind.
  template <typename Kind>
  void ForEach(auto visit) const {
    for (const auto& [raw, operation] : operations_) {
      if (const auto* const one = dynamic_cast<const Kind*>(raw)) visit(*one);
    }
  }

  // Watchdogs among them, by the token of their lease.
  void AddWatchdog(Watchdog& watchdog);
  void RemoveWatchdog(Watchdog& watchdog);
  [[nodiscard]] std::size_t watchdogs() const { return watchdogs_.size(); }
  // Those of one lease: of several streams, or none.
  [[nodiscard]] std::vector<std::shared_ptr<Watchdog>> WatchdogsOf(const Key& key,
                                                                   const OwnerToken& token) const;

  // Some owner's release of the key is under way until the last node has answered it.
  void BeginRelease(const Key& key) { ++releases_[key.value()]; }
  void EndRelease(const Key& key) {
    const auto found = releases_.find(key.value());
    if (--found->second == 0) releases_.erase(found);
  }
  [[nodiscard]] bool IsReleasing(const Key& key) const { return releases_.contains(key.value()); }

 private:
  std::unordered_map<std::string, std::size_t> releases_;
  std::unordered_multimap<std::size_t, Watchdog*> watchdogs_;  // by a hash of the token
  // Destroyed first: a release that goes with it takes itself out of the rest.
  std::unordered_map<Operation*, std::shared_ptr<Operation>> operations_;
};

// How often and when an operation is tried again; trviph/redlock's terms and defaults.
struct RetryPolicy {
  static constexpr int kNoLimit = -1;
  int max_retries = kNoLimit;
  Duration min_delay{};
  Duration max_jitter = std::chrono::milliseconds(300);
};

// Nodes that fail at once must not turn a policy without delay into a busy loop.
inline constexpr Duration kLeastRetryDelay = std::chrono::milliseconds(1);

// The pause before the next attempt. Whether there is a next one is the caller's to decide.
[[nodiscard]] inline Duration NextRetryDelay(const RetryPolicy& policy, Random& random) {
  return std::max(policy.min_delay + random.UpTo(policy.max_jitter), kLeastRetryDelay);
}

}  // namespace redlock
