// The clock that counts the time of a suspend, and waiting by it.
#pragma once

#include "client/cpp/core/time.h"

namespace redlock::client {

class SystemClock final : public Clock {
 public:
  [[nodiscard]] TimePoint Now() override;
};

// From getrandom(2).
class SystemRandom final : public Random {
 public:
  [[nodiscard]] std::uint64_t Bits() override;
};

// Wakes one thread at a time that others choose. A suspend does not hold it up.
class BootTimer {
 public:
  // Throws std::system_error.
  BootTimer();
  ~BootTimer();
  BootTimer(const BootTimer&) = delete;
  BootTimer& operator=(const BootTimer&) = delete;

  // From any thread; replaces the time that was set before.
  void Set(TimePoint when);
  // Until the time that is set.
  void Wait() const;

 private:
  const int fd_;
};

}  // namespace redlock::client
