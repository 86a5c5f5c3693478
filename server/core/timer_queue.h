// Timers in the order in which they are due. The loop and the simulation both keep theirs here.
// One thread. O(log n) to set, to cancel and to fire.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "server/core/clock.h"

namespace redlock {

class TimerQueue {
 public:
  TimerQueue() = default;
  ~TimerQueue();
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  [[nodiscard]] TimerHandle Add(MonotonicTime when, std::function<void()> callback);

  // The earliest deadline, if any timer is set.
  [[nodiscard]] std::optional<MonotonicTime> Next() const;

  // Takes out the earliest timer if it is due, for the caller to call.
  [[nodiscard]] std::optional<std::function<void()>> TakeDue(MonotonicTime now);

  [[nodiscard]] std::size_t size() const { return timers_.size(); }

 private:
  using Position = std::pair<MonotonicTime, std::uint64_t>;  // sequence breaks ties
  class Entry;

  std::map<Position, std::function<void()>> timers_;
  std::uint64_t sequence_ = 0;
};

}  // namespace redlock
