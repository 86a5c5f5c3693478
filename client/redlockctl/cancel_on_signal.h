// Ends a call at SIGINT or SIGTERM, so that the daemon hears of it at once.
#pragma once

#include <grpcpp/client_context.h>

#include <thread>

namespace redlockctl {

// These signals and SIGUSR1 must be blocked in all threads. One at a time.
class CancelOnSignal {
 public:
  explicit CancelOnSignal(grpc::ClientContext& context);
  ~CancelOnSignal();
  CancelOnSignal(const CancelOnSignal&) = delete;
  CancelOnSignal& operator=(const CancelOnSignal&) = delete;

  // True if a signal came.
  bool Stop();

 private:
  bool signalled_ = false;
  std::thread thread_;
};

}  // namespace redlockctl
