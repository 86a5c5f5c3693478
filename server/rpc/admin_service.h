// redlock.v1.AdminService: shows operators what this daemon sees, and lets them intervene.
#pragma once

#include <string>

#include "proto/redlock/v1/admin_service.pb.h"
#include "server/access/access.h"
#include "server/config/config.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/wire.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Thread-safe. Must outlive the server. The shards and the access must outlive it.
class AdminService {
 public:
  AdminService(const config::Config& config, runtime::ShardPool& shards,
               const access::Access& access);

  void AddTo(Routes& routes);

 private:
  [[nodiscard]] std::string NameOf(const grpc::ServerContextBase& context) const;
  void AddListNodes(Routes& routes);
  void AddGetNodeSet(Routes& routes);
  void AddListLeases(Routes& routes);
  void AddForceRelease(Routes& routes);
  void AddSetLogLevel(Routes& routes);
  [[nodiscard]] grpc::Status Admit(const grpc::ServerContextBase& context) const;
  [[nodiscard]] v1::ListNodesResponse Nodes(const Shard& shard, const InspectResult& result) const;
  [[nodiscard]] v1::NodeSet SetOf(const Shard& shard, const InspectResult& result) const;

  const NodeNames names_;
  runtime::ShardPool& shards_;
  const access::Access& access_;
};

}  // namespace redlock::rpc
