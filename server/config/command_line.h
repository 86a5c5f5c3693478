// Flags, environment and file -> Config. Flags win over REDLOCKD_ variables, and those over the
// file.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/config/config.h"

namespace redlock::config {

// Looks up an environment variable; null where it is not set.
using Environ = std::function<const char*(const char*)>;

// The configuration, or nothing where --help or --version was asked for; `output` then has the
// text. `arguments` come without the program's name. Throws ConfigError.
[[nodiscard]] std::optional<Config> ParseCommandLine(std::vector<std::string> arguments,
                                                     const Environ& environ, std::string& output);

}  // namespace redlock::config
