// One Session stream: serves all locks of one process.
//
// Operations are posted to the shards of their keys, a portion of a message at a time. Results and
// events come back in batches, one per iteration of a shard's loop. Acquisitions of a client that
// does not read get OVERLOADED, and then its stream is closed. Other operations are not refused:
// the stream is not read until earlier ones have been answered.
#pragma once

#include <atomic>
#include <memory>
#include <variant>
#include <vector>

#include "server/rpc/lock_stream.h"
#include "server/rpc/session_leases.h"
#include "server/rpc/session_outbox.h"

namespace redlock::rpc {

// Work that is posted to shards shares ownership of the stream.
class SessionStream final : public LockStream<SessionOutbox> {
 public:
  SessionStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service);

 private:
  // Receives the results and events of one shard. On that shard's strand only.
  class Part final : public LeaseSet::Listener {
   public:
    explicit Part(SessionStream& stream, runtime::ShardThread& thread)
        : stream_(stream), thread_(thread) {}
    void OnAcquired(std::uint64_t id, const AcquireResult& result) override;
    void OnQueued(std::uint64_t id, std::size_t position) override;
    void OnExtended(std::uint64_t id, const ExtendResult& result) override;
    void OnReleased(std::uint64_t id, const ReleaseResult& result) override;
    void OnEvent(const Key& key, const WatchEvent& event) override;
    [[nodiscard]] bool MayKeep(const Key& key, LeaseOrigin origin) const override;

   private:
    // Adds the result of an acquisition or an extension: the lease, or why there is none.
    template <typename Result>
    void AddDecision(std::uint64_t id, const Result& result);
    void FlushSoon();

    SessionStream& stream_;
    runtime::ShardThread& thread_;
    v1::SessionResponse results_;  // since the last flush
    bool flush_posted_ = false;
  };
  struct CancelCommand {};  // does not name a key, so every shard gets it
  struct Operation {
    std::uint64_t id = 0;
    std::variant<HoldCommand, ExtendCommand, ReleaseCommand, AdoptCommand, GiveUpCommand,
                 CancelCommand>
        command;
  };
  using Work = std::vector<Operation>;  // for one shard

  [[nodiscard]] bool Admit() override {
    recorder_ = recorder();
    return Register();
  }
  void OnRead(const grpc::ByteBuffer& message) override;
  void OnReadsEnded() override;
  void RecheckLeases() override { leases_->Recheck(); }
  void EndLeases(StreamEnd end) override;

  [[nodiscard]] std::shared_ptr<SessionStream> Self();
  [[nodiscard]] bool TakeInGrace();
  void TakeInPortion();
  void TakeIn(const v1::SessionOperation& operation, std::vector<Work>& work,
              v1::SessionResponse& answered);
  template <typename Command>
  void SortIn(std::uint64_t id, Checked<Command> checked, access::Action action,
              const std::string& prefix, std::vector<Work>& work, v1::SessionResponse& answered);
  void TakeInNext();
  void OnRoom();
  [[nodiscard]] bool AdmitOperation(const v1::SessionOperation& operation,
                                    v1::SessionResponse& refused);
  void Dispatch(std::vector<Work> work);
  static void Do(LeaseSet& leases, Operation operation);
  void CloseLeases(std::uint64_t id);
  void Add(v1::SessionResponse response);

  const std::shared_ptr<SessionLeases> leases_;
  std::shared_ptr<LeaseRecorder> recorder_;   // of all leases; null: none
  std::vector<std::unique_ptr<Part>> parts_;  // one per shard; the vector is constant
  v1::SessionRequest request_;                // the message being handled
  int taken_in_ = 0;                          // how many of its operations have been handled
  bool first_message_ = true;
  bool held_back_ = false;  // nothing is read, because the outbox is full
  std::atomic<bool> ended_ = false;
};

}  // namespace redlock::rpc
