// Compares a node's wall clock with the daemon's monotonic clock. Redis expires keys by its wall
// clock, so a clock that steps or runs too fast makes a node forget locks early. Strand-confined.
//
// Each reading states: at some instant between `asked` and `answered`, the node's clock showed
// `shown`. Two rules judge it. B is the buffer of the drift budget and F its factor.
//
// Bounds. Between any two readings, the clock may gain or lose at most
//     time between them * F / 2 + B / 2.
// A clock that provably does more is off: it drifts too fast, or it stepped. Two numbers are enough
// to compare a reading with all earlier ones. Reading i allows a later one to show at most
// shown_i + (1 + F/2) * (now - asked_i) + B/2. That bound is lowest for the reading with the lowest
// shown_i - (1 + F/2) * asked_i. The lower bound is symmetric.
//
// Steps. The first rule alone would take a step for drift if the clock had not been read for long.
// So a gain of more than B / 2 since a recent reading counts as a step that may have happened at
// any time since, however long that is. A step endangers only leases whose drift budget is smaller,
// so the node pauses for no longer than such a lease can last:
//     pause = (gain - B / 2) / (F / 2)
//
// Why no lease of TTL T is granted a second time while it is valid:
//   1. The lease ends B + F * T before its key would expire if both clocks ran alike. To expire the
//      key early, the node's clock must gain more than B + F * T between the grant and the second
//      grant, which is itself a reading.
//   2. The grant lies between two successive readings of the daemon that asks for the second grant.
//      From the first of them to the next, the clock gained d. From then on, it gained at most
//      B / 2 + T * F / 2, by the first rule.
//   3. So d > B / 2 + T * F / 2, and the pause after that reading is longer than T. The node does
//      not grant before the lease has ended.
// After the clock was off by x, the bounds start again. That allows another B / 2, so the pause is
// (x + B / 2) / (F / 2), and pauses add up.
//
// The argument neglects how far a clock drifts back between a reading and a grant (readings are
// frequent, and a clock that drifts by more than F / 20 is read more often, see Drifts()) and, for
// steps that are smaller than B / 2 each, the time that a reading takes to reach the node. Nothing
// is known of the time before the first reading.
//
// The gain is measured between the instants at which the answers arrived: a second holder counts
// from there, and a late answer then makes the gain look smaller, never larger. If the answer to
// the earlier reading was late, the gain looks larger, by at most the time that this reading took.
// So the rule compares with the reading that took the shortest time of late ones, and counts only
// what exceeds this time: otherwise, load would look like steps. A step that is smaller than the
// time of the best reading goes unnoticed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "server/core/types.h"
#include "server/core/validity.h"

namespace redlock {

class NodeClock {
 public:
  struct Verdict {
    // By how much, at least, the clock has left its bounds: positive if ahead, negative if behind,
    // 0 if within them.
    Duration off{};
    // By how much the clock may have stepped ahead; 0 if it has not.
    Duration step{};
    // By how much it gained since the reading that this one was compared with; negative if it lost.
    Duration gain{};
    // How long the node must not grant: for `off`, and for `step` alone.
    Duration pause_for_off{};
    Duration pause_for_step{};
  };

  explicit NodeClock(const DriftBudget& budget)
      : factor_(budget.factor / 2), buffer_(static_cast<double>(budget.buffer.count()) / 2) {}

  // Adds a reading; `shown` is the time since the epoch. After a violation, the clock is followed
  // from this reading on.
  [[nodiscard]] Verdict Read(MonotonicTime asked, MonotonicTime answered, Duration shown) {
    if (!origin_) Restart(asked, shown);
    const Reading now{.shown = static_cast<double>((shown - origin_shown_).count()),
                      .asked = Since(asked),
                      .answered = Since(answered)};
    Verdict verdict = CompareWithOne(now);
    NoteDrift(now);
    CompareWithAll(now, verdict);
    if (verdict.off == Duration{}) return verdict;
    // The gain of a restarted clock counts from this reading, relative to a new origin.
    Restart(asked, shown);
    const Reading again{.shown = 0, .asked = 0, .answered = Since(answered)};
    highest_ = 0;
    lowest_ = -(1 - factor_) * again.answered;
    base_ = earlier_ = again;
    settled_ = true;
    return verdict;
  }

