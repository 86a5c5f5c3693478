// Limits the probes of a shard. Each key that somebody waits for is probed from time to time, so
// the probes of ten thousand such keys would cost half a core. The more keys there are, the longer
// the pause between two probes of one key becomes. Announcements find releases without a probe.
#pragma once

#include <cstddef>

#include "server/core/clock.h"

namespace redlock {

// Strand-confined. Must outlive the keys that count.
class ProbePace {
 public:
  static constexpr std::size_t kMostProbesPerSecond = 4'000;

  void Enter() { ++keys_; }
  void Leave() { --keys_; }
  // The shortest time between two probes of one key.
  [[nodiscard]] Duration pause() const {
    return keys_ * Duration(std::chrono::seconds(1)) / kMostProbesPerSecond;
  }

 private:
  std::size_t keys_ = 0;
};

}  // namespace redlock
