// Builds the Config from flags, environment variables and a file. Flags take precedence over
// REDLOCKD_ variables, and variables take precedence over the file.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/config/config.h"

namespace redlock::config {

// Looks up an environment variable. Returns null if it is not set.
using Environ = std::function<const char*(const char*)>;

// Returns the configuration. For --help and --version, returns nothing and stores the text in
// `output`. `arguments` does not contain the program's name. Throws ConfigError.
[[nodiscard]] std::optional<Config> ParseCommandLine(std::vector<std::string> arguments,
                                                     const Environ& environ, std::string& output);

}  // namespace redlock::config
