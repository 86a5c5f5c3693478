// redlock.v1.LockService. Translates between gRPC and the shards, and decides nothing.
//
// Requests are read as bytes, so that the error for text that is not UTF-8 can name the field. The
// unary calls are registered methods, because they must be fast; the streams are generic calls like
// all others.
#pragma once

#include <vector>

#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "server/config/config.h"
#include "server/rpc/poller.h"
#include "server/rpc/service_context.h"
#include "server/rpc/stream_call.h"

namespace redlock::rpc {

using RawStreams = v1::LockService::WithGenericMethod_Watch<
    v1::LockService::WithGenericMethod_Hold<v1::LockService::WithGenericMethod_Session<
        v1::LockService::WithGenericMethod_Observe<v1::LockService::Service>>>>;
using RawLockService = v1::LockService::WithRawMethod_Acquire<v1::LockService::WithRawMethod_Extend<
    v1::LockService::WithRawMethod_Release<v1::LockService::WithRawMethod_Proclaim<
        v1::LockService::WithRawMethod_Inspect<RawStreams>>>>>;

// Thread-safe. Must outlive the server with which it is registered.
class LockService {
 public:
  // The shards, the access and the connections must outlive this object.
  LockService(const config::Config& config, runtime::ShardPool& shards,
              const access::Access& access, Connections& connections, observe::AuditLog* audit_log);

  // The unary methods, to be registered with the server.
  [[nodiscard]] grpc::Service& methods() { return methods_; }
  // Adds the streams.
  void AddTo(Routes& routes);
  // Accepts unary calls until the server shuts down.
  void AcceptUnary(Poller& poller);

  // Refuses acquisitions from now on and sends DRAINING on every stream. Waits for the shards, so
  // it must not be called on one of their strands.
  void Drain();
  // The tokens or the access list have changed (Access::Reload()): ends the streams and the waiting
  // calls of callers that may no longer have them. Their leases expire.
  void Recheck();
  [[nodiscard]] const ServiceContext& context() const { return context_; }
  [[nodiscard]] StreamRegistry& streams() { return streams_; }

 private:
  RawLockService methods_;
  StreamRegistry streams_;
  std::vector<WaitingCalls> waiting_calls_;
  const ServiceContext context_;
};

}  // namespace redlock::rpc
