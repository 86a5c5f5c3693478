// How old the daemon's messages are.
//
// A message carries the daemon's monotonic clock of when it was made. The smallest difference
// between that and this machine's clock at arrival belongs to the fastest message; what is more
// than that is delay. How long the fastest one took is not known, but it was no longer than the
// shortest round trip. Clocks run apart slowly, so that the smallest difference is that of the last
// minute or two.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace redlock::client {

// One thread at a time.
class DaemonClock {
 public:
  using Duration = std::chrono::nanoseconds;
  using TimePoint = std::chrono::steady_clock::time_point;

  // Takes in a message that was made at `daemon` and came at `now`.
  void OnMessage(Duration daemon, TimePoint now) {
    const Duration difference = now.time_since_epoch() - daemon;
    if (now - window_began_ > kWindow) {
      before_ = smallest_;
      smallest_ = difference;
      window_began_ = now;
    }
    smallest_ = std::min(smallest_.value_or(difference), difference);
  }
  // An answer took so long, from the request on.
  void OnRoundTrip(Duration took) { shortest_trip_ = std::min(shortest_trip_, took); }

  // By this machine's clock, not after the moment when the daemon made the message.
  [[nodiscard]] TimePoint MadeAt(Duration daemon) const {
    const Duration smallest =
        std::min(smallest_.value_or(Duration{}), before_.value_or(Duration::max()));
    return TimePoint(daemon + smallest - shortest_trip_);
  }

 private:
  static constexpr Duration kWindow = std::chrono::minutes(1);

  std::optional<Duration> smallest_;  // difference in this window
  std::optional<Duration> before_;    // in the one before
  TimePoint window_began_;
  Duration shortest_trip_ = std::chrono::hours(1);
};

}  // namespace redlock::client
