// Compares a node's wall clock with the daemon's monotonic clock. Redis expires keys by its wall
// clock, so a clock that steps or runs too fast makes a node forget locks early. Strand-confined.
//
// Each reading states: at some instant between `asked` and `answered`, the node's clock showed
// `shown`. Between any two readings, the clock may gain or lose at most
//     time between them * factor / 2 + buffer / 2,
// which is half of the drift budget. The other half covers what readings cannot show: an overlap of
// one message delay, and the time between a holder's grant and this daemon's previous reading.
//
// Two numbers are enough to compare a reading with all earlier ones. Reading i allows a later one
// to show at most shown_i + (1 + f) * (now - asked_i) + b. That bound is lowest for the reading
// with the lowest shown_i - (1 + f) * asked_i. The lower bound is symmetric.
#pragma once

#include <algorithm>
#include <optional>

#include "server/core/types.h"
#include "server/core/validity.h"

namespace redlock {

class NodeClock {
 public:
  explicit NodeClock(const DriftBudget& budget)
      : factor_(budget.factor / 2), buffer_(static_cast<double>(budget.buffer.count()) / 2) {}

  // Adds a reading; `shown` is the time since the epoch. Returns by how much, at least, the clock
  // has left its bounds: positive if ahead, negative if behind, 0 if within them. After a
  // violation, the clock is followed from this reading on.
  [[nodiscard]] Duration Read(MonotonicTime asked, MonotonicTime answered, Duration shown) {
    if (!origin_) Restart(asked, shown);
    const double from = Since(asked);
    const double to = Since(answered);
    const auto y = static_cast<double>((shown - origin_shown_).count());
    const double ahead = y - (1 + factor_) * to - highest_ - buffer_;
    const double behind = lowest_ - buffer_ - (y - (1 - factor_) * from);
    if (ahead > 0 || behind > 0) {
      Restart(asked, shown);
      highest_ = 0;
      lowest_ = -(1 - factor_) * Since(answered);
      return Duration(static_cast<Duration::rep>(ahead > 0 ? ahead : -behind));
    }
    highest_ = std::min(highest_, y - (1 + factor_) * from);
    lowest_ = std::max(lowest_, y - (1 - factor_) * to);
    return {};
  }

 private:
  static constexpr double kUnbounded = 1e18;

  void Restart(MonotonicTime asked, Duration shown) {
    origin_ = asked;
    origin_shown_ = shown;
    highest_ = kUnbounded;
    lowest_ = -kUnbounded;
  }
  [[nodiscard]] double Since(MonotonicTime when) const {
    return static_cast<double>((when - *origin_).count());
  }

  const double factor_;
  const double buffer_;  // ns
  // Readings are stored relative to the first one, so that a double keeps nanosecond precision.
  std::optional<MonotonicTime> origin_;
  Duration origin_shown_{};
  double highest_ = kUnbounded;
  double lowest_ = -kUnbounded;
};

}  // namespace redlock
