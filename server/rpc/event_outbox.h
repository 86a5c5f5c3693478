// Events of a Hold or a Watch that wait to be written, one a message.
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

// Under the writer's mutex.
template <typename Response>
class EventOutbox {
 public:
  // Before the first event. A client that lags behind by more is not served any longer.
  void SetMost(std::size_t events) { most_ = std::max(most_, events); }

  [[nodiscard]] bool empty() const { return queue_.empty(); }
  void Clear() { queue_.clear(); }

  // False if there are too many.
  [[nodiscard]] bool Add(Response event) {
    // A client that lags behind needs only the newest extension of a lease.
    if (event.type() == v1::EVENT_TYPE_EXTENDED) {
      std::erase_if(queue_, [&event](const Response& queued) {
        return queued.type() == v1::EVENT_TYPE_EXTENDED && queued.key() == event.key();
      });
    }
    if (queue_.size() == most_) return false;
    queue_.push_back(std::move(event));
    return true;
  }
  [[nodiscard]] bool AddDraining() { return Add(DrainingResponse<Response>()); }

  // The next message, as of now. Not empty.
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
