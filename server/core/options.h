// The bounds and times of the algorithm.
#pragma once

#include <chrono>
#include <cstddef>

#include "server/core/types.h"
#include "server/core/validity.h"

namespace redlock {

enum class GuardMode {
  kOn,      // a set of nodes without any mark is taken as new, and starts at once
  kStrict,  // it is quarantined too: all nodes may have lost their data together
  kOff,     // no node is judged
};

// See node_guard.h.
struct GuardOptions {
  GuardMode mode = GuardMode::kOn;
  Duration quarantine = std::chrono::minutes(5);        // the longest TTL of any daemon
  Duration inspect_interval = std::chrono::seconds(1);  // pause between looks at marks and clocks
};

// Bounds and times of the algorithm. Immutable after start.
struct LockOptions {
  Duration node_timeout = std::chrono::milliseconds(50);  // a node's answer after this is late
  Duration release_timeout = std::chrono::seconds(5);     // a roll-back is repeated for this long
  DriftBudget drift;
  GuardOptions guard;
  // A key that was handed over so many times within this daemon is really released once, if other
  // daemons wait for it.
  int max_hand_overs = 32;
  // Attempts and extensions under way at a time in a shard, at most: enough to keep nodes busy.
  std::size_t max_concurrent_rounds = 512;
  // A new acquisition that would wait longer for room in that window is refused.
  Duration max_queue_time = std::chrono::seconds(2);
  std::size_t max_waiters_per_key = 10'000;
  // Of a shard, waiting acquisitions and watchdogs included: past it new ones are refused.
  std::size_t max_operations = 100'000;
};

}  // namespace redlock
