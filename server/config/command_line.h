// Builds the Config from flags, environment variables and a file. Flags take precedence over
// REDLOCKD_ variables, and variables take precedence over the file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/config/config.h"
#include "server/config/environment.h"

namespace redlock::config {

// A setting in force, for the log and --check-config.
struct EffectiveSetting {
  std::string group;
  std::string name;
  std::string value;   // as TOML, without secrets
  std::string source;  // "flag", "environment", "file" or "default"
};

struct CommandLine {
  Config config;
  bool check_config = false;  // check the configuration instead of starting
  std::string config_file;    // empty: none
  std::vector<EffectiveSetting> settings;
  std::vector<std::string> warnings;
};

// Returns what redlockd has to do. For --help and --version, returns nothing and stores the text in
// `output`. `arguments` does not contain the program's name. Reads the configuration file and the
// files of passwords. Throws ConfigError. The message contains no password.
[[nodiscard]] std::optional<CommandLine> ParseCommandLine(std::vector<std::string> arguments,
                                                          const Environment& environment,
                                                          std::string& output);

// The settings as a configuration file, without secrets.
[[nodiscard]] std::string AsToml(const std::vector<EffectiveSetting>& settings);

}  // namespace redlock::config
