#include "client/cpp/core/trust.h"

#include <algorithm>

namespace redlock::client {
namespace {

// The precision of the daemon's timers.
constexpr Duration kPrecision = std::chrono::milliseconds(2);

TimePoint EarliestAt(TimePoint sent, Duration passed) { return sent + passed - DriftOf(passed); }

}  // namespace

void ClockAnchor::OnAnswer(TimePoint sent, Duration clock) {
  if (pair_ && sent < EarliestAt(pair_->sent, clock - pair_->clock)) return;
  pair_ = Pair{sent, clock};
}

std::optional<TimePoint> ClockAnchor::MadeAt(Duration clock) const {
  if (!pair_) return std::nullopt;
  return EarliestAt(pair_->sent, clock - pair_->clock);
}

void SessionTrust::OnAnswer(TimePoint sent) { heard_ = std::max(heard_, sent); }

TimePoint SessionTrust::Until() const {
  if (heard_ == TimePoint::min()) return TimePoint::min();
  return heard_ + grace_ - (DriftOf(grace_) + kPrecision);
}

}  // namespace redlock::client
