// Which endpoint is tried next, when, and for how long.
#pragma once

#include <cstddef>

#include "client/cpp/core/time.h"

namespace redlock::client {

class Connector {
 public:
  Connector(std::size_t endpoints, Duration connect_timeout, Duration grace, Random& random);

  // What the next Session uses, and the earliest time at which it is opened.
  [[nodiscard]] std::size_t endpoint() const { return endpoint_; }
  [[nodiscard]] TimePoint connect_at() const { return connect_at_; }
  // For how long one attempt may go on. With locks at stake, the first round has to leave time for
  // every endpoint.
  [[nodiscard]] Duration Patience(bool locks_at_stake) const;

  // The Session of endpoint() was abandoned before it was ready. True if that was the last one of
  // a round in which no endpoint worked.
  bool OnFailed(TimePoint now);
  // It was abandoned after it had been ready for this long.
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
  std::size_t failed_ = 0;       // attempts since a Session was last ready
  std::size_t short_lived_ = 0;  // Sessions since one lasted
  Duration pause_;
};

}  // namespace redlock::client
