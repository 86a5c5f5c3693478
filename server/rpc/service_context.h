// What every call of LockService uses.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "server/access/access.h"
#include "server/observe/audit_log.h"
#include "server/rpc/connections.h"
#include "server/rpc/requests.h"
#include "server/rpc/stream_registry.h"
#include "server/rpc/waiting_calls.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Constant after construction, except the registry and the connections, which are thread-safe, and
// the waiting calls, which are confined to the strands of their shards.
struct ServiceContext {
  runtime::ShardPool& shards;
  const access::Access& access;
  Connections& connections;
  const RequestRules configured_rules;  // see rules()
  const NodeNames names;
  const std::string daemon;  // the name of this daemon, for people
  const std::size_t max_streams;
  const std::size_t max_session_operations;
  const std::size_t max_message_bytes;
  StreamRegistry& streams;
  observe::AuditLog* const audit_log;        // null: none
  std::vector<WaitingCalls>& waiting_calls;  // by shard

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

// How long an acquisition may take whose call ends in `until_deadline`. If the answer were sent
// about when the caller's deadline passes, the key would stay locked, because the caller may have
// received the answer, and a caller that has not would not learn why it waited. An acquisition
// therefore ends shortly before.
[[nodiscard]] inline Duration TimeToAcquire(Duration until_deadline) {
  constexpr Duration kLeastMargin = std::chrono::milliseconds(1);
  constexpr Duration kMostMargin = std::chrono::milliseconds(20);
  constexpr int kMarginPart = 10;
  return until_deadline - std::clamp(until_deadline / kMarginPart, kLeastMargin, kMostMargin);
}

}  // namespace redlock::rpc
