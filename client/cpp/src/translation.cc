#include "client/cpp/src/translation.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "client/cpp/core/keys.h"
#include "client/cpp/core/overloaded.h"
#include "client/cpp/core/reason.h"
#include "client/cpp/src/status_details.pb.h"

namespace redlock::client {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

// Ten years. A daemon's clock and a lock's validity are shorter, and sums do not overflow.
constexpr std::int64_t kMostSeconds = 10LL * 365 * 24 * 3600;

void Set(google::protobuf::Duration& out, Duration duration) {
  const auto whole = std::chrono::floor<seconds>(duration);
  out.set_seconds(whole.count());
  out.set_nanos(static_cast<std::int32_t>((duration - whole).count()));
}

Duration ToDuration(const google::protobuf::Duration& duration) {
  return seconds(std::clamp<std::int64_t>(duration.seconds(), 0, kMostSeconds)) +
         nanoseconds(std::clamp(duration.nanos(), 0, 999'999'999));
}

void Fill(v1::RetryPolicy& out, const RetryPolicy& retry) {
  out.set_max_retries(retry.max_retries);
  if (retry.min_delay) Set(*out.mutable_min_delay(), *retry.min_delay);
  if (retry.max_jitter) Set(*out.mutable_max_jitter(), *retry.max_jitter);
}

// Sets `key` of the message, or `keys` if there are several.
void SetKey(auto& out, const std::string& key) {
  std::vector<std::string> names = NamesOf(key);
  if (names.size() == 1) {
    out.set_key(std::move(names.front()));
  } else {
    for (std::string& name : names) out.add_keys(std::move(name));
  }
}

// The same with the mode and the limit of a semaphore.
void SetClaim(auto& out, const std::string& key) {
  SetKey(out, key);
  if (IsShared(key)) out.set_mode(v1::LOCK_MODE_SHARED);
  out.set_max_holders(LimitOf(key));
}

// The same with the slot.
void SetHeldClaim(auto& out, const std::string& key) {
  SetClaim(out, key);
  out.set_slot(SlotOf(key));
}

std::string KeyOf(const auto& message) {
  std::string key = message.keys().empty()
                        ? message.key()
                        : together({message.keys().begin(), message.keys().end()});
  if (message.max_holders() != 0) return semaphore(key, message.max_holders(), message.slot());
  return message.mode() == v1::LOCK_MODE_SHARED ? shared(key) : key;
}

void Fill(v1::AcquireRequest& out, const AcquireRequest& request) {
  SetClaim(out, request.key);
  out.set_token(request.token);
  out.set_owner(request.owner);
  out.set_extend_if_held(request.extend_if_held);
  Set(*out.mutable_ttl(), request.ttl);
  if (request.retry) Fill(*out.mutable_retry(), *request.retry);
  out.set_value(request.value);
  if (request.lock_delay > Duration::zero()) Set(*out.mutable_lock_delay(), request.lock_delay);
}

void Fill(v1::ExtendRequest& out, const ExtendRequest& request) {
  SetHeldClaim(out, request.key);
  out.set_token(request.token);
  out.set_downgrade_from(request.downgrade_from);
  Set(*out.mutable_ttl(), request.ttl);
  if (request.retry) Fill(*out.mutable_retry(), *request.retry);
}

void Fill(v1::ReleaseRequest& out, const ReleaseRequest& request) {
  SetKey(out, request.key);
  out.set_token(request.token);
  if (request.keep_for) Set(*out.mutable_keep_for(), *request.keep_for);
}

void Fill(v1::ProclaimRequest& out, const ProclaimRequest& request) {
  SetKey(out, request.key);
  out.set_token(request.token);
  out.set_value(request.value);
}

void Fill(v1::GiveUpOperation& out, const GiveUpRequest& request) {
  SetClaim(out, request.key);
  out.set_token(request.token);
}

void Fill(v1::AdoptOperation& out, const AdoptRequest& request) {
  SetHeldClaim(out, request.key);
  out.set_token(request.token);
  out.set_sequence(request.sequence);
  out.set_downgrade_from(request.downgrade_from);
  Set(*out.mutable_ttl(), request.ttl);
}

template <typename Proto, typename Request>
Proto Filled(const Request& request) {
  Proto out;
  Fill(out, request);
  return out;
}

std::optional<Duration> HeldFor(const auto& message) {
  if (!message.has_held_for()) return std::nullopt;
  return ToDuration(message.held_for());
}

// Reads a time such as "12.345", in seconds. Nothing if the text is no time: a newer daemon, or a
// program between the client and the daemon, may have written it.
std::optional<Duration> SecondsIn(const std::string& text) {
  double value = -1;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  const bool sensible = value >= 0 && value <= kMostSeconds;  // not NaN
  if (error != std::errc() || rest != end || !sensible) return std::nullopt;
  return std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double>(value));
}

