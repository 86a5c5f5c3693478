// One Session: all locks of one process over one stream.
//
// Operations are handed to their keys' shards, a portion of a message at a time; results and events
// come back from there, a turn's worth at a time. A client that does not read is answered
// OVERLOADED and then closed.
#pragma once

#include <atomic>
#include <memory>
#include <variant>
#include <vector>

#include "server/rpc/lock_stream.h"
#include "server/rpc/session_leases.h"
#include "server/rpc/session_outbox.h"

namespace redlock::rpc {

// Work posted to shards shares the session.
class SessionStream final : public LockStream<SessionOutbox> {
 public:
  SessionStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service);

 private:
  // What comes from one shard. In that shard's turns only.
  class Part final : public LeaseSet::Listener {
   public:
    explicit Part(SessionStream& stream, runtime::ShardThread& thread)
        : stream_(stream), thread_(thread) {}
    void OnAcquired(std::uint64_t id, const AcquireResult& result) override;
    void OnQueued(std::uint64_t id, std::size_t position) override;
    void OnExtended(std::uint64_t id, const ExtendResult& result) override;
    void OnReleased(std::uint64_t id, const ReleaseResult& result) override;
    void OnEvent(const Key& key, const WatchEvent& event) override;
    // An acquisition that was given up before it was decided.
    void OnGivenUp(std::uint64_t id);

   private:
    // Of an acquisition or an extension: the lease, or why there is none.
    template <typename Result>
    void AddDecision(std::uint64_t id, const Result& result);
    void FlushSoon();

    SessionStream& stream_;
    runtime::ShardThread& thread_;
    v1::SessionResponse results_;  // of this turn
    bool flush_posted_ = false;
  };
  struct GiveUpCommand {};  // of a key that it does not name: every shard is asked
  struct Operation {
    std::uint64_t id = 0;
    std::variant<HoldCommand, ExtendCommand, ReleaseCommand, AdoptCommand, GiveUpCommand> command;
  };
  using Work = std::vector<Operation>;  // of one shard

  [[nodiscard]] bool Admit() override { return Register(); }
  void OnRead(const grpc::ByteBuffer& message) override;
  void OnReadsEnded() override;
  void EndLeases(StreamEnd end) override;

  [[nodiscard]] std::shared_ptr<SessionStream> Self();
  [[nodiscard]] bool TakeInGrace();
  void TakeInPortion();
  void TakeIn(const v1::SessionOperation& operation, std::vector<Work>& work,
              v1::SessionResponse& answered);
  template <typename Command>
  void SortIn(std::uint64_t id, Checked<Command> checked, access::Action action,
              const std::string& prefix, std::vector<Work>& work, v1::SessionResponse& answered);
  [[nodiscard]] bool AdmitOperation(std::uint64_t id, v1::SessionResponse& refused);
  void Dispatch(std::vector<Work> work);
  static void Do(Part& part, LeaseSet& leases, Operation operation);
  void CloseLeases(std::uint64_t id);
  void Add(v1::SessionResponse response);

  const std::shared_ptr<SessionLeases> leases_;
  std::vector<std::unique_ptr<Part>> parts_;  // one a shard; the vector is constant
  v1::SessionRequest request_;                // being taken in
  int taken_in_ = 0;                          // of its operations
  bool first_message_ = true;
};

}  // namespace redlock::rpc
