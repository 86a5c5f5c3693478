#include "client/cpp/src/wire.h"

#include <array>
#include <string_view>

namespace redlock::client {
namespace {

constexpr std::array<std::pair<Reason, const char*>, 14> kNames = {{
    {Reason::kLockAlreadyHeld, "LOCK_ALREADY_HELD"},
    {Reason::kMaxRetriesExceeded, "MAX_RETRIES_EXCEEDED"},
    {Reason::kValidityExpired, "VALIDITY_EXPIRED"},
    {Reason::kLockNotHeld, "LOCK_NOT_HELD"},
    {Reason::kQuorumUnavailable, "QUORUM_UNAVAILABLE"},
    {Reason::kDraining, "DRAINING"},
    {Reason::kOverloaded, "OVERLOADED"},
    {Reason::kDeadlineExceeded, "DEADLINE_EXCEEDED"},
    {Reason::kCancelled, "CANCELLED"},
    {Reason::kInvalidArgument, "INVALID_ARGUMENT"},
    {Reason::kUnauthenticated, "UNAUTHENTICATED"},
    {Reason::kPermissionDenied, "PERMISSION_DENIED"},
    {Reason::kUnreachable, "UNREACHABLE"},
    {Reason::kInternal, "INTERNAL"},
}};

Reason ToReason(std::string_view name) {
  for (const auto& [reason, its_name] : kNames) {
    if (name == its_name) return reason;
  }
  return Reason::kInternal;
}

}  // namespace

const char* to_string(Reason reason) {
  for (const auto& [its_reason, name] : kNames) {
    if (its_reason == reason) return name;
  }
  return "INTERNAL";
}

void Set(google::protobuf::Duration& out, Duration duration) {
  out.set_seconds(duration.count() / 1'000'000'000);
  out.set_nanos(static_cast<std::int32_t>(duration.count() % 1'000'000'000));
}

Duration ToDuration(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + std::chrono::nanoseconds(duration.nanos());
}

Error ToError(const v1::OperationStatus& status) {
  return {ToReason(status.reason()), status.message(), ToDuration(status.retry_delay())};
}

Error ToError(const v1::WatchResponse& event) {
  return {ToReason(event.reason()), event.message()};
}

Error ToError(const grpc::Status& status, const std::string& endpoint) {
  Error error{Reason::kUnreachable, endpoint + ": " + status.error_message()};
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      error.message = endpoint + ": the stream was closed";
      break;
    case grpc::StatusCode::UNAUTHENTICATED:
      error.reason = Reason::kUnauthenticated;
      break;
    case grpc::StatusCode::PERMISSION_DENIED:
      error.reason = Reason::kPermissionDenied;
      break;
    default:
      break;
  }
  return error;
}

}  // namespace redlock::client
