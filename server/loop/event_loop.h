// A shard's event loop: sockets (libuv), timers, and work posted from other threads.
//
// The loop is a strand: at most one thread holds it at a time, and code that runs on it needs no
// lock. A thread holds the strand for one turn, which is the lifetime of a StrandLock. Run() takes
// a turn whenever a socket or a timer is ready. Another thread that has work for the shard, such as
// the one that waits for gRPC, takes a turn and does the work itself, because handing the work to
// the loop's thread would cost a wake-up for each request.
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
#include "server/sync/mutex.h"

namespace redlock {

// Returns the time of a monotonic clock that counts suspend time, as every loop's Now() does. May
// be called from any thread.
[[nodiscard]] MonotonicTime BootTime();

// Post(), Run(), Stop() and OnStrand() may be called from any thread, everything else only on the
// strand.
//
// The monotonic clock is CLOCK_BOOTTIME. It advances while the machine is suspended, as the expiry
// of keys in Redis does.
class EventLoop final : public Scheduler {
 public:
  // Holds the strand during its lifetime. The constructor waits for the strand. Must not be nested.
  class StrandLock {
   public:
    explicit StrandLock(EventLoop& loop);
    // Runs Poll() before it gives up the strand.
    ~StrandLock();
    StrandLock(const StrandLock&) = delete;
    StrandLock& operator=(const StrandLock&) = delete;

    // Runs posted work, handles socket events, and only then fires timers. Repeats this until there
    // is nothing left to do, up to a fixed number of rounds. The order matters: if this process was
    // delayed, an answer that is already in its socket must not be counted as timed out.
    void Poll();

   private:
    EventLoop& loop_;
    std::unique_lock<std::mutex> inside_;
  };

  EventLoop();
  // No thread may hold the strand any more, and no socket, look-up or timer may be left.
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  [[nodiscard]] MonotonicTime Now() const override;
  [[nodiscard]] WallTime WallNow() const override;
  [[nodiscard]] Duration Suspended() const override;
  [[nodiscard]] TimerHandle At(MonotonicTime when, std::function<void()> callback) override;

  // Runs `work` on the strand, never inside this call: at the end of the current turn, or in a turn
  // that Run() takes.
  void Post(std::function<void()> work);
  // Whether the calling thread holds the strand.
  [[nodiscard]] bool OnStrand() const override {
    return inside_.load(std::memory_order_relaxed) == std::this_thread::get_id();
  }

  // Takes turns until Stop(). Must be called by one thread only.
  void Run();
  void Stop();

  // For sockets and look-ups.
  [[nodiscard]] uv_loop_t* uv() { return &uv_; }
  // Keeps the turn from ending before changes to watched sockets are registered with the kernel.
  void GoRound() { busy_ = true; }
  // Notes that a descriptor was ready, so there may be more to read.
  void OnReady() { came_ = true; }

 private:
  using Work = std::vector<std::function<void()>>;

  // Enables or disables waking Run() for sockets. Disabled during a turn, because the thread that
  // holds the strand handles them.
  void Rouse(bool wanted);
  void Arm();
  void OnTimer();
  void FireDue();
  void DoPosted();
  void TakeInOutside();

  std::mutex strand_;
  std::atomic<int> waiting_ = 0;  // threads that are waiting for the strand
  std::atomic<std::thread::id> inside_;
  std::atomic<bool> stopped_ = false;

  uv_loop_t uv_;
  const int sleep_fd_;     // the epoll on which Run() sleeps; it watches libuv's, one-shot
  bool rousable_ = false;  // sleep_fd_ is armed
  Work posted_;            // to be run on the strand
  Work doing_;             // being run; kept to reuse its memory
  // Changes must be registered with the kernel, or work was done that may lead to more.
  bool busy_ = false;
  bool came_ = false;  // a descriptor was ready
  bool due_ = false;   // a timer is due
  TimerQueue timers_;
  // When the kernel's timer expires. Cancelling a timer does not change it, because an early
  // wake-up costs less than setting it again for each of many short timers.
  std::optional<MonotonicTime> armed_for_;
  int timer_fd_;
  std::optional<FdWatcher> timer_watcher_;

  Mutex outside_mutex_;
  Work outside_
      REDLOCK_GUARDED_BY(outside_mutex_);  // posted by threads that did not hold the strand
  uv_async_t wake_;
};

}  // namespace redlock
