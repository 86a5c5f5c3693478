// The core's source of randomness.
#pragma once

#include <cstdint>

#include "server/core/types.h"

namespace redlock {

// For jitter and ids. Seeded in the simulation.
class Random {
 public:
  virtual ~Random() = default;
  // Uniform in [0, bound]; 0 if the bound is not positive.
  [[nodiscard]] virtual Duration UpTo(Duration bound) = 0;
  // 64 bits that no other daemon draws as well.
  [[nodiscard]] virtual std::uint64_t Bits() = 0;
};

}  // namespace redlock
