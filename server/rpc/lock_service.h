// redlock.v1.LockService over the shards. Translates and posts; decides nothing.
//
// gRPC's threads parse, check and post to the key's shard; the shard's thread calls back with the
// answer. Requests are taken as bytes, so that text that is not UTF-8 can be answered in words.
#pragma once

#include <grpcpp/support/server_callback.h>

#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "server/config/config.h"
#include "server/rpc/service_context.h"

namespace redlock::rpc {

using RawService = v1::LockService::WithRawCallbackMethod_Acquire<
    v1::LockService::WithRawCallbackMethod_Extend<v1::LockService::WithRawCallbackMethod_Release<
        v1::LockService::WithRawCallbackMethod_Watch<v1::LockService::WithRawCallbackMethod_Hold<
            v1::LockService::WithRawCallbackMethod_Session<
                v1::LockService::WithRawCallbackMethod_Inspect<v1::LockService::Service>>>>>>>;

// Thread-safe. Must outlive the server that it is registered with; the shards must outlive it.
class LockService final : public RawService {
 public:
  LockService(const config::Config& config, runtime::ShardPool& shards);
  ~LockService() override;

  grpc::ServerUnaryReactor* Acquire(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Extend(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Inspect(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Hold(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Session(
      grpc::CallbackServerContext* context) override;

  // Refuses acquisitions from now on and tells every stream.
  void Drain();
  [[nodiscard]] StreamRegistry& streams() { return streams_; }

 private:
  StreamRegistry streams_;
  const ServiceContext context_;
};

}  // namespace redlock::rpc
