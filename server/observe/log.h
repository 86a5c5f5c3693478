// Sets up the log. No token, password or certificate is ever handed to it.
#pragma once

#include "server/config/config.h"

namespace redlock::observe {

// To standard error, in the format and from the level that are configured. Call once, at start.
void StartLog(const config::Config& config);

}  // namespace redlock::observe
