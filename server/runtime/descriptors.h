// The limit of open descriptors of this process.
#pragma once

#include <cstddef>

#include "server/config/config.h"

namespace redlock::runtime {

// Raises the soft limit to the hard limit. Returns the limit.
std::size_t RaiseDescriptorLimit();

// How many connections of callers fit into the limit of descriptors, at most --max-connections. The
// rest is for the nodes, the metrics listener and files. Throws config::ConfigError if the limit
// leaves hardly any.
[[nodiscard]] std::size_t MostConnections(const config::Config& config, std::size_t limit);

}  // namespace redlock::runtime
