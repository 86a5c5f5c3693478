// The acquisitions that wait for one key at this daemon: first come, first served.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>

#include "server/core/clock.h"

namespace redlock {

class Acquisition;

// Tells its waiters their positions when the head changes. Strand-confined. Waiters must leave
// before they are destroyed.
class WaitQueue {
 public:
  explicit WaitQueue(Scheduler& scheduler) : scheduler_(scheduler) {}

  [[nodiscard]] bool empty() const { return waiters_.empty(); }
  [[nodiscard]] std::size_t size() const { return waiters_.size(); }
  [[nodiscard]] Acquisition& head() const { return *waiters_.front(); }
  [[nodiscard]] bool IsHead(const Acquisition& waiter) const {
    return !waiters_.empty() && waiters_.front() == &waiter;
  }
  void ForEach(auto visit) const {
    for (std::size_t i = 0; i < waiters_.size(); ++i) visit(*waiters_[i], i);
  }

  // The first for which matches(const Acquisition&) is true; null if there is none.
  [[nodiscard]] Acquisition* FirstOf(auto matches) const {
    const auto found = std::ranges::find_if(
        waiters_, [&matches](const Acquisition* waiter) { return matches(*waiter); });
    return found == waiters_.end() ? nullptr : *found;
  }

  void Add(Acquisition& waiter) { waiters_.push_back(&waiter); }
  // The head waits behind all others from now on.
  void SendHeadBack() { std::rotate(waiters_.begin(), waiters_.begin() + 1, waiters_.end()); }
  // At any position. Returns whether it was the head.
  bool Remove(const Acquisition& waiter);

  [[nodiscard]] std::size_t PositionOf(const Acquisition& waiter) const {
    return static_cast<std::size_t>(std::ranges::find(waiters_, &waiter) - waiters_.begin());
  }
  // After the head has left: the new one is told at once, the others after a pause. Positions
  // change with every hand-over.
  void TellOfNewHead();

 private:
  void TellOthers() const;

  Scheduler& scheduler_;
  std::deque<Acquisition*> waiters_;
  TimerHandle timer_;  // calls TellOthers()
};

}  // namespace redlock
