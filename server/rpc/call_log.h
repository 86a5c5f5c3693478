// Logs how a call ended, what was denied within it, and which of its leases were lost. Counts what
// was refused because of the caller.
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
#include <utility>

#include "server/core/types.h"
#include "server/observe/request_tag.h"

namespace redlock::rpc {

// Thread-safe, apart from Identify(). Warnings are throttled for each caller and kind of failure.
class CallLog {
 public:
  CallLog() : started_(std::chrono::steady_clock::now()) {}

  // Sets who the caller is. Call at most once, before anything can be logged.
  void Identify(std::string identity) { identity_ = std::move(identity); }
  // Call before the answer is sent. `subject` may be empty. Logs at level debug, or warning if an
  // operator may have to act.
  void Ended(grpc::ServerContextBase& context, std::string_view method, const Key& subject,
             const grpc::Status& status) const;
  // Logs a warning that the caller may not do this operation of a Session.
  void Denied(const grpc::ServerContextBase& context, std::string_view operation,
              const Key& key) const;
  // Logs a warning.
  void Lost(const grpc::ServerContextBase& context, const Key& key, std::string_view message) const;

  // The ids of the call.
  [[nodiscard]] observe::RequestTag TagOf(const grpc::ServerContextBase& context) const;

 private:
  void Warn(const grpc::ServerContextBase& context, std::string_view kind, std::string text) const;

  const std::chrono::steady_clock::time_point started_;
  std::string identity_;  // empty if it is unknown
};

}  // namespace redlock::rpc
