#include "server/core/timer_queue.h"

namespace redlock {

class TimerQueue::Entry final : public TimerHandle::Entry {
 public:
  Entry(TimerQueue& queue, Position position) : queue_(queue), position_(position) {}
  // A sequence number is never used twice, so erasing a timer that has fired finds nothing.
  ~Entry() override { queue_.timers_.erase(position_); }

 private:
  TimerQueue& queue_;
  Position position_;
};

// A callback may own handles of this very queue, which look for their timers when they go.
TimerQueue::~TimerQueue() { const auto timers = std::exchange(timers_, {}); }

TimerHandle TimerQueue::Add(MonotonicTime when, std::function<void()> callback) {
  const Position position{when, sequence_++};
  timers_.emplace(position, std::move(callback));
  return TimerHandle(std::make_unique<Entry>(*this, position));
}

std::optional<MonotonicTime> TimerQueue::Next() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first.first;
}

std::optional<std::function<void()>> TimerQueue::TakeDue(MonotonicTime now) {
  if (timers_.empty() || timers_.begin()->first.first > now) return std::nullopt;
  return std::move(timers_.extract(timers_.begin()).mapped());
}

}  // namespace redlock
