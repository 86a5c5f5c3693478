// Clock and timers of the core. Injected: the daemon's event loop and the simulation implement
// them.
#pragma once

#include <functional>
#include <memory>

#include "server/core/types.h"

namespace redlock {

// Reads both clocks. Strand-confined: call only on the shard's strand.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual MonotonicTime Now() const = 0;
  [[nodiscard]] virtual WallTime WallNow() const = 0;
};

// Owns a timer that is set. Destroying the handle or assigning over it cancels the timer: its
// callback is not called afterwards. A handle must not outlive its scheduler.
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

// Runs callbacks later, on the shard's strand, never inside the call that sets them.
class Scheduler : public Clock {
 public:
  // Whether the calling thread holds the shard's strand. Callable from any thread.
  [[nodiscard]] virtual bool OnStrand() const = 0;

  // How long the machine has been suspended since it started, as far as the kernel knows. Now()
  // counts this time, but perhaps not exactly.
  [[nodiscard]] virtual Duration Suspended() const = 0;

  // Calls back once, at `when` or as soon after it as the thread is free. A time in the past means
  // as soon as possible. Timers due at the same instant fire in the order in which they were set.
  [[nodiscard]] virtual TimerHandle At(MonotonicTime when, std::function<void()> callback) = 0;

  [[nodiscard]] TimerHandle After(Duration delay, std::function<void()> callback) {
    return At(Now() + delay, std::move(callback));
  }
};

}  // namespace redlock
