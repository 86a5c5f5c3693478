#include "server/rpc/session_outbox.h"

#include <utility>

#include "server/loop/event_loop.h"
#include "server/rpc/events.h"
#include "server/rpc/message.h"

namespace redlock::rpc {
namespace {

// How many operations are refused one by one between two messages.
constexpr std::size_t kMostRefused = 1'000;
// Limits waiting events and positions, per operation that may be under way. Results are limited by
// the operations that were admitted.
constexpr std::size_t kMostEvents = 4;
// Clients of gRPC accept messages of up to 4 MiB by default.
constexpr std::size_t kMessageBytes = std::size_t{1} << 20;
constexpr std::size_t kPartOverhead = 8;  // tag and length of a part of a message
// Limits the unread results of operations that are never refused, in the same way. A client that
// lags behind by more is no longer served.
constexpr std::size_t kMostUnread = 16;
// No acquisition is admitted while more than this waits to be read. A client that still lags behind
// by twice as much is no longer served.
constexpr std::size_t kMostBytes = std::size_t{32} << 20;

// No two sets of keys have the same text: the length of a key stands before it.
std::string NamesOf(const v1::WatchResponse& event) {
  const auto text = [](const std::string& key) { return std::to_string(key.size()) + ':' + key; };
  if (event.keys().empty()) return text(event.key());
  std::string names;
  for (const std::string& key : event.keys()) names += text(key);
  return names;
}

}  // namespace

SessionOutbox::Admission SessionOutbox::Admit(std::uint64_t id, Load load) {
  const bool limited = load == Load::kLimited;
  const bool in_use = under_way_.contains(id);
  const bool fits = !limited || (under_way_.size() < most_operations_ && bytes_ <= kMostBytes);
  const bool admitted = fits && !in_use;
  if (under_way_.size() >= kMostUnread * most_operations_ + kMostRefused ||
      (!admitted && ++refused_ > kMostRefused)) {
    return Admission::kFarTooMany;
  }
  under_way_.insert(id);
  if (admitted ? !limited : unanswered_.contains(id)) unanswered_.insert(id);
  if (admitted) return Admission::kYes;
  return in_use ? Admission::kIdInUse : Admission::kTooMany;
}

void SessionOutbox::Clear() {
  messages_.clear();
  bytes_ = 0;
  events_ = 0;
  last_extended_.clear();
}

v1::SessionResponse& SessionOutbox::PlaceFor(const google::protobuf::MessageLite& part) {
  const std::size_t bytes = part.ByteSizeLong() + kPartOverhead;
  if (messages_.empty() || messages_.back().bytes + bytes > kMessageBytes) messages_.emplace_back();
  messages_.back().bytes += bytes;
  bytes_ += bytes;
  return messages_.back().response;
}

bool SessionOutbox::Add(v1::SessionResponse response) {
  for (v1::SessionResult& result : *response.mutable_results()) {
    if (const auto answered = unanswered_.find(result.id()); answered != unanswered_.end()) {
      unanswered_.erase(answered);  // one of those with this id
    }
    PlaceFor(result).mutable_results()->Add(std::move(result));
  }
  for (v1::WatchResponse& event : *response.mutable_events()) AddEvent(std::move(event));
  for (v1::QueuePosition& position : *response.mutable_positions()) {
    PlaceFor(position).mutable_positions()->Add(std::move(position));
    ++events_;
  }
  return events_ <= kMostEvents * most_operations_ && bytes_ <= 2 * kMostBytes;
}

// A client that lags behind needs only the newest extension of each lease. A Session can have
// several leases of the same keys: shares, or slots of a semaphore.
void SessionOutbox::AddEvent(v1::WatchResponse event) {
  const std::string names = NamesOf(event);
  if (event.type() != v1::EVENT_TYPE_EXTENDED) {
    last_extended_.erase(names);  // not every such event tells the token
    Append(std::move(event));
    return;
  }
  v1::WatchResponse*& last = last_extended_[names][event.lease().token()];
  if (last != nullptr) {
    *last = std::move(event);
  } else {
    last = &Append(std::move(event));
  }
}

v1::WatchResponse& SessionOutbox::Append(v1::WatchResponse event) {
  auto& events = *PlaceFor(event).mutable_events();
  events.Add(std::move(event));
  ++events_;
  return *events.Mutable(events.size() - 1);  // keeps its address
}

void SessionOutbox::Forget(const v1::WatchResponse& event) {
  const auto of_names = last_extended_.find(NamesOf(event));
  if (of_names == last_extended_.end()) return;
  const auto last = of_names->second.find(event.lease().token());
  if (last == of_names->second.end() || last->second != &event) return;
  of_names->second.erase(last);
  if (of_names->second.empty()) last_extended_.erase(of_names);
}

bool SessionOutbox::AddDraining() {
  v1::SessionResponse response;
  *response.add_events() = DrainingResponse<v1::WatchResponse>();
  return Add(std::move(response));
}

grpc::ByteBuffer SessionOutbox::Take() {
  const MonotonicTime now = BootTime();
  Message message = std::move(messages_.front());
  messages_.pop_front();
  v1::SessionResponse& response = message.response;
  Fill(*response.mutable_clock(), now.time_since_epoch());
  for (v1::SessionResult& result : *response.mutable_results()) {
    if (result.has_lease()) SetValidity(*result.mutable_lease(), now);
    if (const auto written = under_way_.find(result.id()); written != under_way_.end()) {
      under_way_.erase(written);  // one of those with this id
    }
  }
  for (v1::WatchResponse& event : *response.mutable_events()) {
    if (event.type() == v1::EVENT_TYPE_EXTENDED) Forget(event);
    if (event.lease().has_validity()) SetValidity(*event.mutable_lease(), now);
  }
  bytes_ -= message.bytes;
  events_ -= static_cast<std::size_t>(response.events_size() + response.positions_size());
  refused_ = 0;
  return Serialize(response);
}

}  // namespace redlock::rpc
