// A daemon's end of a Session: does what SessionStream and SessionLeases of server/rpc do, for one
// shard and without gRPC, with the same LeaseSet and SilenceTimer.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "client/cpp/core/messages.h"
#include "server/core/leases/lease_set.h"
#include "server/core/leases/silence_timer.h"

namespace redlock::sim {

// Confined to the daemon's strand. Must outlive the shard's operations, so the world keeps it.
class SessionHost final : public LeaseSet::Listener {
 public:
  using Send = std::function<void(client::Response)>;
  // Called when the stream has ended from the daemon's point of view.
  using Over = std::function<void()>;

  SessionHost(Shard& shard, Send send, Over over);

  void OnMessage(const client::Request& request);
  // The stream was cancelled, half-closed or reset.
  void OnBroken();
  void Drain();
  // The daemon shuts down after the time that the client had to move.
  void Expel() { End(StreamEnd::kShutDown); }

  void OnAcquired(std::uint64_t id, const AcquireResult& result) override;
  void OnQueued(std::uint64_t id, std::size_t position) override;
  void OnExtended(std::uint64_t id, const ExtendResult& result) override;
  void OnReleased(std::uint64_t id, const ReleaseResult& result) override;
  void OnEvent(const Key& key, const WatchEvent& event) override;
  [[nodiscard]] bool MayKeep(const Key& /*key*/, LeaseOrigin /*origin*/) const override {
    return true;
  }

 private:
  void Do(const client::OperationMessage& operation);
  void Add(std::uint64_t id, const std::optional<Lease>& lease, const std::optional<Error>& error);
  void FlushSoon();
  void Flush();
  void End(StreamEnd end);

  Shard& shard_;
  Send send_;
  Over over_;
  const std::shared_ptr<LeaseSet> leases_;
  std::optional<SilenceTimer> silence_;
  bool closed_ = false;  // nothing is started or sent any more
  client::Response pending_;
  std::vector<std::optional<MonotonicTime>> answers_until_;  // for each of pending_.answers
  std::vector<std::optional<MonotonicTime>> events_until_;
  TimerHandle flush_;
};

}  // namespace redlock::sim
