// Notices that a client has sent nothing for the time that it agreed to (disconnect_grace).
//
// Safe, because the client counts from the time at which it sent its last message that was
// answered, which is not after the time at which that message was read here, and stops a drift
// earlier (tests/model/stream.pml).
#pragma once

#include <functional>
#include <utility>

#include "server/core/clock.h"
#include "server/core/safeguard.h"

namespace redlock {

// In the turns of one shard. `silent` is called once, never inside a call.
class SilenceTimer {
 public:
  SilenceTimer(Scheduler& scheduler, Duration grace, std::function<void()> silent)
      : scheduler_(scheduler), grace_(grace), silent_(std::move(silent)) {
    OnRead();
    Arm();
  }

  // A message has been read.
  void OnRead() {
    if (Has(Safeguard::kSilenceFromReading) || last_read_ == MonotonicTime{}) {
      last_read_ = scheduler_.Now();
    }
  }

 private:
  // Once a grace, however many messages come.
  void Arm() {
    timer_ = scheduler_.At(last_read_ + grace_, [this] {
      if (scheduler_.Now() < last_read_ + grace_) {
        Arm();
      } else {
        silent_();
      }
    });
  }

  Scheduler& scheduler_;
  const Duration grace_;
  const std::function<void()> silent_;
  MonotonicTime last_read_;
  TimerHandle timer_;
};

}  // namespace redlock
