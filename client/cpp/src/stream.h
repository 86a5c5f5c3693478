// One Session stream to one daemon.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <atomic>
#include <functional>
#include <memory>

#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::client {

// Keeps itself alive until it has ended. Events come from gRPC's threads, one by one but for
// `ended`, which is the last; nothing may be called under a lock that they take.
class Stream final : public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  struct Events {
    std::function<void(v1::SessionResponse message)> message;
    std::function<void()> written;  // another one may be written
    std::function<void(const grpc::Status& status)> ended;
    // Afterwards, when what gRPC has of it has gone too, unless somebody else shares the stream.
    std::function<void()> gone;
  };

  static std::shared_ptr<Stream> Open(v1::LockService::Stub& stub, const std::string& bearer_token,
                                      Events events);

  // One at a time. Nothing happens where the stream has ended.
  void Write(v1::SessionRequest request);
  // Nothing follows what has been written; what comes is still told. After `written`.
  void Close();
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
  // gRPC does not end the stream while it is held, which it is until its reading has ended and
  // nobody is in Write() or Close().
  std::atomic<int> users_ = 1;
  std::shared_ptr<Stream> self_;
};

}  // namespace redlock::client
