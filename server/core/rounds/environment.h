// What every operation of a shard works with.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "server/core/clock.h"
#include "server/core/loss_log.h"
#include "server/core/nodes/node.h"
#include "server/core/nodes/node_set.h"
#include "server/core/operation.h"
#include "server/core/options.h"
#include "server/core/random.h"
#include "server/core/rounds/concurrency_limiter.h"
#include "server/core/rounds/hybrid_clock.h"
#include "server/core/rounds/releasing_tokens.h"
#include "server/core/statistics.h"

namespace redlock {

// Owned by the shard, which outlives the operations. Strand-confined.
struct Environment {
  Scheduler& scheduler;
  Random& random;
  std::function<OwnerToken()> new_token;  // 128 random bits from the OS
  std::span<Node* const> nodes;           // all configured nodes, by NodeIndex
  const NodeSetPtr& set;  // the node set in force; a round keeps the one it began with
  HybridClock& fences;
  OperationRegistry& operations;
  ConcurrencyLimiter& limiter;
  Statistics& statistics;
  ReleasingTokens& releasing;
  LossLog& losses;
  const LockOptions& options;
  // Why no lock can be granted at present: too few nodes are able to. Nothing if that is not known.
  std::function<std::optional<Error>()> outage;
};

// What bounds the expiry of a lease, its lock delay included.
[[nodiscard]] inline Duration LongestTtl(const Environment& env) {
  return env.set->Bounded(env.options.node_set.max_ttl);
}

}  // namespace redlock
