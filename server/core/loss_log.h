// The most recent lease losses that watchdogs reported, for operators. Strand-confined.
#pragma once

#include <deque>
#include <string>
#include <utility>

#include "server/core/clock.h"
#include "server/core/types.h"

namespace redlock {

struct Loss {
  Key key;
  WallTime at;
  std::string message;
};

class LossLog {
 public:
  static constexpr std::size_t kMost = 20;

  void Add(Loss loss) {
    if (losses_.size() == kMost) losses_.pop_front();
    losses_.push_back(std::move(loss));
  }
  // Oldest first.
  [[nodiscard]] const std::deque<Loss>& losses() const { return losses_; }

 private:
  std::deque<Loss> losses_;
};

}  // namespace redlock
