// Cancels a call on SIGINT or SIGTERM, so that the daemon notices at once, or ends something else.
#pragma once

#include <grpcpp/client_context.h>

#include <functional>
#include <thread>

namespace redlockctl {

// SIGINT, SIGTERM and SIGUSR1 must be blocked in all threads. At most one object may exist at a
// time.
class CancelOnSignal {
 public:
  explicit CancelOnSignal(grpc::ClientContext& context)
      : CancelOnSignal([&context] { context.TryCancel(); }) {}
  explicit CancelOnSignal(std::function<void()> cancel);
  ~CancelOnSignal();
  CancelOnSignal(const CancelOnSignal&) = delete;
  CancelOnSignal& operator=(const CancelOnSignal&) = delete;

  // Stops waiting. Returns true if SIGINT or SIGTERM arrived. At most once.
  bool Stop();

 private:
  bool signalled_ = false;
  std::thread thread_;
};

}  // namespace redlockctl
