// Node addresses as anybody may write them: accepted, or refused by ConfigError.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/config/config.h"
#include "server/config/node_uri.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view uri(reinterpret_cast<const char*>(data), size);
  // Not a file of this machine: what is in it is not the input.
  if (uri.find("password_file") != std::string_view::npos) return -1;
  try {
    const auto endpoint = redlock::config::ParseNodeUri(uri);
    (void)endpoint.Name();
  } catch (const redlock::config::ConfigError&) {
  }
  return 0;
}
