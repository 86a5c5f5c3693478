// What every call of LockService uses.
#pragma once

#include <chrono>
#include <optional>

#include "server/access/access.h"
#include "server/rpc/requests.h"
#include "server/rpc/stream_registry.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Constant after construction, except the registry, which is thread-safe.
struct ServiceContext {
  runtime::ShardPool& shards;
  const access::Access& access;
  const RequestRules configured_rules;  // see rules()
  const NodeNames names;
  const std::size_t max_streams;
  const std::size_t max_session_operations;
  StreamRegistry& streams;

  // The rules in force: the node set may have another max_ttl than the configuration.
  [[nodiscard]] RequestRules rules() const {
    RequestRules rules = configured_rules;
    rules.max_ttl = shards.max_ttl();
    return rules;
  }
};

// The time left until the caller's deadline, if it set one.
[[nodiscard]] inline std::optional<Duration> UntilDeadline(
    std::chrono::system_clock::time_point deadline) {
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  return deadline - std::chrono::system_clock::now();
}

}  // namespace redlock::rpc
