// One Watch stream to one daemon.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <functional>
#include <memory>
#include <string>

#include "client/cpp/core/effects.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::client {

// Keeps itself alive until it has ended. gRPC's threads call the events, one at a time; `ended`
// and `gone` come last.
class WatchStream final : public grpc::ClientReadReactor<v1::WatchResponse> {
 public:
  struct Events {
    std::function<void(const v1::WatchResponse& message)> message;
    std::function<void(const grpc::Status& status)> ended;
    // Called after `ended`, when gRPC no longer uses the stream. By then the object is destroyed,
    // unless it has another owner.
    std::function<void()> gone;
  };

  static std::shared_ptr<WatchStream> Open(v1::LockService::Stub& stub,
                                           const std::string& bearer_token, const OpenWatch& watch,
                                           Events events);
  // Callable from any thread.
  void Cancel() { context_.TryCancel(); }

 private:
  explicit WatchStream(Events events) : events_(std::move(events)) {}
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  grpc::ClientContext context_;
  Events events_;
  v1::WatchRequest request_;
  v1::WatchResponse incoming_;
  std::shared_ptr<WatchStream> self_;
};

}  // namespace redlock::client
