#include "server/observe/trend.h"

#include <utility>

namespace redlock::observe {

void Trend::Add(Clock::time_point now, WallTime at, const Statistics& statistics) {
  const Sample sample{.at = now,
                      .acquired = statistics.acquisitions.done(),
                      .waited_seconds = statistics.acquisition_times.sum_seconds()};
  const auto before = std::exchange(last_, sample);
  if (!before || before->at >= now) return;
  const auto acquired = static_cast<double>(sample.acquired - before->acquired);
  const double seconds = std::chrono::duration<double>(now - before->at).count();
  Point point{.at = at, .acquired_per_second = acquired / seconds, .wait = {}};
  if (acquired > 0) {
    const double mean = (sample.waited_seconds - before->waited_seconds) / acquired;
    point.wait = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(mean));
  }
  points_.push_back(point);
  if (points_.size() > kMost) points_.pop_front();
}

}  // namespace redlock::observe
