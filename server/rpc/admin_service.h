// redlock.v1.AdminService: what this daemon sees, for operators.
#pragma once

#include <grpcpp/support/server_callback.h>

#include "proto/redlock/v1/admin_service.grpc.pb.h"
#include "server/config/config.h"
#include "server/rpc/wire.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Thread-safe. Must outlive the server that it is registered with; the shards must outlive it.
class AdminService final : public v1::AdminService::CallbackService {
 public:
  AdminService(const config::Config& config, runtime::ShardPool& shards);

  grpc::ServerUnaryReactor* ListNodes(grpc::CallbackServerContext* context,
                                      const v1::ListNodesRequest* request,
                                      v1::ListNodesResponse* response) override;

 private:
  const NodeNames names_;
  runtime::ShardPool& shards_;
};

}  // namespace redlock::rpc
