// Logs how a call ended and which of its leases were lost.
//
// Log lines carry the request id, which is the caller's x-request-id or else generated here, and
// the ids of the caller's W3C traceparent. A failed call returns the request id in its trailer, as
// x-request-id.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <string>
#include <string_view>

#include "server/observe/request_tag.h"

namespace redlock::rpc {

// Immutable after construction. Thread-safe.
class CallLog {
 public:
  CallLog() : started_(std::chrono::steady_clock::now()) {}

  // Call before the answer is sent. Logs at level debug, or warning if an operator may have to act.
  // Warnings are throttled.
  void Ended(grpc::ServerContextBase& context, std::string_view method, std::string_view subject,
             const grpc::Status& status) const;
  // Logs a throttled warning.
  void Lost(const grpc::ServerContextBase& context, std::string_view key,
            std::string_view message) const;

 private:
  [[nodiscard]] observe::RequestTag TagOf(const grpc::ServerContextBase& context) const;

  const std::chrono::steady_clock::time_point started_;
};

}  // namespace redlock::rpc
