// One Session stream to one daemon.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::client {

// Keeps itself alive until it has ended. Events come from gRPC's threads, one at a time except for
// `ended`, which is the last; nothing may be called under a lock that they take.
class Stream final : public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  struct Events {
    std::function<void(const v1::SessionResponse& message)> message;
    std::function<void()> written;  // another one may be written
    std::function<void(const grpc::Status& status)> ended;
    // Afterwards, once gRPC holds nothing of it any more, unless somebody else shares the stream.
    std::function<void()> gone;
  };

  static std::shared_ptr<Stream> Open(v1::LockService::Stub& stub, const std::string& bearer_token,
                                      Events events);

  // One at a time. Nothing happens if the stream has ended.
  void Write(v1::SessionRequest request);
  // At once; from any thread.
  void Cancel() { context_.TryCancel(); }

 private:
  explicit Stream(Events events) : events_(std::move(events)) {}
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  [[nodiscard]] bool Use();
  void Unuse();

  grpc::ClientContext context_;
  Events events_;
  v1::SessionRequest outgoing_;
  v1::SessionResponse incoming_;
  // gRPC does not end the stream while it is held. It is held until its reading has ended and
  // nobody is in Write().
  std::atomic<int> users_ = 1;
  std::shared_ptr<Stream> self_;
};

}  // namespace redlock::client
