// redlock.v1.AdminService: what this daemon sees, for operators.
#pragma once

#include "proto/redlock/v1/admin_service.pb.h"
#include "server/config/config.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/wire.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Thread-safe. Must outlive the server; the shards must outlive it.
class AdminService {
 public:
  AdminService(const config::Config& config, runtime::ShardPool& shards);

  void AddTo(Routes& routes);

 private:
  [[nodiscard]] v1::ListNodesResponse Nodes(const Shard& shard, const InspectResult& result) const;

  const NodeNames names_;
  runtime::ShardPool& shards_;
};

}  // namespace redlock::rpc
