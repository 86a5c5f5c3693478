// Selects the schedules that a random-schedule test runs.
//
// REDLOCK_SIM_SCHEDULES: their number. REDLOCK_SIM_FIRST: the first seed (default 1).
// REDLOCK_SIM_SEED: replays only this seed.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace redlock::sim {

struct Seeds {
  std::uint64_t first = 1;
  std::uint64_t count = 0;
};

[[nodiscard]] inline std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

[[nodiscard]] inline Seeds SeedsFor(std::uint64_t count) {
  const std::uint64_t one = FromEnvironment("REDLOCK_SIM_SEED", 0);
  if (one != 0) return {one, 1};
  return {FromEnvironment("REDLOCK_SIM_FIRST", 1), FromEnvironment("REDLOCK_SIM_SCHEDULES", count)};
}

}  // namespace redlock::sim
