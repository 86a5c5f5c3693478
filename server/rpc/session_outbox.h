// The results, events and queue positions of a Session that wait to be written. Everything that is
// added while a message is being written shares the next message. Also limits the operations under
// way; an operation is under way until its result has been written.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "proto/redlock/v1/lock_service.pb.h"

namespace redlock::rpc {

// Not thread-safe: guarded by the writer's mutex.
class SessionOutbox {
 public:
  explicit SessionOutbox(std::size_t most_operations) : most_operations_(most_operations) {}

  enum class Admission {
    kYes,
    kIdInUse,
    kTooMany,
    kFarTooMany,  // the client sends operations without reading the refusals
  };
  [[nodiscard]] Admission Admit(std::uint64_t id);

  [[nodiscard]] bool empty() const;
  void Clear();
  // Returns false if the client lags too far behind with reading its events.
  [[nodiscard]] bool Add(v1::SessionResponse response);
  [[nodiscard]] bool AddDraining();
  // Removes everything and returns it as one message, with clock and validities as of now.
  [[nodiscard]] grpc::ByteBuffer Take();

 private:
  void AddEvent(v1::WatchResponse event);

  const std::size_t most_operations_;
  std::unordered_set<std::uint64_t> under_way_;  // ids whose result has not been written
  std::size_t refused_ = 0;                      // since the last message
  v1::SessionResponse pending_;
  std::unordered_map<std::string, int> last_extended_;  // key -> index of its event in pending_
};

}  // namespace redlock::rpc
