// Messages of the service as the library's own types.
#pragma once

#include <grpcpp/support/status.h>

#include "client/cpp/include/redlock/client.h"
#include "proto/redlock/v1/lock_service.pb.h"

namespace redlock::client {

void Set(google::protobuf::Duration& out, Duration duration);
[[nodiscard]] Duration ToDuration(const google::protobuf::Duration& duration);
[[nodiscard]] Error ToError(const v1::OperationStatus& status);
[[nodiscard]] Error ToError(const v1::WatchResponse& event);
// Of a stream that ended.
[[nodiscard]] Error ToError(const grpc::Status& status, const std::string& endpoint);

}  // namespace redlock::client
