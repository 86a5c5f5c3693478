// Fuzzes node addresses: accepted, or rejected with ConfigError.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/config/config.h"
#include "server/config/node_uri.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view uri(reinterpret_cast<const char*>(data), size);
  // Do not read a file of this machine: its contents are not part of the input.
  if (uri.find("password_file") != std::string_view::npos) return -1;
  try {
    const auto endpoint = redlock::config::ParseNodeUri(uri);
    (void)endpoint.Name();
  } catch (const redlock::config::ConfigError&) {
  }
  return 0;
}
