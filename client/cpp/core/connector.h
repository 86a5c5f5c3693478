// Decides which endpoint is tried next, when, and for how long.
#pragma once

#include <cstddef>

#include "client/cpp/core/time.h"

namespace redlock::client {

class Connector {
 public:
  Connector(std::size_t endpoints, Duration connect_timeout, Duration grace, Random& random);

  // The endpoint of the next Session, and the earliest time at which the Session is opened.
  [[nodiscard]] std::size_t endpoint() const { return endpoint_; }
  [[nodiscard]] TimePoint connect_at() const { return connect_at_; }
  // How long one attempt to connect may take. With locks at stake, the attempts until every
  // endpoint has been tried once share half of the grace.
  [[nodiscard]] Duration Patience(bool locks_at_stake) const;

  // The Session to endpoint() was abandoned before it was ready. Returns true if every endpoint has
  // now failed once more.
  bool OnFailed(TimePoint now);
  // The Session to endpoint() was abandoned after it had been ready for `lasted`.
  void OnLost(TimePoint now, Duration lasted);

 private:
  void Next(TimePoint now) {
    endpoint_ = (endpoint_ + 1) % endpoints_;
    connect_at_ = now;
  }
  void Pause();

  const std::size_t endpoints_;
  const Duration connect_timeout_;
  const Duration grace_;
  Random& random_;
  std::size_t endpoint_ = 0;
  TimePoint connect_at_{};
  std::size_t failed_ = 0;       // failed attempts since a Session was last ready
  std::size_t short_lived_ = 0;  // short Sessions in a row
  Duration pause_;
};

}  // namespace redlock::client
