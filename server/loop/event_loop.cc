#include "server/loop/event_loop.h"

#include <time.h>

#include <algorithm>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>

namespace redlock {
namespace {

// Sleeping machines freeze the timers that the kernel keeps, not the clock: look again now and
// then.
constexpr Duration kLongestSleep = std::chrono::seconds(60);

}  // namespace

EventLoop::EventLoop() = default;

MonotonicTime EventLoop::Now() const {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return MonotonicTime(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

WallTime EventLoop::WallNow() const { return std::chrono::system_clock::now(); }

TimerHandle EventLoop::At(MonotonicTime when, std::function<void()> callback) {
  TimerHandle handle = timers_.Add(when, std::move(callback));
  if (!armed_for_ || when < *armed_for_) Arm();
  return handle;
}

void EventLoop::Arm() {
  armed_for_ = timers_.Next();
  if (!armed_for_) return;
  wake_.expires_after(std::clamp(*armed_for_ - Now(), Duration::zero(), kLongestSleep));
  wake_.async_wait([this](std::error_code error) {
    if (!error) FireDue();
  });
}

void EventLoop::FireDue() {
  // One reading of the clock: a callback that sets a timer for "now" waits for the next turn.
  const MonotonicTime now = Now();
  while (auto callback = timers_.TakeDue(now)) (*callback)();
  Arm();
}

void EventLoop::Post(std::function<void()> work) { asio::post(io_, std::move(work)); }

void EventLoop::Run() {
  const auto guard = asio::make_work_guard(io_);
  io_.run();
}

void EventLoop::Stop() { io_.stop(); }

}  // namespace redlock
