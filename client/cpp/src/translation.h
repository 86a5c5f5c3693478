// Converts the state machine's messages from and to Protocol Buffers.
#pragma once

#include <grpcpp/support/status.h>

#include <optional>
#include <string>

#include "client/cpp/core/calls.h"
#include "client/cpp/core/effects.h"
#include "client/cpp/core/messages.h"
#include "proto/redlock/v1/lock_service.pb.h"
#include "redlock/observer.h"

namespace redlock::client {

[[nodiscard]] v1::SessionRequest ToProto(const Request& request);
[[nodiscard]] v1::AcquireRequest ToProto(const AcquireRequest& request);
[[nodiscard]] v1::ExtendRequest ToProto(const ExtendRequest& request);
[[nodiscard]] v1::ReleaseRequest ToProto(const ReleaseRequest& request);
[[nodiscard]] v1::ProclaimRequest ToProto(const ProclaimRequest& request);
[[nodiscard]] v1::WatchRequest ToProto(const OpenWatch& watch);
[[nodiscard]] v1::ObserveRequest ToProto(const OpenObserve& observe);
[[nodiscard]] Response FromProto(const v1::SessionResponse& response);
[[nodiscard]] Grant ToGrant(const v1::Lease& lease);
[[nodiscard]] Grant ToGrant(const v1::AcquireResponse& response);
// Unset for an event that does not concern a Watch or a Session.
[[nodiscard]] std::optional<Event> ToEvent(const v1::WatchResponse& event);
[[nodiscard]] KeyState ToKeyState(const v1::ObserveResponse& response);
// Returns why the stream to `endpoint` ended. `message`: the words for `status`.
[[nodiscard]] Error ToError(const grpc::Status& status, const std::string& endpoint,
                            const std::string& message);
// Returns the end of a unary call to `endpoint` that failed. `message`: the words for `status`.
// `sent`: a connection was there, so that the daemon may have carried the call out.
[[nodiscard]] UnaryAnswer ToAnswer(const grpc::Status& status, const std::string& endpoint,
                                   const std::string& message, bool sent);

}  // namespace redlock::client
