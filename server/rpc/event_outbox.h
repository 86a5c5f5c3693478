// The events of a Hold or a Watch that wait to be written. Each event is one message.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <utility>

#include "server/loop/event_loop.h"
#include "server/rpc/events.h"
#include "server/rpc/message.h"

namespace redlock::rpc {

// Not thread-safe: guarded by the writer's mutex.
template <typename Response>
class EventOutbox {
 public:
  // Raises the limit of waiting events, 64 by default. A client that lags behind by more is no
  // longer served. Call before the first event.
  void SetMost(std::size_t events) { most_ = std::max(most_, events); }

  [[nodiscard]] bool empty() const { return queue_.empty(); }
  void Clear() { queue_.clear(); }

  // Returns false if too many events wait.
  [[nodiscard]] bool Add(Response event) {
    // A client that lags behind needs only the newest extension of each lease.
    if (event.type() == v1::EVENT_TYPE_EXTENDED) {
      std::erase_if(queue_, [&event](const Response& queued) {
        return queued.type() == v1::EVENT_TYPE_EXTENDED &&
               queued.lease().token() == event.lease().token() && queued.key() == event.key() &&
               std::ranges::equal(queued.keys(), event.keys());
      });
    }
    if (queue_.size() == most_) return false;
    queue_.push_back(std::move(event));
    return true;
  }
  [[nodiscard]] bool AddDraining() { return Add(DrainingResponse<Response>()); }

  // Removes and returns the next message, with its validity as of now. The outbox must not be
  // empty.
  [[nodiscard]] grpc::ByteBuffer Take() {
    Response event = std::move(queue_.front());
    queue_.pop_front();
    if (event.lease().has_validity()) SetValidity(*event.mutable_lease(), BootTime());
    return Serialize(event);
  }

 private:
  std::size_t most_ = 64;
  std::deque<Response> queue_;
};

}  // namespace redlock::rpc
