// The forms of a host in an address.
#pragma once

#include <string_view>

namespace redlock::config {

// Whether the text may be a host name or an IPv4 address. False for an empty text.
[[nodiscard]] bool IsHostName(std::string_view text);

// Whether the text is an IPv6 address without [ ]. It may name the interface: fe80::1%eth0.
[[nodiscard]] bool IsIpV6(std::string_view text);

}  // namespace redlock::config
