// What the daemon did in the last minutes, and how fast the nodes answered, for the status page.
// The daemon keeps it, so that it is there when somebody opens the page.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "server/core/statistics.h"
#include "server/core/types.h"

namespace redlock::observe {

// Not thread-safe.
class Trend {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration kPeriod = std::chrono::seconds(5);
  static constexpr std::size_t kMost = 120;  // points: ten minutes
  static constexpr Clock::duration kAnswersPeriod = std::chrono::minutes(1);

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
  // The times of the node's answers in the last minute before the last sample.
  [[nodiscard]] Histogram AnswerTimes(NodeIndex node) const;

 private:
  struct Sample {
    Clock::time_point at;
    std::uint64_t acquired = 0;
    double waited_seconds = 0;
  };

  // The answers of all nodes since startup.
  struct Answers {
    Clock::time_point at;
    std::vector<Histogram> times;
  };

  void AddAnswers(Clock::time_point now, const Statistics& statistics);

  std::optional<Sample> last_;
  std::deque<Point> points_;
  std::deque<Answers> answers_;  // of the last minute and the sample before it, the oldest first
};

}  // namespace redlock::observe
