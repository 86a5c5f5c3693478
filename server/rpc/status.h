// The one mapping from failures to gRPC: code, message and google.rpc.Status details.
#pragma once

#include <grpcpp/support/status.h>

#include <string>
#include <vector>

#include "server/core/types.h"
#include "server/rpc/wire.h"

namespace redlock::rpc {

// A fault of a request: the field's path and what is allowed.
struct Violation {
  std::string field;
  std::string description;
};
using Violations = std::vector<Violation>;

[[nodiscard]] grpc::Status ToStatus(const Error& error, const Votes& votes, const NodeNames& names);

// Why a caller is not served. Says nothing of keys.
enum class Refusal { kUnauthenticated, kPermissionDenied };
[[nodiscard]] grpc::Status ToStatus(Refusal refusal);
void Fill(v1::OperationStatus& out, Refusal refusal);

// The same for an operation of a Session, which has no call of its own to carry a status.
void Fill(v1::OperationStatus& out, const Error& error, const Votes& votes, const NodeNames& names);
void Fill(v1::OperationStatus& out, const Violations& violations);

// INVALID_ARGUMENT with a BadRequest that names each field.
[[nodiscard]] grpc::Status ToStatus(const Violations& violations);

}  // namespace redlock::rpc
