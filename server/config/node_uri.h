// Parses the node URIs that operators write.
#pragma once

#include <string_view>

#include "server/redis/endpoint.h"

namespace redlock::config {

// Accepts redis://[user[:password]@]host[:port][/database], the same with rediss:// for TLS, and
// unix:///path. `?password_file=/path` reads the password from the first line of a file. unix://
// also accepts `?user=` and `?database=`. User and password may be percent-encoded.
//
// Throws ConfigError. The message never contains a password.
[[nodiscard]] redis::Endpoint ParseNodeUri(std::string_view uri);

}  // namespace redlock::config
