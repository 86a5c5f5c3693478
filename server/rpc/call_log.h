// What the log says of a call: how it ended, and which leases of it were lost.
//
// Lines carry the request's id, which is the caller's x-request-id or else made up here, and the
// ids of its W3C traceparent. A call that failed tells the id in its trailer, as x-request-id.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <string>
#include <string_view>

#include "server/observe/request_tag.h"

namespace redlock::rpc {

// Immutable after construction; from any thread.
class CallLog {
 public:
  CallLog() : started_(std::chrono::steady_clock::now()) {}

  // Before the answer is sent. Debug level, or warning where an operator may have to do something
  // about it: those are held back where they come in floods.
  void Ended(grpc::ServerContextBase& context, std::string_view method, std::string_view subject,
             const grpc::Status& status) const;
  // A warning too.
  void Lost(const grpc::ServerContextBase& context, std::string_view key,
            std::string_view message) const;

 private:
  [[nodiscard]] observe::RequestTag TagOf(const grpc::ServerContextBase& context) const;

  const std::chrono::steady_clock::time_point started_;
};

}  // namespace redlock::rpc
