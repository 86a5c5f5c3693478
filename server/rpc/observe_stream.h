// One Observe stream: reports the states of a key.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <memory>
#include <utility>

#include "server/core/keys/observed_state.h"
#include "server/rpc/lock_stream.h"

namespace redlock::rpc {

// The state that waits to be written: a client that reads slowly gets only the latest one. Not
// thread-safe: guarded by the writer's mutex.
class StateOutbox {
 public:
  explicit StateOutbox(const NodeNames& names) : names_(names) {}
  [[nodiscard]] bool empty() const { return !latest_; }
  void Clear() { latest_.reset(); }
  void Put(ObservedPtr state) { latest_ = std::move(state); }
  [[nodiscard]] bool AddDraining() { return true; }
  // Removes the state, and returns it as of now. The outbox must not be empty.
  [[nodiscard]] grpc::ByteBuffer Take();

 private:
  const NodeNames& names_;
  ObservedPtr latest_;
};

class ObserveStream final : public LockStream<StateOutbox> {
 public:
  ObserveStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service)
      : LockStream(std::move(accepted), service, StateOutbox(service.names)) {}

  // Ends the stream at once, because it has no lease that the client must move first.
  void TellDraining() override;

 private:
  void OnRead(const grpc::ByteBuffer& message) override;
  void OnReadsEnded() override { Close(ToStatus({{"(message)", "is missing"}})); }
  void RecheckLeases() override;
  // Stops observing.
  void EndLeases(StreamEnd end) override;
  void OnState(const ObservedPtr& state);

  Key key_;
  runtime::ShardThread* thread_ = nullptr;
  std::atomic<bool> ended_ = false;
  std::shared_ptr<void> observation_;  // on the shard's strand only
};

}  // namespace redlock::rpc
