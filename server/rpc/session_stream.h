// One Session: all locks of one process over one stream.
//
// Operations are handed to their keys' shards, a message's worth at a time; results and events come
// back from there, a turn's worth at a time, and those that come while a write is under way share
// the next message. A client that does not read is told OVERLOADED and then closed; its leases are
// released, as they are at any other end of the stream.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "server/rpc/service_context.h"

namespace redlock::rpc {

// gRPC owns a session until OnDone; work posted to shards shares it.
class SessionStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                            public OpenStream,
                            public std::enable_shared_from_this<SessionStream> {
 public:
  // gRPC owns what is returned.
  static SessionStream* Start(const ServiceContext& service);

  void TellDraining() override;
  void Expel() override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // What the session has on one shard. On that shard's thread only.
  struct Part {
    runtime::ShardThread* thread = nullptr;
    std::unordered_map<std::uint64_t, std::shared_ptr<HoldOperation>> waiting;  // by operation
    std::unordered_map<std::string, std::shared_ptr<HoldOperation>> held;       // by key and token
    v1::SessionResponse results;                                                // of this turn
    bool flush_posted = false;
  };
  struct Operation {
    std::uint64_t id = 0;
    std::variant<HoldCommand, ExtendCommand, ReleaseCommand> command;
  };
  using Work = std::vector<Operation>;

  explicit SessionStream(const ServiceContext& service);
  void TakeIn(const v1::SessionRequest& request);
  [[nodiscard]] bool Admit(std::uint64_t id, v1::SessionResponse& refused);
  void Do(Part& part, Shard& shard, Operation operation);
  void Acquire(Part& part, Shard& shard, std::uint64_t id, HoldCommand command);
  void OnAcquired(Part& part, std::uint64_t id, const std::string& name,
                  const AcquireResult& result);
  void OnEvent(Part& part, const std::string& name, const Key& key, const WatchEvent& event);
  void Extend(Part& part, Shard& shard, std::uint64_t id, ExtendCommand command);
  void Release(Part& part, Shard& shard, std::uint64_t id, ReleaseCommand command);
  void FlushSoon(Part& part);
  void Send(v1::SessionResponse response);
  void WriteNext();  // under mutex_
  void End(Ending ending);
  void Close(const grpc::Status& status);

  const ServiceContext& service_;
  std::shared_ptr<SessionStream> self_;
  std::vector<Part> parts_;  // one a shard; the vector is constant
  bool registered_ = false;
  std::atomic<bool> draining_told_ = false;
  std::atomic<bool> ended_ = false;
  grpc::ByteBuffer incoming_;

  std::mutex mutex_;
  std::unordered_set<std::uint64_t> under_way_;         // ids whose result has not been sent
  v1::SessionResponse pending_;                         // while a write is under way
  std::unordered_map<std::string, int> last_extended_;  // key -> index of its event in pending_
  std::size_t refused_ = 0;                             // OVERLOADED results in pending_
  std::optional<grpc::Status> closing_;
  bool writing_ = false;
  bool finished_ = false;
  grpc::ByteBuffer outgoing_;  // of the write under way
};

}  // namespace redlock::rpc
