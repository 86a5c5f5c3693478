// One Watch stream: its watchdogs live on their keys' shards, its events leave through one queue.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "server/rpc/lock_service.h"

namespace redlock::rpc {

// Events come from the shards' threads, reactions from gRPC's: what both touch is under the mutex.
// gRPC owns the stream until OnDone; work posted to shards shares it.
class WatchStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  static WatchStream* Start(const ServiceContext& service, StreamRegistry& registry,
                            const grpc::ByteBuffer& request);

  // Sends DRAINING. From any thread.
  void TellDraining();

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  struct Item {
    runtime::ShardThread* thread = nullptr;
    std::shared_ptr<Operation> watchdog;  // on the shard's thread only
  };

  WatchStream(const ServiceContext& service, StreamRegistry& registry);
  void Begin(const grpc::ByteBuffer& request);
  void StartItem(std::size_t index, WatchCommand command);
  void OnEvent(std::size_t index, const Key& key, WatchEvent event);
  void ItemEnded(const grpc::Status& status);
  void EndWatchdogs();
  void Send(v1::WatchResponse event);
  void WriteNext();                        // under mutex_
  void Close(const grpc::Status& status);  // once what is queued has been sent

  const ServiceContext& service_;
  StreamRegistry& registry_;
  std::shared_ptr<WatchStream> self_;
  std::vector<Item> items_;  // its size is constant after Begin
  bool registered_ = false;

  std::mutex mutex_;
  std::size_t live_items_ = 0;
  std::deque<v1::WatchResponse> queue_;
  std::optional<grpc::Status> closing_;
  bool writing_ = false;
  bool finished_ = false;
  grpc::ByteBuffer buffer_;  // of the write under way
};

}  // namespace redlock::rpc
