#include "client/cpp/core/endpoint.h"

#include <charconv>
#include <cstdint>

namespace redlock::client {

bool IsUnix(std::string_view endpoint) { return endpoint.starts_with("unix:"); }

std::string HostName(std::string_view endpoint) {
  for (const std::string_view other : {"unix:", "unix-abstract:", "ipv4:", "ipv6:", "vsock:"}) {
    if (endpoint.starts_with(other)) return {};
  }
  if (endpoint.starts_with("dns:")) {  // dns:host or dns://server/host
    const auto slash = endpoint.rfind('/');
    endpoint.remove_prefix(slash == std::string_view::npos ? 4 : slash + 1);
  }
  const std::string_view host = endpoint.substr(0, endpoint.rfind(':'));
  const bool ipv6 = host.find(':') != std::string_view::npos;
  const bool ipv4 = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return ipv4 || ipv6 ? std::string() : std::string(host);
}

std::optional<Error> CheckEndpoint(const std::string& endpoint) {
  if (IsUnix(endpoint)) return std::nullopt;
  const auto colon = endpoint.rfind(':');
  if (colon == std::string::npos || endpoint.ends_with(']') || endpoint.starts_with("http:") ||
      endpoint.starts_with("https:")) {
    return Error{Reason::kInvalidArgument,
                 "\"" + endpoint + "\" must be \"host:port\" or \"unix:/path\""};
  }
  const std::string_view host = std::string_view(endpoint).substr(0, colon);
  const std::string_view port = std::string_view(endpoint).substr(colon + 1);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if ((!bracketed && host.find_first_of(":/") != std::string_view::npos) ||
      port.find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  std::uint16_t number = 0;
  if (std::from_chars(port.data(), port.data() + port.size(), number).ec == std::errc() &&
      number > 0) {
    return std::nullopt;
  }
  return Error{Reason::kInvalidArgument, endpoint + ": the port must be a number from 1 to 65535"};
}

}  // namespace redlock::client
