// Reads the configuration file.
#pragma once

#include <string>

#include "server/config/given.h"
#include "server/config/settings.h"

namespace redlock::config {

// Returns the values of the file. Throws ConfigError with file and line if the file cannot be read,
// is not TOML, has an unknown key, or gives a setting a value of another type. The messages quote
// no value, because it may be a password.
[[nodiscard]] GivenByName ReadTomlFile(const std::string& path, const Settings& settings);

}  // namespace redlock::config
