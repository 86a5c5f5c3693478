// Parses and serializes messages from and to the byte buffers of gRPC.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

namespace redlock::rpc {

// Returns false if the bytes are not a valid message.
[[nodiscard]] bool Parse(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message);
[[nodiscard]] grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message);

}  // namespace redlock::rpc
