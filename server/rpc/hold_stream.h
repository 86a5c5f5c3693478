// One Hold stream: a lock that lives exactly as long as the stream.
#pragma once

#include <memory>

#include "server/rpc/event_stream.h"

namespace redlock::rpc {

class HoldStream final : public EventStream<v1::HoldResponse> {
 public:
  HoldStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service)
      : EventStream(std::move(accepted), service) {}

 private:
  [[nodiscard]] std::shared_ptr<HoldStream> Self();
  void OnRequest(const grpc::ByteBuffer& message) override;
  void StartHold(Shard& shard, HoldCommand command);
  void OnQueued(std::size_t position);
  void OnDecided(const AcquireResult& result);
  void OnEvent(const WatchEvent& event);
  void EndLeases(Ending ending) override;

  Key key_;
  runtime::ShardThread* thread_ = nullptr;
  std::shared_ptr<HoldOperation> hold_;  // in the shard's turns only
};

}  // namespace redlock::rpc
