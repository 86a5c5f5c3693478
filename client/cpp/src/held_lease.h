// A lease that the client has.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>

#include "client/cpp/include/redlock/client.h"

namespace redlock::client {

using TimePoint = std::chrono::steady_clock::time_point;

struct HeldLease {
  enum class State { kHeld, kLost, kReleased };

  const std::string key;
  const std::string token;
  const std::uint64_t fencing_token;
  const std::string owner;
  const Duration ttl;
  const Duration margin;

  // The rest under the core's mutex.
  State state = State::kHeld;
  TimePoint valid_until{};
  std::optional<Error> loss;
  // The daemon of the present connection keeps it alive; else it has to be taken there.
  bool watched = false;
  TimePoint take_along_at{};
  std::stop_source lost{};

  [[nodiscard]] TimePoint ends() const { return valid_until - margin; }
};

inline Duration MarginOf(const AcquireOptions& options) {
  constexpr Duration kMost = std::chrono::milliseconds(500);
  return options.margin.value_or(std::min(options.ttl / 10, kMost));
}

}  // namespace redlock::client
