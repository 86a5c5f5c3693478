// The settings in REDLOCKD_ environment variables.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "server/config/given.h"
#include "server/config/settings.h"

namespace redlock::config {

// The variables whose names start with REDLOCKD_.
using Environment = std::map<std::string, std::string>;

// Returns those of this process.
[[nodiscard]] Environment ProcessEnvironment();

struct FromEnvironment {
  GivenByName given;
  std::string config_file;           // REDLOCKD_CONFIG
  std::vector<std::string> unknown;  // variables that are not settings and resemble none
};

// A variable without a value counts as not set. Commas separate the elements of a list.
//
// Throws ConfigError if the name of a variable resembles a setting, because it is probably
// misspelt. Ignores the variables that Kubernetes sets in every pod for a Service named redlockd
// (REDLOCKD_SERVICE_HOST, REDLOCKD_PORT_50051_TCP, ...).
[[nodiscard]] FromEnvironment ReadEnvironment(const Environment& environment,
                                              const Settings& settings);

}  // namespace redlock::config
