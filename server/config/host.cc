#include "server/config/host.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <string>

namespace redlock::config {

bool IsHostName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c >= 0x80;
  });
}

bool IsIpV6(std::string_view text) {
  in6_addr ignored{};
  const std::string address(text.substr(0, text.find('%')));
  return inet_pton(AF_INET6, address.c_str(), &ignored) == 1;
}

}  // namespace redlock::config
