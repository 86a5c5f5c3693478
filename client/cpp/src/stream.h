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

// Keeps itself alive until it has ended. gRPC's threads call the events, one at a time of each
// kind; `ended` and `gone` come last. Do not call Stream while holding a lock that an event takes.
class Stream final : public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  struct Events {
    std::function<void(const v1::SessionResponse& message)> message;
    std::function<void()> written;  // the next message may be written
    std::function<void(const grpc::Status& status)> ended;
    // Called after `ended`, when gRPC no longer uses the stream. By then the object is destroyed,
    // unless it has another owner.
    std::function<void()> gone;
  };

  static std::shared_ptr<Stream> Open(v1::LockService::Stub& stub, const std::string& bearer_token,
                                      Events events);

  // Writes one message; call it again only after `written`. Does nothing if the stream has ended.
  void Write(v1::SessionRequest request);
  // Cancels the stream at once. Callable from any thread.
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
  // The number of users: the pending read, and threads in Write(). A hold keeps gRPC from ending
  // the stream until there are none.
  std::atomic<int> users_ = 1;
  std::shared_ptr<Stream> self_;
};

}  // namespace redlock::client
