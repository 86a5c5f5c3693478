// The addresses that redlockd listens on: host:port or unix:/path.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace redlock::config {

// The longest path of a Unix socket. While it is being created, the path is longer
// (rpc/unix_socket.h), and the system allows 107 bytes.
constexpr std::size_t kMaxSocketPath = 96;

// Throws ConfigError.
void ValidateListen(const std::string& address);

// The same for host:port of the HTTP server. Empty: there is none. Port 0 is refused, because
// nothing would report which port was chosen.
void ValidateMetricsListen(const std::string& address);

// Whether only this machine can connect to the address: a loopback address or a Unix socket.
[[nodiscard]] bool IsLocal(const std::string& address);

// The name of a daemon that listens on these addresses, for people: the host name, and the first
// TCP port that the operator chose, if there is one.
[[nodiscard]] std::string DaemonName(const std::vector<std::string>& listen);

// The path of a Unix socket. Nothing for host:port.
[[nodiscard]] std::optional<std::string> SocketPath(const std::string& address);

}  // namespace redlock::config
