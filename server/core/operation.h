// Operations in progress on a shard.
#pragma once

#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/core/check.h"
#include "server/core/types.h"

namespace redlock {

// Something that takes time. The registry owns it until it has ended; it may live a little longer,
// until the last node has answered. Strand-confined.
class Operation {
 public:
  virtual ~Operation() = default;
  // The daemon is shutting down: an operation that only waits ends, every other one continues.
  virtual void Drain() {}
};

// An operation that its caller may cancel.
//
// The contract of its callback, `done`: it is called exactly once, and never inside the call that
// started the operation. Cancel() calls it with `why` before it returns, unless it has been called.
class Cancellable : public Operation {
 public:
  virtual void Cancel(Reason why) = 0;
};

// Strand-confined.
class OperationRegistry {
 public:
  void Add(std::shared_ptr<Operation> operation) {
    Operation* const raw = operation.get();
    const bool added = operations_.emplace(raw, std::move(operation)).second;
    REDLOCK_CHECK(added);
  }
  void Remove(Operation& operation) {
    const std::size_t removed = operations_.erase(&operation);
    REDLOCK_CHECK(removed == 1);
  }
  void Drain() {
    std::vector<std::shared_ptr<Operation>> all;
    for (const auto& [raw, operation] : operations_) all.push_back(operation);
    for (const auto& operation : all) operation->Drain();
  }
  // Destroys the operations. Nothing is called back.
  void Clear() { operations_.clear(); }
  [[nodiscard]] std::size_t size() const { return operations_.size(); }

  // Visits the operations of one kind.
  template <typename Kind>
  void ForEach(auto visit) const {
    for (const auto& [raw, operation] : operations_) {
      if (const auto* const one = dynamic_cast<const Kind*>(raw)) visit(*one);
    }
  }

 private:
  std::unordered_map<Operation*, std::shared_ptr<Operation>> operations_;
};

}  // namespace redlock
