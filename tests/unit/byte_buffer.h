// Bytes as gRPC receives them.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <string>

namespace redlock::rpc {

inline grpc::ByteBuffer Wire(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

}  // namespace redlock::rpc