  // What is left of a pause if `gain` of the clock's gain was an error of the daemon's own clock.
  [[nodiscard]] Duration PauseWithout(Duration gain, Duration pause) const {
    const auto left = static_cast<double>(pause.count()) -
                      static_cast<double>(gain.count()) / std::max(factor_, kLeastFactor);
    return std::max(ToDuration(left), Duration{});
  }

  // Whether the clock gains or loses so much that it must be read every kCloseInterval, because its
  // drift would otherwise look like steps.
  [[nodiscard]] bool Drifts() const { return drifts_; }
  static constexpr Duration kCloseInterval = std::chrono::milliseconds(100);

 private:
  struct Reading {  // in ns since the origin
    double shown;
    double asked;
    double answered;
    [[nodiscard]] double took() const { return answered - asked; }
    [[nodiscard]] double lead() const { return shown - answered; }
  };
  static constexpr double kUnbounded = 1e18;
  static constexpr double kLongestPause = 1e15;  // ns
  static constexpr double kLeastFactor = 1e-6;
  // If the first readings take long, they are replaced by a better one without being compared with
  // it, for this long (ns). A daemon that started later would not have them.
  static constexpr double kToSettle = 3e9;
  static constexpr double kForDrift = 1e9;  // ns between the readings that show the drift

  void CompareWithAll(const Reading& now, Verdict& verdict) {
    const double ahead = now.shown - (1 + factor_) * now.answered - highest_ - buffer_;
    const double behind = lowest_ - buffer_ - (now.shown - (1 - factor_) * now.asked);
    if (ahead > 0 || behind > 0) {
      const double off = std::max(ahead, behind);
      verdict.off = ToDuration(ahead > 0 ? off : -off);
      verdict.pause_for_off = PauseFor(off + 2 * buffer_);
      return;
    }
    highest_ = std::min(highest_, now.shown - (1 + factor_) * now.asked);
    lowest_ = std::max(lowest_, now.shown - (1 - factor_) * now.answered);
  }

  Verdict CompareWithOne(const Reading& now) {
    const bool first = !base_;
    if (first) base_ = now;
    settled_ = settled_ || base_->took() <= buffer_ || now.answered > kToSettle;
    const double gain = now.lead() - base_->lead();
    const bool step = settled_ && gain - base_->took() > buffer_;
    // A reading loses its merit with its age, so that the clock's drift since does not matter.
    const double worse_by = now.took() - base_->took();
    const double merit = (now.answered - base_->answered) * (drifts_ ? factor_ : factor_ / 5);
    if (step || worse_by <= merit) base_ = now;
    if (!step) return {.gain = ToDuration(gain)};
    return {.step = ToDuration(gain), .gain = ToDuration(gain), .pause_for_step = PauseFor(gain)};
  }

  void NoteDrift(const Reading& now) {
    if (!earlier_) earlier_ = now;
    const double time = now.answered - earlier_->answered;
    if (time < kForDrift) return;
    const double noise = std::abs(now.took() - earlier_->took()) + buffer_ / 4;
    drifts_ = std::abs(now.lead() - earlier_->lead()) > time * factor_ / 10 + noise;
    earlier_ = now;
  }

  [[nodiscard]] Duration PauseFor(double gain) const {
    return ToDuration(std::min((gain - buffer_) / std::max(factor_, kLeastFactor), kLongestPause));
  }
  static Duration ToDuration(double ns) { return Duration(static_cast<Duration::rep>(ns)); }

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
  std::optional<Reading> base_;     // the reading that the next one is compared with
  std::optional<Reading> earlier_;  // the reading that shows the drift, at least kForDrift ago
  bool settled_ = false;            // `base_` is one to compare with
  bool drifts_ = false;
};

}  // namespace redlock
