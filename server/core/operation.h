// Operations in progress on a shard.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
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

 private:
  friend class OperationRegistry;
  static constexpr std::size_t kNowhere = std::numeric_limits<std::size_t>::max();
  std::size_t place_ = kNowhere;  // in the registry
};

// An operation that its caller may cancel.
//
// The contract of its callback, `done`: it is called exactly once, and never inside the call that
// started the operation. Cancel() calls it with `why` before it returns, unless it has been called.
class Cancellable : public Operation {
 public:
  virtual void Cancel(Reason why) = 0;
};

// Adding and removing take constant time. Strand-confined.
class OperationRegistry {
 public:
  void Add(std::shared_ptr<Operation> operation) {
    REDLOCK_CHECK(operation->place_ == Operation::kNowhere);
    operation->place_ = operations_.size();
    operations_.push_back(std::move(operation));
  }
  // Must be in the registry. May destroy the operation.
  void Remove(Operation& operation) {
    const std::size_t place = std::exchange(operation.place_, Operation::kNowhere);
    REDLOCK_CHECK(place < operations_.size() && operations_[place].get() == &operation);
    const std::shared_ptr<Operation> removed = std::move(operations_[place]);
    if (place + 1 < operations_.size()) {
      operations_[place] = std::move(operations_.back());
      operations_[place]->place_ = place;
    }
    operations_.pop_back();
  }
  void Drain() {
    const std::vector<std::shared_ptr<Operation>> all = operations_;
    for (const auto& operation : all) operation->Drain();
  }
  // Destroys the operations. Nothing is called back.
  void Clear() {
    const auto all = std::exchange(operations_, {});
    for (const auto& operation : all) operation->place_ = Operation::kNowhere;
  }
  [[nodiscard]] std::size_t size() const { return operations_.size(); }

  // Visits the operations of one kind.
  template <typename Kind>
  void ForEach(auto visit) const {
    for (const auto& operation : operations_) {
      if (const auto* const one = dynamic_cast<const Kind*>(operation.get())) visit(*one);
    }
  }

 private:
  std::vector<std::shared_ptr<Operation>> operations_;
};

}  // namespace redlock
