// redlock.v1.LockService over the shards. Translates and posts; decides nothing.
//
// gRPC's threads parse, check and post to the key's shard; the shard's thread calls back with the
// answer. Requests are taken as bytes, so that text that is not UTF-8 can be answered in words.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <unordered_set>

#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "server/config/config.h"
#include "server/rpc/requests.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

class WatchStream;

// What every call works with. Constant after construction.
struct ServiceContext {
  runtime::ShardPool& shards;
  const RequestRules rules;
  const NodeNames names;
  const std::size_t max_streams;
};

// Streams that are open. Thread-safe.
class StreamRegistry {
 public:
  // False where there are `bound` already.
  [[nodiscard]] bool Add(WatchStream* stream, std::size_t bound);
  void Remove(WatchStream* stream);
  // Tells every stream, once, that the daemon is shutting down.
  void TellDraining();
  // Waits until all have gone; false if `patience` ended first.
  [[nodiscard]] bool WaitUntilEmpty(Duration patience);

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  std::unordered_set<WatchStream*> streams_;
  bool draining_ = false;
};

using RawService =
    v1::LockService::WithRawCallbackMethod_Acquire<v1::LockService::WithRawCallbackMethod_Extend<
        v1::LockService::WithRawCallbackMethod_Release<v1::LockService::WithRawCallbackMethod_Watch<
            v1::LockService::WithRawCallbackMethod_Inspect<v1::LockService::Service>>>>>;

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

  // Refuses acquisitions from now on and tells every stream.
  void Drain();
  [[nodiscard]] StreamRegistry& streams() { return streams_; }

 private:
  ServiceContext context_;
  StreamRegistry streams_;
};

}  // namespace redlock::rpc
