// Messages from and to the bytes that gRPC carries.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

namespace redlock::rpc {

// False where it is not a valid message.
[[nodiscard]] bool Parse(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message);
[[nodiscard]] grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message);

}  // namespace redlock::rpc
