// One attempt of a unary call, from its start until gRPC no longer uses it.
#pragma once

#include <grpcpp/client_context.h>

#include <functional>
#include <memory>
#include <string>

#include "client/cpp/core/calls.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::client {

// Keeps itself alive until it has ended. A thread of gRPC calls the events, each once.
class UnaryCall {
 public:
  struct Events {
    // The answer of a failed call is empty.
    std::function<void(const grpc::Status& status, Answer answer)> ended;
    // Called after `ended`, when gRPC no longer uses the call. By then the object is destroyed,
    // unless it has another owner.
    std::function<void()> gone;
  };

  static std::shared_ptr<UnaryCall> Start(v1::LockService::Stub& stub,
                                          const std::string& bearer_token, const SendCall& call,
                                          Events events);
  virtual ~UnaryCall() = default;
  UnaryCall(const UnaryCall&) = delete;
  UnaryCall& operator=(const UnaryCall&) = delete;

  // Callable from any thread.
  void Cancel() { context_.TryCancel(); }

 protected:
  UnaryCall() = default;
  grpc::ClientContext context_;
  std::shared_ptr<UnaryCall> self_;
};

}  // namespace redlock::client
