// redlock.v1.LockService over the shards. Translates; decides nothing.
//
// Requests are taken as bytes, so that text that is not UTF-8 can be answered in words. The unary
// calls have their own way in, because they have to be fast; streams come as all others do.
#pragma once

#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "server/config/config.h"
#include "server/rpc/poller.h"
#include "server/rpc/service_context.h"
#include "server/rpc/stream_call.h"

namespace redlock::rpc {

using RawLockService =
    v1::LockService::WithGenericMethod_Watch<v1::LockService::WithGenericMethod_Hold<
        v1::LockService::WithGenericMethod_Session<v1::LockService::WithRawMethod_Acquire<
            v1::LockService::WithRawMethod_Extend<v1::LockService::WithRawMethod_Release<
                v1::LockService::WithRawMethod_Inspect<v1::LockService::Service>>>>>>>;

// Thread-safe. Must outlive the server that it is registered with; the shards must outlive it.
class LockService {
 public:
  // The shards and the access must outlive it.
  LockService(const config::Config& config, runtime::ShardPool& shards,
              const access::Access& access);

  // To be registered with the server.
  [[nodiscard]] grpc::Service& methods() { return methods_; }
  void AddTo(Routes& routes);
  // Accepts unary calls for as long as the server takes any.
  void AcceptUnary(Poller& poller);

  // Refuses acquisitions from now on and tells every stream.
  void Drain();
  [[nodiscard]] StreamRegistry& streams() { return streams_; }

 private:
  RawLockService methods_;
  StreamRegistry streams_;
  const ServiceContext context_;
};

}  // namespace redlock::rpc
