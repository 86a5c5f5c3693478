// redlock.v1.AdminService: shows operators what this daemon sees, and lets them intervene.
#pragma once

#include <string>

#include "proto/redlock/v1/admin_service.pb.h"
#include "server/access/access.h"
#include "server/rpc/service_context.h"
#include "server/rpc/simple_call.h"
#include "server/rpc/wire.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Thread-safe. Must outlive the server. The context must outlive it.
class AdminService {
 public:
  // `configuration`: what GetConfiguration answers; contains no secrets.
  AdminService(const ServiceContext& context, v1::GetConfigurationResponse configuration);

  void AddTo(Routes& routes);

 private:
  void AddListNodes(Routes& routes);
  void AddGetNodeSet(Routes& routes);
  void AddListLeases(Routes& routes);
  void AddForceRelease(Routes& routes);
  void AddSetLogLevel(Routes& routes);
  void AddGetConfiguration(Routes& routes);
  // Which keys the caller's rules with the verb `admin` must cover.
  enum class Needs { kAllKeys, kSomeKeys };
  [[nodiscard]] auto Admitting(Needs keys) const {
    return [this, keys](const grpc::ServerContextBase& context) { return Admit(context, keys); };
  }
  [[nodiscard]] Admission Admit(const grpc::ServerContextBase& context, Needs keys) const;

  const ServiceContext& context_;
  runtime::ShardPool& shards_;
  const access::Access& access_;
  const v1::GetConfigurationResponse configuration_;
};

}  // namespace redlock::rpc