// Reads the metadata of a refusal: see lock_service.proto.
void ReadMetadata(const google::protobuf::Map<std::string, std::string>& metadata, Answer& answer) {
  const auto owner = metadata.find("owner");
  if (owner != metadata.end()) answer.error->holder = owner->second;
  const auto held_for = metadata.find("held_for");
  if (held_for != metadata.end()) answer.error->held_for = SecondsIn(held_for->second);
  const auto in_use_as = metadata.find("in_use_as");
  if (in_use_as != metadata.end()) answer.error->in_use_as = in_use_as->second;
  const auto last = metadata.find("last_reason");
  if (last != metadata.end()) answer.last_reason = ReasonOf(last->second);
}

bool Unpack(const wire::StatusDetails::Detail& detail, std::string_view type,
            google::protobuf::Message& out) {
  return detail.type_url().ends_with(type) && out.ParseFromString(detail.value());
}

}  // namespace

v1::AcquireRequest ToProto(const AcquireRequest& request) {
  return Filled<v1::AcquireRequest>(request);
}
v1::ExtendRequest ToProto(const ExtendRequest& request) {
  return Filled<v1::ExtendRequest>(request);
}
v1::ReleaseRequest ToProto(const ReleaseRequest& request) {
  return Filled<v1::ReleaseRequest>(request);
}

v1::ProclaimRequest ToProto(const ProclaimRequest& request) {
  return Filled<v1::ProclaimRequest>(request);
}

v1::ObserveRequest ToProto(const OpenObserve& observe) {
  v1::ObserveRequest out;
  out.set_key(observe.key);
  return out;
}

v1::WatchRequest ToProto(const OpenWatch& watch) {
  v1::WatchRequest out;
  out.set_keep_watching_after_loss(watch.keep_watching_after_loss);
  for (const WatchItem& item : watch.items) {
    v1::WatchItem& added = *out.add_items();
    SetHeldClaim(added, item.key);
    added.set_token(item.token);
    Set(*added.mutable_ttl(), item.ttl);
    if (item.interval) Set(*added.mutable_interval(), *item.interval);
  }
  return out;
}

Grant ToGrant(const v1::Lease& lease) {
  return {.token = lease.token(),
          .fencing_token = lease.fencing_token(),
          .validity = ToDuration(lease.validity()),
          .slot = lease.slot()};
}

Grant ToGrant(const v1::AcquireResponse& response) {
  Grant grant = ToGrant(response.lease());
  grant.waited = ToDuration(response.waited());
  return grant;
}

std::optional<Event> ToEvent(const v1::WatchResponse& event) {
  Event out{.key = KeyOf(event), .error = {ReasonOf(event.reason()), event.message()}};
  if (event.has_lease()) out.grant = ToGrant(event.lease());
  switch (event.type()) {
    case v1::EVENT_TYPE_EXTENDED:
      out.type = EventType::kExtended;
      return out;
    case v1::EVENT_TYPE_EXTEND_FAILED:
      out.type = EventType::kExtendFailed;
      return out;
    case v1::EVENT_TYPE_LOST:
      out.type = EventType::kLost;
      return out;
    case v1::EVENT_TYPE_DRAINING:
      out.type = EventType::kDraining;
      return out;
    default:  // an event of Hold, or of a newer daemon
      return std::nullopt;
  }
}

v1::SessionRequest ToProto(const Request& request) {
  v1::SessionRequest out;
  if (request.disconnect_grace) Set(*out.mutable_disconnect_grace(), *request.disconnect_grace);
  for (const OperationMessage& operation : request.operations) {
    v1::SessionOperation& added = *out.add_operations();
    added.set_id(operation.id);
    std::visit(Overloaded{
                   [&](const AcquireRequest& it) { Fill(*added.mutable_acquire(), it); },
                   [&](const ExtendRequest& it) { Fill(*added.mutable_extend(), it); },
                   [&](const ReleaseRequest& it) { Fill(*added.mutable_release(), it); },
                   [&](const AdoptRequest& it) { Fill(*added.mutable_adopt(), it); },
                   [&](const GiveUpRequest& it) { Fill(*added.mutable_give_up(), it); },
                   [&](const CancelRequest&) { added.mutable_cancel(); },
                   [&](const PingRequest&) { added.mutable_ping(); },
                   [&](const CloseRequest&) { added.mutable_close(); },
               },
               operation.body);
  }
  return out;
}

