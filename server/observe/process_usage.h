// What this process uses of the machine, as the kernel reports it.
#pragma once

#include <cstdint>
#include <optional>

namespace redlock::observe {

struct ProcessUsage {
  double cpu_seconds = 0;  // user and system
  std::uint64_t virtual_bytes = 0;
  std::uint64_t resident_bytes = 0;
  double started = 0;  // in seconds since 1970
  std::uint64_t open_descriptors = 0;
  std::uint64_t most_descriptors = 0;  // the soft limit
};

// Returns nothing if /proc cannot be read.
[[nodiscard]] std::optional<ProcessUsage> ReadProcessUsage();

}  // namespace redlock::observe
