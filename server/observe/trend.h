// What the daemon did in the last minutes, for the charts of the status page. The daemon keeps it,
// so that the charts are there when somebody opens the page.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "server/core/statistics.h"
#include "server/core/types.h"

namespace redlock::observe {

// Not thread-safe.
class Trend {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration kPeriod = std::chrono::seconds(5);
  static constexpr std::size_t kMost = 120;  // points: ten minutes

  // What happened between two samples.
  struct Point {
    WallTime at;  // of the later sample
    double acquired_per_second = 0;
    std::optional<Duration> wait;  // mean time to acquire; nothing if nothing was acquired
  };

  // Adds a sample of the counters. Those that are missing make the next point longer.
  void Add(Clock::time_point now, WallTime at, const Statistics& statistics);
  // The oldest first; at most kMost.
  [[nodiscard]] const std::deque<Point>& points() const { return points_; }

 private:
  struct Sample {
    Clock::time_point at;
    std::uint64_t acquired = 0;
    double waited_seconds = 0;
  };

  std::optional<Sample> last_;
  std::deque<Point> points_;
};

}  // namespace redlock::observe
