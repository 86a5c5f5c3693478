// Time and chance, as the state machine sees them: both come from outside.
#pragma once

#include <chrono>
#include <cstdint>

#include "client/cpp/include/redlock/client.h"

namespace redlock::client {

// A clock that counts the time of a suspend, from any beginning.
struct BootClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock, Duration>;
  static constexpr bool is_steady = true;
};
using TimePoint = BootClock::time_point;

inline constexpr TimePoint kNever = TimePoint::max();

// `when` + `duration`, or kNever if that is out of range. `duration` is not negative.
[[nodiscard]] constexpr TimePoint After(TimePoint when, Duration duration) {
  return when > kNever - duration ? kNever : when + duration;
}

// Two clocks run at rates that differ by no more than this.
[[nodiscard]] constexpr Duration DriftOf(Duration duration) {
  return (duration < Duration::zero() ? -duration : duration) / 100;
}

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back.
  [[nodiscard]] virtual TimePoint Now() = 0;
};

class Random {
 public:
  virtual ~Random() = default;
  // 64 bits that nobody can guess: tokens are made of them.
  [[nodiscard]] virtual std::uint64_t Bits() = 0;
};

}  // namespace redlock::client
