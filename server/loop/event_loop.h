// A shard's thread: sockets (asio), timers, and work posted from other threads.
#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <functional>
#include <optional>

#include "server/core/clock.h"
#include "server/core/timer_queue.h"

namespace redlock {

// Post() and Stop() may be called from any thread, everything else on the thread that runs it.
//
// The monotonic clock is CLOCK_BOOTTIME: it goes on while the machine sleeps, as Redis' expiry
// does.
class EventLoop final : public Scheduler {
 public:
  EventLoop();

  [[nodiscard]] MonotonicTime Now() const override;
  [[nodiscard]] WallTime WallNow() const override;
  [[nodiscard]] TimerHandle At(MonotonicTime when, std::function<void()> callback) override;

  // Runs work on the loop's thread, never inside this call.
  void Post(std::function<void()> work);

  // Runs until Stop().
  void Run();
  void Stop();

  [[nodiscard]] asio::io_context& io() { return io_; }

 private:
  void Arm();
  void FireDue();

  asio::io_context io_{1};
  TimerQueue timers_;
  asio::steady_timer wake_{io_};
  // When wake_ is set to. Cancelled timers leave it as it is: an early wake-up costs less than
  // setting it anew for each of many short timers.
  std::optional<MonotonicTime> armed_for_;
};

}  // namespace redlock
