// Converts the state machine's messages from and to Protocol Buffers.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "client/cpp/core/messages.h"
#include "proto/redlock/v1/lock_service.pb.h"

namespace redlock::client {

[[nodiscard]] v1::SessionRequest ToProto(const Request& request);
[[nodiscard]] Response FromProto(const v1::SessionResponse& response);
// Returns why the stream to `endpoint` ended.
[[nodiscard]] Error ToError(const grpc::Status& status, const std::string& endpoint);

}  // namespace redlock::client
