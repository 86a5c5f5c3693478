// One Hold stream: a lock that lives exactly as long as the stream.
#pragma once

#include <memory>

#include "server/rpc/event_stream.h"

namespace redlock::rpc {

class HoldStream final : public EventStream<v1::HoldResponse> {
 public:
  // gRPC owns what is returned. `until_deadline`: the call's own bound on the wait, if it has one.
  static HoldStream* Start(const ServiceContext& service, const grpc::ByteBuffer& request,
                           std::optional<Duration> until_deadline);

 private:
  explicit HoldStream(const ServiceContext& service) : EventStream(service) {}
  [[nodiscard]] std::shared_ptr<HoldStream> Self();
  void Begin(const grpc::ByteBuffer& request, std::optional<Duration> until_deadline);
  void StartHold(Shard& shard, HoldCommand command);
  void OnQueued(std::size_t position);
  void OnDecided(const AcquireResult& result);
  void OnEvent(const WatchEvent& event);
  void EndLeases(Ending ending) override;

  Key key_;
  runtime::ShardThread* thread_ = nullptr;
  std::shared_ptr<HoldOperation> hold_;  // on the shard's thread only
};

}  // namespace redlock::rpc
