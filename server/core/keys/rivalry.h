// Decides whether an attempt asks one node first, because daemons split the vote recently.
#pragma once

#include <chrono>

#include "server/core/clock.h"
#include "server/core/rounds/attempt.h"

namespace redlock {

class Rivalry {
 public:
  void OnSplit(MonotonicTime now) {
    until_ = now + kDuration;
    denied_first_ = 0;
  }
  [[nodiscard]] Attempt::Order NextOrder(MonotonicTime now) {
    if (now >= until_ || denied_first_ >= kMaxDeniedFirst) {
      denied_first_ = 0;
      return Attempt::Order::kAllAtOnce;
    }
    ++denied_first_;  // reset when another split is seen or all nodes are asked
    return Attempt::Order::kOneFirst;
  }

 private:
  static constexpr Duration kDuration = std::chrono::seconds(5);
  // Another holder may hold the first node alone. After this many denials by it, all nodes are
  // asked.
  static constexpr int kMaxDeniedFirst = 3;

  MonotonicTime until_;
  int denied_first_ = 0;  // consecutive attempts
};

}  // namespace redlock
