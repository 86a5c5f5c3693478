// What one daemon sees of the nodes and of the node set, as messages.
#pragma once

#include <functional>

#include "proto/redlock/v1/admin_service.pb.h"
#include "server/core/shard.h"
#include "server/rpc/wire.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Asking for any key shows whether a node answers. This key is reserved, so no client can lock it.
[[nodiscard]] const Key& ProbeKey();

// What one shard sees. `result` is that of an inspection of ProbeKey(). `names`: of the configured
// nodes. Call on the shard's strand.
[[nodiscard]] v1::ListNodesResponse NodesOf(const Shard& shard, const InspectResult& result,
                                            const NodeNames& names);
// Asks the nodes on every shard. Shows each node as the shard sees it for which it is in the worst
// state, because a client may use a key of any shard. Calls `done` once, on the coordinator's
// strand. May be called from any thread. The shards and the names must outlive this.
using NodesSeen = std::function<void(const Shard& coordinator, const v1::ListNodesResponse& nodes)>;
void AskNodes(runtime::ShardPool& shards, const NodeNames& names, const NodesSeen& done);
// The node set of the coordinator. `nodes`: what is seen of the nodes.
[[nodiscard]] v1::NodeSet NodeSetOf(const Shard& coordinator, const v1::ListNodesResponse& nodes);

}  // namespace redlock::rpc
