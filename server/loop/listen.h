// Opens listening TCP sockets.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/loop/owned_fd.h"

namespace redlock {

// Listens on every address of the host, which is a name or an address. Does not block on accept().
// [::] includes the IPv4 addresses. Waits for the look-up of a name. Throws std::runtime_error if
// the host has no address, or if it cannot listen on one of them.
[[nodiscard]] std::vector<OwnedFd> Listen(const std::string& host, std::uint16_t port);

}  // namespace redlock