Response FromProto(const v1::SessionResponse& response) {
  Response out{.clock = ToDuration(response.clock())};
  for (const v1::SessionResult& result : response.results()) {
    Answer answer{.id = result.id()};
    if (result.has_lease()) answer.grant = ToGrant(result.lease());
    if (result.has_status()) {
      answer.error = {ReasonOf(result.status().reason()), result.status().message(),
                      ToDuration(result.status().retry_delay())};
      ReadMetadata(result.status().metadata(), answer);
      answer.grant.reset();
    }
    out.answers.push_back(std::move(answer));
  }
  for (const v1::WatchResponse& event : response.events()) {
    if (auto translated = ToEvent(event)) out.events.push_back(std::move(*translated));
  }
  for (const v1::QueuePosition& position : response.positions()) {
    out.positions.push_back({position.id(), position.position()});
  }
  return out;
}

KeyState ToKeyState(const v1::ObserveResponse& response) {
  KeyState out{.holders = response.holders(),
               .owner = response.owner(),
               .value = response.value(),
               .fencing_token = response.fencing_token(),
               .held_for = HeldFor(response),
               .remaining = ToDuration(response.remaining()),
               .shared = response.mode() == v1::LOCK_MODE_SHARED,
               .max_holders = response.max_holders(),
               .kept_for = ToDuration(response.kept_for())};
  for (const v1::Holder& holder : response.held_by()) {
    out.held_by.push_back({.owner = holder.owner(),
                           .identity = holder.identity(),
                           .peer = holder.peer(),
                           .daemon = holder.daemon(),
                           .fencing_token = holder.fencing_token(),
                           .slot = holder.slot(),
                           .held_for = HeldFor(holder),
                           .remaining = ToDuration(holder.remaining()),
                           .value = holder.value()});
  }
  switch (response.state()) {
    case v1::HOLDER_STATE_HELD:
      out.state = HolderState::kHeld;
      break;
    case v1::HOLDER_STATE_VACANT:
      out.state = HolderState::kVacant;
      break;
    default:  // undecided, or a state of a newer daemon
      out.state = HolderState::kUndecided;
      out.error = {Reason::kQuorumUnavailable, response.message()};
  }
  return out;
}

Error ToError(const grpc::Status& status, const std::string& endpoint, const std::string& message) {
  Error error{Reason::kUnreachable, endpoint + ": " + message};
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      error.message = endpoint + ": the daemon closed the stream";
      break;
    case grpc::StatusCode::UNAUTHENTICATED:
      error.reason = Reason::kUnauthenticated;
      break;
    case grpc::StatusCode::PERMISSION_DENIED:
      error.reason = Reason::kPermissionDenied;
      break;
    case grpc::StatusCode::INVALID_ARGUMENT:
      error.reason = Reason::kInvalidArgument;
      break;
    default:
      break;
  }
  return error;
}

UnaryAnswer ToAnswer(const grpc::Status& status, const std::string& endpoint,
                     const std::string& message, bool sent) {
  UnaryAnswer out{.delivery =
                      sent ? UnaryAnswer::Delivery::kUnknown : UnaryAnswer::Delivery::kNotSent};
  out.answer.error = ToError(status, endpoint, message);
  wire::StatusDetails details;
  if (!details.ParseFromString(status.error_details())) return out;
  wire::ErrorInfo info;
  wire::RetryInfo retry;
  for (const auto& detail : details.details()) {
    if (Unpack(detail, "/google.rpc.ErrorInfo", info)) {
      out.delivery = UnaryAnswer::Delivery::kAnswered;
      out.answer.error->reason = ReasonOf(info.reason());
      out.answer.error->message = status.error_message();
      ReadMetadata(info.metadata(), out.answer);
    } else if (Unpack(detail, "/google.rpc.RetryInfo", retry)) {
      out.answer.error->retry_after = ToDuration(retry.retry_delay());
    }
  }
  return out;
}

}  // namespace redlock::client
