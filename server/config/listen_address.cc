#include "server/config/listen_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <string_view>

#include "server/config/host.h"
#include "server/config/settings.h"

namespace redlock::config {
namespace {

constexpr std::string_view kUnix = "unix:";

bool IsDigits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// The host of host:port without [ ]. Empty if the address has another form.
std::string_view HostOf(std::string_view address) {
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos || !IsDigits(address.substr(colon + 1))) return {};
  std::string_view host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    return IsIpV6(host) ? host : std::string_view();
  }
  return IsHostName(host) ? host : std::string_view();
}

// gRPC decodes % and gives ? and # a meaning of their own, so a path with them would name another
// file.
void ValidateSocketPath(const std::string& address, const std::string& path) {
  const auto fail = [&](const std::string& what) {
    throw ConfigError("--listen " + address + ": " + what);
  };
  constexpr std::string_view kRefused = "%?#@";
  const bool plain = std::all_of(path.begin(), path.end(), [&](unsigned char c) {
    return std::isgraph(c) != 0 && kRefused.find(static_cast<char>(c)) == std::string_view::npos;
  });
  if (!plain) {
    throw ConfigError(
        "--listen: the path of a Unix socket must not contain spaces, control characters or any "
        "of % ? # @");
  }
  if (!path.starts_with('/')) fail("the path must be absolute, such as unix:/run/redlockd.sock");
  if (path.ends_with('/')) fail("must name a file, such as unix:/run/redlockd.sock");
  if (path.size() > kMaxSocketPath) {
    fail("the path must not be longer than " + std::to_string(kMaxSocketPath) + " bytes");
  }
}

// Checks host:port. `flag` and `forms` are for the message; ports start at `lowest`.
void ValidateHostPort(const std::string& flag, std::string_view address, std::uint16_t lowest,
                      const std::string& forms) {
  const auto colon = address.rfind(':');
  const std::string_view before = address.substr(0, colon);
  const std::string_view port = address.substr(colon + 1);  // the whole text if it has no colon
  const std::string shown = flag + " " + std::string(address) + ": ";
  if (IsDigits(port) && (colon == 0 || colon == std::string_view::npos)) {
    throw ConfigError(shown +
                      "the host is missing; 127.0.0.1 accepts connections from this machine only, "
                      "0.0.0.0 and [::] from all networks");
  }
  if (IsIpV6(address) || IsIpV6(before)) {
    throw ConfigError(shown + "an IPv6 address must be enclosed in [ ], such as [::1]:50051");
  }
  if (HostOf(address).empty()) {
    throw ConfigError(flag + Shown(address) + ": must be " + forms);
  }
  std::uint16_t number = 0;
  if (std::from_chars(port.data(), port.data() + port.size(), number).ec != std::errc() ||
      number < lowest) {
    throw ConfigError(shown + "the port must be a number from 1 to 65535" +
                      (lowest == 0 ? ", or 0 for any free port" : ""));
  }
}

}  // namespace

std::optional<std::string> SocketPath(const std::string& address) {
  if (!address.starts_with(kUnix)) return std::nullopt;
  std::string path = address.substr(kUnix.size());
  while (path.starts_with("//")) path.erase(0, 1);  // unix:///path
  return path;
}

bool IsLocal(const std::string& address) {
  if (address.starts_with(kUnix)) return true;
  const std::string host(HostOf(address));
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) {
    return IN6_IS_ADDR_LOOPBACK(&v6) ||
           (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == IN_LOOPBACKNET);
  }
  return host == "localhost";
}

std::string DaemonName(const std::vector<std::string>& listen) {
  std::array<char, HOST_NAME_MAX + 1> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host = {'?'};
  std::string name = host.data();
  for (const std::string& address : listen) {
    if (SocketPath(address)) continue;
    const std::string port = address.substr(address.rfind(':') + 1);
    if (port != "0") return name + ":" + port;
  }
  return name;
}

void ValidateListen(const std::string& address) {
  if (const auto path = SocketPath(address)) {
    ValidateSocketPath(address, *path);
    return;
  }
  ValidateHostPort("--listen", address, 0, "host:port, such as 127.0.0.1:50051, or unix:/path");
}

void ValidateMetricsListen(const std::string& address) {
  if (address.empty()) return;
  ValidateHostPort("--metrics-listen", address, 1, "host:port, such as 127.0.0.1:9475");
}

}  // namespace redlock::config
