// One Hold stream: acquires a lock and keeps it alive while the stream is open.
#pragma once

#include <atomic>
#include <memory>

#include "server/core/leases/lease_set.h"
#include "server/rpc/event_outbox.h"
#include "server/rpc/lock_stream.h"

namespace redlock::rpc {

class HoldStream final : public LockStream<EventOutbox<v1::HoldResponse>>,
                         public LeaseSet::Listener {
 public:
  HoldStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service)
      : LockStream(std::move(accepted), service, {}) {}

 private:
  [[nodiscard]] std::shared_ptr<HoldStream> Self();
  void OnRead(const grpc::ByteBuffer& message) override;
  void OnReadsEnded() override { Close(ToStatus({{"(message)", "is missing"}})); }
  void RecheckLeases() override;
  void EndLeases(StreamEnd end) override;

  void OnAcquired(std::uint64_t id, const AcquireResult& result) override;
  void OnQueued(std::uint64_t id, std::size_t position) override;
  void OnExtended(std::uint64_t /*id*/, const ExtendResult& /*result*/) override {}
  void OnReleased(std::uint64_t /*id*/, const ReleaseResult& /*result*/) override {}
  void OnEvent(const Key& key, const WatchEvent& event) override;
  [[nodiscard]] bool MayKeep(const Key& key, LeaseOrigin origin) const override;
  void SendEvent(v1::HoldResponse event);

  Key key_;
  runtime::ShardThread* thread_ = nullptr;
  std::atomic<bool> ended_ = false;
  std::shared_ptr<LeaseSet> leases_;  // on the shard's strand only
};

}  // namespace redlock::rpc
