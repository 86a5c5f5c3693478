// One ChangeNodeSet stream: passes a request on to the shard that coordinates changes, and streams
// the progress.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/core/nodes/set_change.h"
#include "server/rpc/lock_stream.h"
#include "server/rpc/message.h"

namespace redlock::rpc {

// The newest response that waits to be written: an older one tells nothing more.
class ProgressOutbox {
 public:
  [[nodiscard]] bool empty() const { return !newest_; }
  void Clear() { newest_.reset(); }
  void Put(v1::ChangeNodeSetResponse response) { newest_ = std::move(response); }
  [[nodiscard]] bool AddDraining() { return true; }
  [[nodiscard]] grpc::ByteBuffer Take() { return Serialize(*std::exchange(newest_, std::nullopt)); }

 private:
  std::optional<v1::ChangeNodeSetResponse> newest_;
};

class NodeSetStream final : public LockStream<ProgressOutbox> {
 public:
  NodeSetStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service)
      : LockStream(std::move(accepted), service, {}) {}

  // The nodes store the change, so the caller need not wait for it here.
  void TellDraining() override;

 private:
  void OnRead(const grpc::ByteBuffer& message) override;
  void OnReadsEnded() override;
  // Without the permission, the caller can no longer follow the change.
  void RecheckLeases() override { (void)Permit(); }
  // Stops following the change, which goes on.
  void EndLeases(StreamEnd end) override;

  // Returns false if the caller may not change the node set; the stream is then closing.
  [[nodiscard]] bool Permit();

  // On the coordinator's strand.
  void Start(Shard& shard, bool init, const ChangeRequest& change);
  void OnProgress(Shard& shard, const ChangeProgress& progress);
  void Show(Shard& shard);
  void Audit(const std::string& what) const;

  bool read_ = false;
  // On the coordinator's strand only.
  std::shared_ptr<void> follower_;
  ChangeProgress progress_;
  bool asking_ = false;  // the nodes, to show them
};

}  // namespace redlock::rpc
