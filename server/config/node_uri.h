// Parses the node URIs that operators write.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "server/redis/endpoint.h"

namespace redlock::config {

// Accepts redis://[user:password@]host[:port][/database], the same with rediss:// for TLS, and
// unix:///path. `?password_file=/path` reads the password from the first line of a file. unix://
// also accepts `?user=` and `?database=`. User, password and path of the file may be
// percent-encoded. A user needs a password: without one, the connection would belong to the default
// user.
//
// `number` counts the nodes of a configuration from 1. Throws ConfigError. The message names the
// number, and no part of the URI that may be a password.
[[nodiscard]] redis::Endpoint ParseNodeUri(std::string_view uri, std::size_t number = 1);

// The URI with *** for its password. `uri` must be one that ParseNodeUri() accepts.
[[nodiscard]] std::string WithoutPassword(std::string_view uri);

}  // namespace redlock::config
