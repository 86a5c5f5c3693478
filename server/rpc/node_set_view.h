// What one daemon sees of the nodes and of the node set, as messages.
#pragma once

#include "proto/redlock/v1/admin_service.pb.h"
#include "server/core/shard.h"
#include "server/rpc/wire.h"

namespace redlock::rpc {

// Asking for any key shows whether a node answers. This key is reserved, so no client can lock it.
[[nodiscard]] const Key& ProbeKey();

// `result` is that of an inspection of ProbeKey(). `names`: of the configured nodes. Call on the
// shard's strand.
[[nodiscard]] v1::ListNodesResponse NodesOf(const Shard& shard, const InspectResult& result,
                                            const NodeNames& names);
// Of the shard that coordinates changes.
[[nodiscard]] v1::NodeSet NodeSetOf(const Shard& shard, const InspectResult& result,
                                    const NodeNames& names);

}  // namespace redlock::rpc
