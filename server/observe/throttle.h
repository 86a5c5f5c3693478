// Limits the rate of similar log lines.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

#include "server/sync/mutex.h"

namespace redlock::observe {

// A token bucket. Thread-safe.
class Throttle {
 public:
  using Clock = std::chrono::steady_clock;

  Throttle(double per_second, double burst)
      : per_second_(per_second), burst_(burst), tokens_(burst) {}

  // Returns the number of lines suppressed since the last one that was admitted. Nothing: suppress
  // this one too.
  [[nodiscard]] std::optional<std::size_t> Admit(Clock::time_point now) {
    const MutexLock lock(mutex_);
    const std::chrono::duration<double> passed = now - std::exchange(filled_, now);
    tokens_ = std::min(burst_, tokens_ + passed.count() * per_second_);
    if (tokens_ < 1) {
      ++held_back_;
      return std::nullopt;
    }
    tokens_ -= 1;
    return std::exchange(held_back_, 0);
  }

 private:
  const double per_second_;
  const double burst_;
  Mutex mutex_;
  double tokens_ REDLOCK_GUARDED_BY(mutex_);
  Clock::time_point filled_ REDLOCK_GUARDED_BY(mutex_);
  std::size_t held_back_ REDLOCK_GUARDED_BY(mutex_) = 0;
};

}  // namespace redlock::observe
