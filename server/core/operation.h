// The operations in progress in a shard, and their retry policy. Strand-confined.
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

// An operation that takes time. The registry owns it until it removes itself. It may live a little
// longer: until the last node has answered.
class Operation {
 public:
  virtual ~Operation() = default;
  // Ends the operation. If its caller has not had an answer yet, it gets `why` before this returns.
  virtual void Cancel(Reason why) = 0;
  // The daemon is shutting down: operations that only wait end, the others continue.
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

  // Visits the operations of one type.
  template <typename Kind>
  void ForEach(auto visit) const {
    for (const auto& [raw, operation] : operations_) {
      if (const auto* const one = dynamic_cast<const Kind*>(raw)) visit(*one);
    }
  }

  // Index of the watchdogs by the owner token of their lease.
  void AddWatchdog(Watchdog& watchdog);
  void RemoveWatchdog(Watchdog& watchdog);
  [[nodiscard]] std::size_t watchdogs() const { return watchdogs_.size(); }
  // The watchdogs of one lease: none, or one for each stream that watches it.
  [[nodiscard]] std::vector<std::shared_ptr<Watchdog>> WatchdogsOf(const Key& key,
                                                                   const OwnerToken& token) const;

  // Counts the releases of a key that are in progress. Each ends when the last node has answered.
  void BeginRelease(const Key& key) { ++releases_[key.value()]; }
  void EndRelease(const Key& key) {
    const auto found = releases_.find(key.value());
    if (--found->second == 0) releases_.erase(found);
  }
  [[nodiscard]] bool IsReleasing(const Key& key) const { return releases_.contains(key.value()); }

 private:
  std::unordered_map<std::string, std::size_t> releases_;
  std::unordered_multimap<std::size_t, Watchdog*> watchdogs_;  // by the hash of the token
  // Destroyed first: the destructor of a release still uses the members above.
  std::unordered_map<Operation*, std::shared_ptr<Operation>> operations_;
};

// How often and after which delay an operation is retried. Names and defaults follow
// trviph/redlock.
struct RetryPolicy {
  static constexpr int kNoLimit = -1;
  int max_retries = kNoLimit;
  Duration min_delay{};
  Duration max_jitter = std::chrono::milliseconds(300);
};

// Keeps a policy without delay from becoming a busy loop when nodes fail immediately.
inline constexpr Duration kLeastRetryDelay = std::chrono::milliseconds(1);

// Returns the pause before the next attempt. The caller decides whether there is a next attempt.
[[nodiscard]] inline Duration NextRetryDelay(const RetryPolicy& policy, Random& random) {
  return std::max(policy.min_delay + random.UpTo(policy.max_jitter), kLeastRetryDelay);
}

}  // namespace redlock
