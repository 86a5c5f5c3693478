// How long a client may trust what a daemon has said. See "Trust" in client/PROTOCOL.md.
#pragma once

#include <optional>

#include "client/cpp/core/time.h"

namespace redlock::client {

// Dates the messages of one daemon by the client's clock.
//
// Whenever an operation is answered, the client knows that it sent the operation at `sent`, and
// that the daemon's clock read `clock` afterwards. The pair that dates messages latest is kept. An
// old pair loses 1 % of its age, for clocks that run at different rates, so that new ones replace
// it.
class ClockAnchor {
 public:
  void OnAnswer(TimePoint sent, Duration clock);
  // The earliest time at which the daemon can have made the message that carries `clock`. Nothing
  // if no operation has been answered yet: a validity in the message is then of no use.
  [[nodiscard]] std::optional<TimePoint> MadeAt(Duration clock) const;

 private:
  struct Pair {
    TimePoint sent;
    Duration clock;
  };

  std::optional<Pair> pair_;
};

// Until when a Session can be trusted: the daemon keeps its leases for `grace` after the last
// message that it has read.
class SessionTrust {
 public:
  explicit SessionTrust(Duration grace) : grace_(grace) {}

  // An operation that was sent at `sent` has been answered.
  void OnAnswer(TimePoint sent);
  // The sending time of the last message that is known to have been read.
  [[nodiscard]] TimePoint heard() const { return heard_; }
  [[nodiscard]] TimePoint Until() const;

 private:
  const Duration grace_;
  TimePoint heard_ = TimePoint::min();
};

}  // namespace redlock::client
