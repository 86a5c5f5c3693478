// Detects that a client has been silent for the agreed time (disconnect_grace).
//
// This is safe: the client counts from when it sent its last answered message, which is not after
// this daemon read that message, and it stops earlier by the clock drift (tests/model/stream.pml).
#pragma once

#include <functional>
#include <utility>

#include "server/core/clock.h"
#include "server/core/safeguard.h"

namespace redlock {

// Strand-confined. `silent` is called once, never inside a call.
class SilenceTimer {
 public:
  SilenceTimer(Scheduler& scheduler, Duration grace, std::function<void()> silent)
      : scheduler_(scheduler), grace_(grace), silent_(std::move(silent)) {
    OnRead();
    Arm();
  }

  // Records that a message was read.
  void OnRead() {
    if (Has(Safeguard::kSilenceFromReading) || last_read_ == MonotonicTime{}) {
      last_read_ = scheduler_.Now();
    }
  }

 private:
  // Sets at most one timer for each grace period, however many messages arrive.
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
