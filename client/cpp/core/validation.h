// What a caller asks for, checked before it is sent: a bad value fails only its own call.
#pragma once

#include <optional>
#include <string>

#include "client/cpp/core/time.h"

namespace redlock::client {

struct AcquireCommand {
  std::string key;
  Duration ttl{};
  std::optional<Duration> wait;  // unset: as long as it takes; zero: a single try
  std::string token;             // empty: the client makes one
  std::string owner;
  std::optional<Duration> margin;  // unset: a tenth of `ttl`, at most 500 ms; see MarginOf()
};

// What is wrong with it, if anything. `grace` is the Session's disconnect_grace.
[[nodiscard]] std::optional<Error> Check(const AcquireCommand& command, Duration grace);
[[nodiscard]] std::optional<Error> CheckTtl(Duration ttl);

// How much trust is left when the loss of the lock is signalled.
[[nodiscard]] Duration MarginOf(const AcquireCommand& command, Duration grace);

}  // namespace redlock::client
