// A priority queue of timers, used by the event loop and by the simulation. Strand-confined.
// Setting, cancelling and firing take O(log n); each timer takes one allocation.
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

  // Removes the earliest timer and returns its callback, if it is due. The caller calls it.
  [[nodiscard]] std::optional<std::function<void()>> TakeDue(MonotonicTime now);

  [[nodiscard]] std::size_t size() const { return heap_.size(); }

 private:
  class Entry;
  struct Slot {
    MonotonicTime when;
    std::uint64_t sequence = 0;  // breaks ties
    Entry* entry = nullptr;      // stores the index of this slot
    bool operator<(const Slot& other) const {
      return std::tie(when, sequence) < std::tie(other.when, other.sequence);
    }
  };

  void Put(std::size_t place, const Slot& slot);
  void SiftUp(std::size_t place, const Slot& slot);
  void SiftDown(std::size_t place, const Slot& slot);
  void Remove(std::size_t place);

  std::vector<Slot> heap_;  // binary heap: the earliest timer is first
  std::uint64_t sequence_ = 0;
};

}  // namespace redlock
