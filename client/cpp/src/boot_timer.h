// The system's clock, randomness and timer for the state machine. Clock and timer count suspend
// time.
#pragma once

#include "client/cpp/core/time.h"

namespace redlock::client {

class SystemClock final : public Clock {
 public:
  [[nodiscard]] TimePoint Now() override;
};

// Reads getrandom(2).
class SystemRandom final : public Random {
 public:
  [[nodiscard]] std::uint64_t Bits() override;
};

// Wakes one thread at a time that other threads set. A suspend does not delay it.
class BootTimer {
 public:
  // Throws std::system_error.
  BootTimer();
  ~BootTimer();
  BootTimer(const BootTimer&) = delete;
  BootTimer& operator=(const BootTimer&) = delete;

  // Sets the time, and replaces the one that was set before. Callable from any thread.
  void Set(TimePoint when);
  // Blocks until the time that is set.
  void Wait() const;

 private:
  const int fd_;
};

}  // namespace redlock::client
