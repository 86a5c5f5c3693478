// Unpacks compressed messages.
//
// gRPC's own decompression has no bound: the limit of the message size counts packed bytes, and a
// packed message can grow a thousandfold. So gRPC hands over messages as they came.
#pragma once

#include <grpcpp/server_builder.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>

namespace redlock::rpc {

// Has messages delivered as they came. Of the algorithms of gRPC, only gzip remains allowed.
void AcceptPacked(grpc::ServerBuilder& builder);

// Whether the message is packed by gzip. No protobuf message begins with these bytes: they would
// name a wire type that does not exist.
[[nodiscard]] bool IsPacked(const grpc::ByteBuffer& message);

// Replaces a packed message by what it contains. Leaves it as it is if that is not valid gzip or
// has more than `most` bytes.
void Unpack(grpc::ByteBuffer& message, std::size_t most);

}  // namespace redlock::rpc
