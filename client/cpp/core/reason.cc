#include "client/cpp/core/reason.h"

#include <array>
#include <utility>

namespace redlock::client {
namespace {

constexpr std::array<std::pair<Reason, const char*>, 16> kNames = {{
    {Reason::kLockAlreadyHeld, "LOCK_ALREADY_HELD"},
    {Reason::kMaxRetriesExceeded, "MAX_RETRIES_EXCEEDED"},
    {Reason::kValidityExpired, "VALIDITY_EXPIRED"},
    {Reason::kLockNotHeld, "LOCK_NOT_HELD"},
    {Reason::kKindMismatch, "KIND_MISMATCH"},
    {Reason::kQuorumUnavailable, "QUORUM_UNAVAILABLE"},
    {Reason::kNodeSetMismatch, "NODE_SET_MISMATCH"},
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

}  // namespace

Reason ReasonOf(std::string_view name) {
  for (const auto& [reason, its_name] : kNames) {
    if (name == its_name) return reason;
  }
  return Reason::kInternal;
}

const char* to_string(Reason reason) {
  for (const auto& [its_reason, name] : kNames) {
    if (its_reason == reason) return name;
  }
  return "INTERNAL";
}

}  // namespace redlock::client
