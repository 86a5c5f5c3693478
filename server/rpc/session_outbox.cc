#include "server/rpc/session_outbox.h"

#include <utility>

#include "server/loop/event_loop.h"
#include "server/rpc/events.h"
#include "server/rpc/message.h"

namespace redlock::rpc {
namespace {

// How many operations above the limit are refused one by one between two messages.
constexpr std::size_t kMostRefused = 1'000;
// Limits waiting events and positions, per operation that may be under way. Results are limited by
// the operations that were admitted.
constexpr std::size_t kMostEvents = 4;

}  // namespace

SessionOutbox::Admission SessionOutbox::Admit(std::uint64_t id) {
  if (under_way_.contains(id)) return Admission::kIdInUse;
  if (under_way_.size() < most_operations_) {
    under_way_.insert(id);
    return Admission::kYes;
  }
  return ++refused_ > kMostRefused ? Admission::kFarTooMany : Admission::kTooMany;
}

bool SessionOutbox::empty() const {
  return pending_.results_size() == 0 && pending_.events_size() == 0 &&
         pending_.positions_size() == 0;
}

void SessionOutbox::Clear() {
  pending_.Clear();
  last_extended_.clear();
}

bool SessionOutbox::Add(v1::SessionResponse response) {
  for (v1::SessionResult& result : *response.mutable_results()) {
    pending_.mutable_results()->Add(std::move(result));
  }
  for (v1::WatchResponse& event : *response.mutable_events()) AddEvent(std::move(event));
  for (v1::QueuePosition& position : *response.mutable_positions()) {
    pending_.mutable_positions()->Add(std::move(position));
  }
  const auto events = static_cast<std::size_t>(pending_.events_size()) +
                      static_cast<std::size_t>(pending_.positions_size());
  return events <= kMostEvents * most_operations_;
}

// A client that lags behind needs only the newest extension of each lease.
void SessionOutbox::AddEvent(v1::WatchResponse event) {
  const auto last = last_extended_.find(event.key());
  const bool extended = event.type() == v1::EVENT_TYPE_EXTENDED;
  if (extended && last != last_extended_.end()) {
    *pending_.mutable_events(last->second) = std::move(event);
    return;
  }
  if (extended) {
    last_extended_.emplace(event.key(), pending_.events_size());
  } else if (last != last_extended_.end()) {
    last_extended_.erase(last);
  }
  pending_.mutable_events()->Add(std::move(event));
}

bool SessionOutbox::AddDraining() {
  v1::SessionResponse response;
  *response.add_events() = DrainingResponse<v1::WatchResponse>();
  return Add(std::move(response));
}

grpc::ByteBuffer SessionOutbox::Take() {
  const MonotonicTime now = BootTime();
  Fill(*pending_.mutable_clock(), now.time_since_epoch());
  for (v1::SessionResult& result : *pending_.mutable_results()) {
    if (result.has_lease()) SetValidity(*result.mutable_lease(), now);
    under_way_.erase(result.id());
  }
  for (v1::WatchResponse& event : *pending_.mutable_events()) {
    if (event.lease().has_validity()) SetValidity(*event.mutable_lease(), now);
  }
  grpc::ByteBuffer message = Serialize(pending_);
  pending_ = {};  // Clear() would never free the memory of the largest message
  last_extended_.clear();
  refused_ = 0;
  return message;
}

}  // namespace redlock::rpc
