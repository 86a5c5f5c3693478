// One Watch stream: keeps leases alive by watchdogs, which run on the shards of their keys.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "server/core/leases/lease_set.h"
#include "server/rpc/event_outbox.h"
#include "server/rpc/lock_stream.h"

namespace redlock::rpc {

class WatchStream final : public LockStream<EventOutbox<v1::WatchResponse>>,
                          public LeaseSet::Listener {
 public:
  WatchStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service)
      : LockStream(std::move(accepted), service, {}) {}

 private:
  // The leases of the stream on one shard.
  struct Part {
    runtime::ShardThread* thread = nullptr;
    std::vector<WatchCommand> commands;  // until they have been started
    std::shared_ptr<LeaseSet> leases;    // on the shard's strand only
  };

  [[nodiscard]] std::shared_ptr<WatchStream> Self();
  void OnRead(const grpc::ByteBuffer& message) override;
  void OnReadsEnded() override { Close(ToStatus({{"(message)", "is missing"}})); }
  void Sort(std::vector<WatchCommand> commands);
  [[nodiscard]] bool MayKeepAll() const;
  void Start();
  void RecheckLeases() override;
  void EndLeases(StreamEnd end) override;

  void OnAcquired(std::uint64_t /*id*/, const AcquireResult& /*result*/) override {}
  void OnQueued(std::uint64_t /*id*/, std::size_t /*position*/) override {}
  void OnExtended(std::uint64_t /*id*/, const ExtendResult& /*result*/) override {}
  void OnReleased(std::uint64_t /*id*/, const ReleaseResult& /*result*/) override {}
  void OnEvent(const Key& key, const WatchEvent& event) override;
  [[nodiscard]] bool MayKeep(const Key& key, LeaseOrigin origin) const override;

  std::vector<Part> parts_;  // constant once the stream is registered
  std::atomic<std::size_t> live_items_ = 0;
  std::atomic<bool> ended_ = false;
};

}  // namespace redlock::rpc
