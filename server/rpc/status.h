// Maps failures to gRPC: status code, message and google.rpc.Status details.
#pragma once

#include <grpcpp/support/status.h>

#include <string>
#include <vector>

#include "server/core/types.h"
#include "server/rpc/wire.h"

namespace redlock::rpc {

// A fault of a request: the path of the field and what is allowed.
struct Violation {
  std::string field;
  std::string description;
};
using Violations = std::vector<Violation>;

[[nodiscard]] grpc::Status ToStatus(const Error& error, const Votes& votes, const NodeNames& names);

// Summarizes the votes for operators: "a:6379 error: not connected; b:6379 timeout". Nodes that
// said the same share one text: "a:6379, b:6379 error: not connected".
[[nodiscard]] std::string Describe(const Votes& votes, const NodeNames& names);

// Why a caller is refused. The message reveals nothing about keys.
enum class Refusal { kUnauthenticated, kTokenRevoked, kPermissionDenied, kTooMuchMetadata };
[[nodiscard]] grpc::Status ToStatus(Refusal refusal);
void Fill(v1::OperationStatus& out, Refusal refusal);

// The same for an operation of a Session, which has no gRPC status of its own.
void Fill(v1::OperationStatus& out, const Error& error, const Votes& votes, const NodeNames& names);
void Fill(v1::OperationStatus& out, const Violations& violations);

// INVALID_ARGUMENT with a BadRequest that names each field at fault.
[[nodiscard]] grpc::Status ToStatus(const Violations& violations);

}  // namespace redlock::rpc
