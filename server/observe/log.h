// Sets up the log. Callers never log tokens, passwords or certificates.
#pragma once

#include "server/config/config.h"

namespace redlock::observe {

// Logs to standard error, in the configured format and from the configured level on. Call once, at
// startup.
void StartLog(const config::Config& config);

}  // namespace redlock::observe
