// Translates events of watchdogs into messages that wait to be written (see FillUntil()).
#pragma once

#include "proto/redlock/v1/lock_service.pb.h"
#include "server/core/leases/watchdog.h"
#include "server/rpc/status.h"
#include "server/rpc/wire.h"

namespace redlock::rpc {

// Fills the fields that WatchResponse and HoldResponse have in common.
template <typename Response>
Response ToResponse(const Key& key, const WatchEvent& event, const NodeNames& names) {
  Response out;
  SetKey(out, key);
  out.set_consecutive_failures(event.consecutive_failures);
  Fill(*out.mutable_votes(), event.votes, names);
  switch (event.type) {
    case WatchEvent::Type::kExtended:
      out.set_type(v1::EVENT_TYPE_EXTENDED);
      FillUntil(*out.mutable_lease(), event.lease);
      return out;
    case WatchEvent::Type::kExtendFailed:
      out.set_type(v1::EVENT_TYPE_EXTEND_FAILED);
      break;
    case WatchEvent::Type::kLost:
    case WatchEvent::Type::kLifetimeEnded:
    case WatchEvent::Type::kReleased:
    case WatchEvent::Type::kDenied:
      out.set_type(v1::EVENT_TYPE_LOST);
      break;
  }
  SetKey(*out.mutable_lease(), key);
  out.mutable_lease()->set_token(event.lease.token.str());
  out.set_reason(std::string(ToString(event.error.reason)));
  out.set_message(event.error.message);
  return out;
}

// Whether the client has lost the lease and must be told so.
[[nodiscard]] inline bool IsLoss(const WatchEvent& event) {
  return event.type == WatchEvent::Type::kLost || event.type == WatchEvent::Type::kDenied;
}

// The status of a Hold or a Watch that ends with this last event of its last lease.
[[nodiscard]] inline grpc::Status StatusAfter(const WatchEvent& event, const NodeNames& names) {
  switch (event.type) {
    case WatchEvent::Type::kReleased:
      return grpc::Status::OK;
    case WatchEvent::Type::kLost:
      return ToStatus({.reason = Reason::kLockNotHeld, .message = event.error.message}, event.votes,
                      names);
    case WatchEvent::Type::kExtended:
    case WatchEvent::Type::kExtendFailed:
    case WatchEvent::Type::kLifetimeEnded:
    case WatchEvent::Type::kDenied:
      break;
  }
  return ToStatus(event.error, event.votes, names);
}

template <typename Response>
Response DrainingResponse() {
  Response out;
  out.set_type(v1::EVENT_TYPE_DRAINING);
  out.set_reason(std::string(ToString(Reason::kDraining)));
  out.set_message("the daemon is shutting down: move the leases to another daemon");
  return out;
}

}  // namespace redlock::rpc
