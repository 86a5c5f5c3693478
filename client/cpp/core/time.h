// Time and randomness for the state machine. Both come from its driver.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "redlock/result.h"

namespace redlock::client {

// A clock that counts suspend time, from an arbitrary epoch.
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

// How far two clocks can drift apart during `duration`: their rates differ by at most 1 %.
[[nodiscard]] constexpr Duration DriftOf(Duration duration) {
  return (duration < Duration::zero() ? -duration : duration) / 100;
}

// In whole milliseconds; a fraction is dropped.
[[nodiscard]] constexpr std::int64_t Millis(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

// For messages: "2 s" or "250 ms".
[[nodiscard]] inline std::string InWords(Duration duration) {
  const std::int64_t ms = Millis(duration);
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

// With three decimals: "12.345 s".
[[nodiscard]] inline std::string InSeconds(Duration duration) {
  const std::string ms = std::to_string(Millis(duration) % 1000);
  return std::to_string(Millis(duration) / 1000) + "." + std::string(3 - ms.size(), '0') + ms +
         " s";
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
  // Returns 64 unpredictable bits, for owner tokens.
  [[nodiscard]] virtual std::uint64_t Bits() = 0;
};

}  // namespace redlock::client
