// A shard's loop: sockets (libuv), timers, and work posted from elsewhere.
//
// At most one thread is inside at a time: it has the turn, and everything that it touches in it
// needs no lock. Run() takes turns as sockets and timers ask for them. A thread that has work of
// its own for the shard, such as the one that waits for gRPC, takes a turn by itself and does the
// work there: to hand it to another thread would cost a wake-up for each request.
#pragma once

#include <uv.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "server/core/clock.h"
#include "server/core/timer_queue.h"
#include "server/loop/fd_watcher.h"

namespace redlock {

// What every loop's Now() says: a monotonic clock that counts suspend time. From any thread.
[[nodiscard]] MonotonicTime BootTime();

// Post(), Run() and Stop() may be called from any thread, everything else in a turn.
//
// The monotonic clock is CLOCK_BOOTTIME: it goes on while the machine sleeps, as Redis' expiry
// does.
class EventLoop final : public Scheduler {
 public:
  // The right to be inside, for as long as it exists; waits for it. Not to be nested.
  class StrandLock {
   public:
    explicit StrandLock(EventLoop& loop);
    // Before it ends, all that was posted is done and all that is queued for sockets is sent.
    ~StrandLock();
    StrandLock(const StrandLock&) = delete;
    StrandLock& operator=(const StrandLock&) = delete;

    // Does what was posted, takes in what has come on sockets, and only then fires timers; until
    // there is no more. A time-out must not count for an answer that lies in its socket because
    // this process was held up.
    void Poll();

   private:
    EventLoop& loop_;
    std::unique_lock<std::mutex> inside_;
  };

  EventLoop();
  // Nobody may be inside any more, and no socket, lookup or timer may be left.
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  [[nodiscard]] MonotonicTime Now() const override;
  [[nodiscard]] WallTime WallNow() const override;
  [[nodiscard]] TimerHandle At(MonotonicTime when, std::function<void()> callback) override;

  // Does the work in a turn, never inside this call: at the end of the present one, or of one that
  // Run() takes.
  void Post(std::function<void()> work);
  // The calling thread has the turn.
  [[nodiscard]] bool OnStrand() const {
    return inside_.load(std::memory_order_relaxed) == std::this_thread::get_id();
  }

  // Takes turns until Stop(). One thread.
  void Run();
  void Stop();

  // For sockets and lookups.
  [[nodiscard]] uv_loop_t* uv() { return &uv_; }
  // The turn is not to end before the kernel has been told what is wanted of sockets.
  void GoRound() { busy_ = true; }
  // A descriptor was ready: there may be more to read.
  void OnReady() { came_ = true; }

 private:
  using Work = std::vector<std::function<void()>>;

  // Whether Run() is to wake up for sockets. Not while somebody is inside, who sees to them anyhow.
  void Rouse(bool wanted);
  void Arm();
  void OnTimer();
  void FireDue();
  void DoPosted();
  void TakeInOutside();

  std::mutex strand_;
  std::atomic<int> waiting_ = 0;  // for the turn
  std::atomic<std::thread::id> inside_;
  std::atomic<bool> stopped_ = false;

  uv_loop_t uv_;
  const int sleep_fd_;     // where Run() sleeps: an epoll that watches libuv's, once at a time
  bool rousable_ = false;  // it has been asked to tell
  Work posted_;            // inside a turn
  Work doing_;             // its memory is kept
  bool busy_ = false;  // the kernel has yet to be told, or something was done that may lead to more
  bool came_ = false;  // a descriptor was ready
  bool due_ = false;   // a timer is
  TimerQueue timers_;
  // When the kernel's timer is set to. Cancelled timers leave it as it is: an early wake-up costs
  // less than setting it anew for each of many short timers.
  std::optional<MonotonicTime> armed_for_;
  int timer_fd_;
  std::optional<FdWatcher> timer_watcher_;

  std::mutex outside_mutex_;
  Work outside_;  // posted by threads that had no turn
  uv_async_t wake_;
};

}  // namespace redlock
