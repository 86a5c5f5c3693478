// One Session: all locks of one process over one stream.
//
// Operations are handed to their keys' shards, a portion of a message at a time; results and events
// come back from there, a turn's worth at a time, and those that come while a write is under way
// share the next message. A client that does not read is told OVERLOADED and then closed; its
// leases are released, as they are at any other end of the stream.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "server/rpc/caller.h"
#include "server/rpc/service_context.h"
#include "server/rpc/stream_call.h"

namespace redlock::rpc {

// Work posted to shards shares the session.
class SessionStream final : public StreamCall, public OpenStream {
 public:
  SessionStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service);

  void TellDraining() override;
  void Expel() override;

 private:
  struct LeaseName {
    Key key;
    OwnerToken token;
    bool operator==(const LeaseName&) const = default;
  };
  struct HashLeaseName {
    std::size_t operator()(const LeaseName& name) const {
      return std::hash<std::string>()(name.token.value());  // which nearly always differ
    }
  };
  // What the session has on one shard. In that shard's turns only.
  struct Part {
    runtime::ShardThread* thread = nullptr;
    std::unordered_map<std::uint64_t, std::shared_ptr<HoldOperation>> waiting;  // by operation
    std::unordered_map<LeaseName, std::shared_ptr<Watchdog>, HashLeaseName> held;
    v1::SessionResponse results;  // of this turn
    bool flush_posted = false;
  };
  struct GiveUpCommand {};  // of a key that it does not name: every shard is told
  struct Operation {
    std::uint64_t id = 0;
    std::variant<HoldCommand, ExtendCommand, ReleaseCommand, GiveUpCommand> command;
  };
  using Work = std::vector<Operation>;

  void Begin() override;
  void OnRead(const grpc::ByteBuffer& message) override;
  void OnReadsEnded() override;
  void OnWritten(bool ok) override;
  void OnCancelled() override;
  void OnEnded() override;

  [[nodiscard]] std::shared_ptr<SessionStream> Self();
  void TakeInPortion();
  [[nodiscard]] bool Admit(std::uint64_t id, v1::SessionResponse& refused);
  void Do(Part& part, Shard& shard, Operation operation);
  void Acquire(Part& part, Shard& shard, std::uint64_t id, HoldCommand command);
  void OnAcquired(Part& part, std::uint64_t id, const AcquireResult& result);
  void OnEvent(Part& part, const LeaseName& name, const WatchEvent& event);
  void Extend(Part& part, Shard& shard, std::uint64_t id, ExtendCommand command);
  void Release(Part& part, Shard& shard, std::uint64_t id, ReleaseCommand command);
  void GiveUp(Part& part, std::uint64_t id);
  void FlushSoon(Part& part);
  void Send(v1::SessionResponse response);
  void WriteNext();  // under mutex_
  void End(Ending ending);
  void EndPortion(Part& part, Ending ending);
  void Close(const grpc::Status& status);

  const ServiceContext& service_;
  std::vector<Part> parts_;  // one a shard; the vector is constant
  std::optional<Caller> caller_;
  bool registered_ = false;
  std::atomic<bool> draining_told_ = false;
  std::atomic<bool> ended_ = false;
  v1::SessionRequest request_;  // being taken in
  int taken_in_ = 0;            // of its operations

  std::mutex mutex_;
  std::unordered_set<std::uint64_t> under_way_;         // ids whose result has not been sent
  v1::SessionResponse pending_;                         // while a write is under way
  std::unordered_map<std::string, int> last_extended_;  // key -> index of its event in pending_
  std::size_t refused_ = 0;                             // OVERLOADED results in pending_
  std::optional<grpc::Status> closing_;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace redlock::rpc
