// Timers in the order in which they are due. The loop and the simulation both keep theirs here.
// One thread. O(log n) to set, to cancel and to fire; one allocation a timer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

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

  [[nodiscard]] std::size_t size() const { return heap_.size(); }

 private:
  class Entry;
  struct Slot {
    MonotonicTime when;
    std::uint64_t sequence = 0;  // breaks ties
    Entry* entry = nullptr;      // knows where its slot is
    bool operator<(const Slot& other) const {
      return std::tie(when, sequence) < std::tie(other.when, other.sequence);
    }
  };

  void Put(std::size_t place, const Slot& slot);
  void SiftUp(std::size_t place, const Slot& slot);
  void SiftDown(std::size_t place, const Slot& slot);
  void Remove(std::size_t place);

  std::vector<Slot> heap_;  // binary: the earliest is the first
  std::uint64_t sequence_ = 0;
};

}  // namespace redlock
