// Computes how long a client may trust a daemon. See "Trust" in client/PROTOCOL.md.
#pragma once

#include <optional>

#include "client/cpp/core/time.h"

namespace redlock::client {

// Dates the messages of one daemon on the client's clock.
//
// For each answered operation, the client knows that it sent the operation at `sent`, and that the
// daemon's clock read `clock` afterwards. ClockAnchor keeps the pair that dates messages latest. A
// pair loses 1 % of its age, because the clocks may run at different rates, so newer pairs replace
// it.
class ClockAnchor {
 public:
  void OnAnswer(TimePoint sent, Duration clock);
  // The earliest time at which the daemon can have made the message that carries `clock`. Unset if
  // no operation has been answered yet: a validity in the message cannot be used then.
  [[nodiscard]] std::optional<TimePoint> MadeAt(Duration clock) const;

 private:
  struct Pair {
    TimePoint sent;
    Duration clock;
  };

  std::optional<Pair> pair_;
};

// Computes until when a Session can be trusted: the daemon keeps its leases for `grace` after the
// last message that it has read.
class SessionTrust {
 public:
  explicit SessionTrust(Duration grace) : grace_(grace) {}

  // An operation that was sent at `sent` has been answered.
  void OnAnswer(TimePoint sent);
  // The sending time of the last message that the daemon is known to have read.
  [[nodiscard]] TimePoint heard() const { return heard_; }
  [[nodiscard]] TimePoint Until() const;

 private:
  const Duration grace_;
  TimePoint heard_ = TimePoint::min();
};

}  // namespace redlock::client
