// What every call works with.
#pragma once

#include "server/rpc/requests.h"
#include "server/rpc/stream_registry.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Constant after construction, but for the registry, which is thread-safe.
struct ServiceContext {
  runtime::ShardPool& shards;
  const RequestRules rules;
  const NodeNames names;
  const std::size_t max_streams;
  const std::size_t max_session_operations;
  StreamRegistry& streams;
};

// How a stream's leases end.
enum class Ending {
  kRelease,  // the client has gone
  kLetGo,    // it watches them elsewhere from now on
};

}  // namespace redlock::rpc
