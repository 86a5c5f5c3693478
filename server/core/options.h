// The bounds and times of the algorithm.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "server/core/key_groups.h"
#include "server/core/types.h"
#include "server/core/validity.h"

namespace redlock {

enum class GuardMode {
  kOn,      // a node set without any mark is taken as new and starts at once
  kStrict,  // such a set is quarantined too: all nodes may have lost their data together
  kOff,     // the guard is off: every node is trusted
};

// See node_guard.h.
struct GuardOptions {
  GuardMode mode = GuardMode::kOn;
  Duration quarantine = std::chrono::minutes(5);        // the longest TTL of any daemon
  Duration inspect_interval = std::chrono::seconds(1);  // between checks of marks and clocks
};

// See membership.h.
struct NodeSetOptions {
  // Whether the record of the node set is compared. Only tests switch it off.
  bool compared = true;
  std::vector<std::string> names;  // of the nodes; as many as there are nodes
  bool create = true;              // creates the set if there is none; otherwise only on demand
  bool coordinates = true;         // carries out changes; one shard of a daemon does
  // The settings of a set that this daemon creates.
  Duration max_ttl = std::chrono::minutes(5);
  Duration fence_retention = std::chrono::minutes(1);
};

// Bounds and durations of the algorithm. Immutable after startup.
struct LockOptions {
  Duration node_timeout = std::chrono::milliseconds(50);  // later answers do not count
  Duration release_timeout = std::chrono::seconds(5);     // how long roll-backs are retried
  DriftBudget drift;
  GuardOptions guard;
  NodeSetOptions node_set;
  // After this many hand-overs in a row within this daemon, the key is released once, so that other
  // daemons that wait for it can take it.
  int max_hand_overs = 32;
  // The upper limit of concurrent rounds of a shard: enough to keep nodes busy that are far away.
  // See ConcurrencyLimiter.
  std::size_t max_concurrent_rounds = 512;
  // A new acquisition is refused if its predicted wait for a permit is longer than this.
  Duration max_queue_time = std::chrono::seconds(2);
  std::size_t max_waiters_per_key = 10'000;
  // Per shard, including waiting acquisitions and watchdogs. At this bound, new acquisitions are
  // refused.
  std::size_t max_operations = 100'000;
  KeyGroups key_groups;
};

}  // namespace redlock
