// Node addresses as operators write them.
#pragma once

#include <string_view>

#include "server/redis/endpoint.h"

namespace redlock::config {

// Accepts redis://[user[:password]@]host[:port][/database], the same with rediss:// for TLS, and
// unix:///path. `?password_file=/path` reads the password from a file's first line; for unix also
// `?user=` and `?database=`. User and password may be percent-encoded.
//
// Throws ConfigError, which never shows a password.
[[nodiscard]] redis::Endpoint ParseNodeUri(std::string_view uri);

}  // namespace redlock::config
