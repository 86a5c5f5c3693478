// What redlockd does with its configuration besides serving: checks it, and logs it at startup.
#pragma once

#include "server/config/command_line.h"

namespace redlock {

// Reads every file that a start needs. Throws config::ConfigError, which names the file, if one
// cannot be used.
void RequireFiles(const config::Config& config);

// Reads everything that a start would read, and prints the settings to standard output and the
// warnings to standard error. Listens on no address and connects to no node. Throws
// config::ConfigError.
void CheckConfig(const config::CommandLine& command);

// Logs the version, the settings in force without secrets, and the warnings.
void LogStart(const config::CommandLine& command);

}  // namespace redlock
