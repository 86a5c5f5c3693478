// Checks the arguments of a call before anything is sent, so that an invalid value fails only that
// call.
#pragma once

#include <optional>
#include <string>

#include "client/cpp/core/time.h"

namespace redlock::client {

struct AcquireCommand {
  std::string key;
  Duration ttl{};
  std::optional<Duration> wait;  // unset: without a limit; zero: a single try
  std::string token;             // empty: the client makes one
  std::string owner;
  std::optional<Duration> margin;  // unset: see MarginOf()
};

// Returns an error if an argument is invalid. `grace` is the Session's disconnect_grace.
[[nodiscard]] std::optional<Error> Check(const AcquireCommand& command, Duration grace);
[[nodiscard]] std::optional<Error> CheckTtl(Duration ttl);
// Refuses the port of an endpoint "host:port" if it is not from 1 to 65535; otherwise the client
// would only report that no daemon answers. Other forms of address are left to gRPC. The message
// begins with the endpoint.
[[nodiscard]] std::optional<Error> CheckEndpoint(const std::string& endpoint);

// Returns how much trust is left when the loss of the lock is signalled.
[[nodiscard]] Duration MarginOf(const AcquireCommand& command, Duration grace);

}  // namespace redlock::client
