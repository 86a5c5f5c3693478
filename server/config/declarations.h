// Declares every setting of redlockd. --help, the environment, the file and the log follow this
// list.
#pragma once

#include "server/config/config.h"
#include "server/config/settings.h"

namespace redlock::config {

// The settings store their values in `config`, which must outlive them.
void Declare(Settings& settings, Config& config);

}  // namespace redlock::config
