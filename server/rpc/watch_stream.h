// One Watch stream: its watchdogs live on their keys' shards.
#pragma once

#include <memory>
#include <vector>

#include "server/rpc/event_stream.h"

namespace redlock::rpc {

class WatchStream final : public EventStream<v1::WatchResponse> {
 public:
  // gRPC owns what is returned.
  static WatchStream* Start(const ServiceContext& service, const grpc::ByteBuffer& request);

 private:
  struct Item {
    runtime::ShardThread* thread = nullptr;
    std::shared_ptr<Watchdog> watchdog;  // on the shard's thread only
  };

  explicit WatchStream(const ServiceContext& service) : EventStream(service) {}
  [[nodiscard]] std::shared_ptr<WatchStream> Self();
  void Begin(const grpc::ByteBuffer& request);
  void StartItem(std::size_t index, WatchCommand command);
  void OnEvent(std::size_t index, const Key& key, const WatchEvent& event);
  void EndLeases(Ending ending) override;

  std::vector<Item> items_;  // its size is constant after Begin
  std::atomic<std::size_t> live_items_ = 0;
};

}  // namespace redlock::rpc
