// The lock of `redlockctl run`, from the request to the release.
#pragma once

#include <redlock/client.h>

#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "client/redlockctl/printer.h"
#include "client/redlockctl/run_command.h"

namespace redlockctl {

// Signals kWake to the thread that made this object when its state changes. That thread must block
// the signal, and uses this object alone.
class HeldLock {
 public:
  // A real-time signal, so that it is none that is passed on to the command.
  static int Wake();

  // Requests the lock that is to be held while the command runs.
  HeldLock(redlock::client::Client& locks, const RunOptions& run,
           redlock::client::AcquireOptions options, const Printer& printer);
  HeldLock(const HeldLock&) = delete;
  HeldLock& operator=(const HeldLock&) = delete;
  // The result must have arrived.
  ~HeldLock() = default;

  // Null until the request has been answered.
  [[nodiscard]] redlock::client::Result<redlock::client::Lock>* result();
  // Gives up the request. A result arrives soon.
  void GiveUp() { give_up_.request_stop(); }

  // From here on, the lock must have been acquired.
  void WatchForLoss();
  [[nodiscard]] redlock::client::Lock& lock() { return **result_; }
  [[nodiscard]] bool lost() const { return (*result_)->lost().stop_requested(); }

 private:
  const pthread_t owner_;
  std::stop_source give_up_;
  std::mutex mutex_;
  std::optional<redlock::client::Result<redlock::client::Lock>> result_;
  std::optional<std::stop_callback<std::function<void()>>> on_loss_;
};

}  // namespace redlockctl
