// What the daemon answers to GetConfiguration.
#pragma once

#include <vector>

#include "proto/redlock/v1/admin_service.pb.h"
#include "server/config/command_line.h"

namespace redlock {

// Adds the versions of redlockd, its libraries and the system to the settings.
[[nodiscard]] v1::GetConfigurationResponse DescribeConfiguration(
    const std::vector<config::EffectiveSetting>& settings);

}  // namespace redlock
