#include "client/cpp/core/connector.h"

#include <algorithm>

namespace redlock::client {
namespace {

constexpr Duration kShortestPause = std::chrono::milliseconds(50);
constexpr Duration kLongestPause = std::chrono::seconds(1);
// A Session that ends sooner does not count as a success: a daemon may end every Session at once.
constexpr Duration kLasting = std::chrono::seconds(1);

}  // namespace

Connector::Connector(std::size_t endpoints, Duration connect_timeout, Duration grace,
                     Random& random)
    : endpoints_(endpoints),
      connect_timeout_(connect_timeout),
      grace_(grace),
      random_(random),
      pause_(kShortestPause) {}

Duration Connector::Patience(bool locks_at_stake) const {
  if (!locks_at_stake || failed_ >= endpoints_) return connect_timeout_;
  return std::min(connect_timeout_, grace_ / 2 / static_cast<int>(endpoints_));
}

bool Connector::OnFailed(TimePoint now) {
  Next(now);
  if (++failed_ % endpoints_ != 0) return false;
  Pause();
  return true;
}

void Connector::OnLost(TimePoint now, Duration lasted) {
  Next(now);
  failed_ = 0;
  if (lasted >= kLasting) {
    short_lived_ = 0;
    pause_ = kShortestPause;
  } else if (++short_lived_ % endpoints_ == 0) {
    Pause();
  }
}

// Waits from half of the pause up to all of it, with jitter.
void Connector::Pause() {
  connect_at_ += pause_ / 2 + pause_ * static_cast<int>(random_.Bits() % 512) / 1024;
  pause_ = std::min(pause_ * 2, kLongestPause);
}

}  // namespace redlock::client
