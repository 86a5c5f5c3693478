// One Watch stream: its watchdogs live on their keys' shards.
#pragma once

#include <memory>
#include <vector>

#include "server/rpc/event_stream.h"

namespace redlock::rpc {

class WatchStream final : public EventStream<v1::WatchResponse> {
 public:
  WatchStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service)
      : EventStream(std::move(accepted), service) {}

 private:
  struct Item {
    runtime::ShardThread* thread = nullptr;
    std::shared_ptr<Watchdog> watchdog;  // in the shard's turns only
  };

  [[nodiscard]] std::shared_ptr<WatchStream> Self();
  void OnRequest(const grpc::ByteBuffer& message) override;
  void StartItem(std::size_t index, WatchCommand command);
  void OnEvent(std::size_t index, const Key& key, const WatchEvent& event);
  void EndLeases(Ending ending) override;

  std::vector<Item> items_;  // its size is constant after Begin
  std::atomic<std::size_t> live_items_ = 0;
};

}  // namespace redlock::rpc
