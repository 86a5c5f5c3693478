// The results, events and queue positions of a Session that wait to be written. What is added while
// a message is being written shares the next message, up to a size that every client accepts. Also
// limits the operations under way; an operation is under way until its result has been written, and
// so is one that was refused.
//
// An acquisition beyond the limit is refused. An operation on what the client holds is not, because
// that could cost the lock or leave it taken. If too many of them are unanswered, the stream is not
// read. That ends without the client's doing: a client that reads no answers before its write ends
// must not block itself. Acquisitions do not count, because they may wait for a release of the same
// stream.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "proto/redlock/v1/lock_service.pb.h"

namespace redlock::rpc {

// Not thread-safe: guarded by the writer's mutex.
class SessionOutbox {
 public:
  explicit SessionOutbox(std::size_t most_operations) : most_operations_(most_operations) {}

  enum class Load {
    kLimited,
    kNeverRefused,
  };
  enum class Admission {
    kYes,
    kIdInUse,
    kTooMany,     // only if kLimited
    kFarTooMany,  // the client sends operations without reading the answers
  };
  // Unless the answer is kFarTooMany, exactly one result with this id must be added.
  [[nodiscard]] Admission Admit(std::uint64_t id, Load load);
  // Whether so many operations that are never refused are unanswered that no more should be read.
  [[nodiscard]] bool IsFull() const { return unanswered_.size() >= most_operations_; }

  [[nodiscard]] bool empty() const { return messages_.empty(); }
  void Clear();
  // Returns false if the client lags too far behind with reading its events.
  [[nodiscard]] bool Add(v1::SessionResponse response);
  [[nodiscard]] bool AddDraining();
  // Removes and returns the oldest message, with clock and validities as of now. The outbox must
  // not be empty.
  [[nodiscard]] grpc::ByteBuffer Take();

 private:
  struct Message {
    v1::SessionResponse response;
    std::size_t bytes = 0;
  };

  void AddEvent(v1::WatchResponse event);
  v1::WatchResponse& Append(v1::WatchResponse event);
  // The extension is about to be written, so the next one does not replace it.
  void Forget(const v1::WatchResponse& event);
  // Returns the message that the part is to be added to.
  [[nodiscard]] v1::SessionResponse& PlaceFor(const google::protobuf::MessageLite& part);

  const std::size_t most_operations_;
  // The ids whose results have not been written. The refusal of an id that is in use does not free
  // it for the next operation.
  std::unordered_multiset<std::uint64_t> under_way_;
  // Of those that are never refused. The refusal of such an id counts too, until it is added.
  std::unordered_multiset<std::uint64_t> unanswered_;
  std::size_t refused_ = 0;  // since the last message
  std::deque<Message> messages_;
  std::size_t bytes_ = 0;   // of all messages
  std::size_t events_ = 0;  // and positions, of all messages
  // By keys and token: the event that the next extension of the lease replaces.
  std::unordered_map<std::string, std::unordered_map<std::string, v1::WatchResponse*>>
      last_extended_;
};

}  // namespace redlock::rpc
