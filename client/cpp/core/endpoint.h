// The parts of an endpoint's address.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "redlock/result.h"

namespace redlock::client {

// True for "unix:/path" and its variants.
[[nodiscard]] bool IsUnix(std::string_view endpoint);
// Returns the host if it is a name, which may have several addresses; empty for addresses of IPv4
// and IPv6, and for Unix sockets.
[[nodiscard]] std::string HostName(std::string_view endpoint);

// Refuses an address without a port, a URL, and a port that is not from 1 to 65535; otherwise the
// client would only report that no daemon answers. Other forms of address are left to gRPC. The
// message begins with the endpoint.
[[nodiscard]] std::optional<Error> CheckEndpoint(const std::string& endpoint);

}  // namespace redlock::client
