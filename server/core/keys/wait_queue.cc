#include "server/core/keys/wait_queue.h"

#include "server/core/check.h"
#include "server/core/keys/acquisition.h"

namespace redlock {
namespace {

// Waiters behind the head are informed at most this often.
constexpr Duration kPositionPause = std::chrono::seconds(1);

}  // namespace

bool WaitQueue::Remove(const Acquisition& waiter) {
  if (IsHead(waiter)) {
    waiters_.pop_front();
    return true;
  }
  const std::size_t removed = std::erase(waiters_, &waiter);
  REDLOCK_CHECK(removed == 1);
  return false;
}

void WaitQueue::TellOfNewHead() {
  if (waiters_.empty()) {
    timer_.Cancel();
    return;
  }
  head().TellPosition(0);
  timer_ = scheduler_.After(kPositionPause, [this] { TellOthers(); });
}

void WaitQueue::TellOthers() const {
  for (std::size_t i = 1; i < waiters_.size(); ++i) waiters_[i]->TellPosition(i);
}

}  // namespace redlock
