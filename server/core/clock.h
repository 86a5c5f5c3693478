// Time as the core sees it. Injected: the daemon's event loop and the simulation implement it.
#pragma once

#include <functional>
#include <memory>

#include "server/core/types.h"

namespace redlock {

// Reads both clocks. Every method: in the shard's turns.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual MonotonicTime Now() const = 0;
  [[nodiscard]] virtual WallTime WallNow() const = 0;
};

// A timer that has been set. Destroying or assigning over it cancels the timer: afterwards its
// callback is not called any more. Must not outlive its scheduler.
class TimerHandle {
 public:
  class Entry {
   public:
    virtual ~Entry() = default;
  };

  TimerHandle() = default;
  explicit TimerHandle(std::unique_ptr<Entry> entry) : entry_(std::move(entry)) {}
  void Cancel() { entry_.reset(); }

 private:
  std::unique_ptr<Entry> entry_;
};

// Runs callbacks later, in the shard's turns, never inside the call that sets them.
class Scheduler : public Clock {
 public:
  // Calls back once, at `when` or as soon after as the thread is free; at once if it has passed.
  // Timers due at the same instant fire in the order in which they were set.
  [[nodiscard]] virtual TimerHandle At(MonotonicTime when, std::function<void()> callback) = 0;

  [[nodiscard]] TimerHandle After(Duration delay, std::function<void()> callback) {
    return At(Now() + delay, std::move(callback));
  }
};

}  // namespace redlock
