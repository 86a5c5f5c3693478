#include "server/loop/event_loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace redlock {
namespace {

// Limits a turn: posted work and sockets may cause each other indefinitely, and other threads wait
// for the strand.
constexpr int kRoundsOfATurn = 4;
constexpr int kPassesOfARound = 2;  // posted work often posts the flush of a connection
// Limits the timers of a round: after a suspension, those of 100,000 leases may be due.
constexpr int kTimersOfARound = 256;

timespec ToTimespec(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {seconds.count(), (duration - seconds).count()};
}

void Check(int error, const char* what) {
  if (error < 0) throw std::system_error(-error, std::generic_category(), what);
}

}  // namespace

EventLoop::StrandLock::StrandLock(EventLoop& loop)
    : loop_(loop), inside_(loop.strand_, std::try_to_lock) {
  if (!inside_.owns_lock()) {
    ++loop_.waiting_;
    inside_.lock();
    --loop_.waiting_;
    loop_.waiting_.notify_all();
  }
  loop_.inside_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  loop_.Rouse(false);
}

EventLoop::StrandLock::~StrandLock() {
  Poll();
  loop_.Rouse(true);
  loop_.inside_.store({}, std::memory_order_relaxed);
}

void EventLoop::StrandLock::Poll() {
  for (int round = 0; round < kRoundsOfATurn; ++round) {
    loop_.DoPosted();
    loop_.busy_ = false;
    loop_.came_ = false;
    uv_run(&loop_.uv_, UV_RUN_NOWAIT);  // also registers new and changed sockets
    if (loop_.busy_ || !loop_.posted_.empty()) continue;
    if (!loop_.due_) return;
    if (!loop_.came_) loop_.FireDue();
  }
  loop_.FireDue();
  // The next turn does the rest. Wake Run() to take it at once.
  uv_async_send(&loop_.wake_);
}

EventLoop::EventLoop()
    : sleep_fd_(epoll_create1(EPOLL_CLOEXEC)),
      timer_fd_(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC)) {
  Check(sleep_fd_ < 0 ? -errno : 0, "epoll_create1");
  Check(timer_fd_ < 0 ? -errno : 0, "timerfd_create");
  Check(uv_loop_init(&uv_), "uv_loop_init");
  epoll_event never{.events = 0, .data = {}};
  epoll_ctl(sleep_fd_, EPOLL_CTL_ADD, uv_backend_fd(&uv_), &never);
  uv_.data = this;
  Check(uv_async_init(&uv_, &wake_,
                      [](uv_async_t* handle) {
                        static_cast<EventLoop*>(handle->loop->data)->TakeInOutside();
                      }),
        "uv_async_init");
  timer_watcher_.emplace(*this, timer_fd_, [this](FdWatcher::Events) { OnTimer(); });
  timer_watcher_->Want({.readable = true, .writable = false});
}

EventLoop::~EventLoop() {
  timer_watcher_.reset();
  // Posted work that has not run may own sockets of this loop.
  posted_.clear();
  outside_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(&wake_), nullptr);
  uv_run(&uv_, UV_RUN_DEFAULT);  // until all handles have closed
  uv_loop_close(&uv_);
  close(timer_fd_);
  close(sleep_fd_);
}

void EventLoop::Rouse(bool wanted) {
  if (rousable_ == wanted) return;
  rousable_ = wanted;
  epoll_event event{.events = wanted ? EPOLLIN | EPOLLONESHOT : 0U, .data = {}};
  epoll_ctl(sleep_fd_, EPOLL_CTL_MOD, uv_backend_fd(&uv_), &event);
}

MonotonicTime BootTime() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return MonotonicTime(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

MonotonicTime EventLoop::Now() const { return BootTime(); }

WallTime EventLoop::WallNow() const { return std::chrono::system_clock::now(); }

Duration EventLoop::Suspended() const {
  const auto awake = [] {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return MonotonicTime(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
  };
  // This thread may be held up between two readings. That makes the result too small, never too
  // large.
  const MonotonicTime boot = BootTime();
  return boot - awake();
}

TimerHandle EventLoop::At(MonotonicTime when, std::function<void()> callback) {
  TimerHandle handle = timers_.Add(when, std::move(callback));
  if (!armed_for_ || when < *armed_for_) Arm();
  return handle;
}

void EventLoop::Arm() {
  armed_for_ = timers_.Next();
  if (!armed_for_) return;
  // A time in the past fires at once. Zero would disarm the timer.
  const Duration when = std::max(armed_for_->time_since_epoch(), Duration(1));
  const itimerspec setting{.it_interval = {}, .it_value = ToTimespec(when)};
  timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &setting, nullptr);
}

void EventLoop::OnTimer() {
  std::uint64_t expirations = 0;
  (void)!read(timer_fd_, &expirations, sizeof expirations);
  due_ = true;
}

void EventLoop::FireDue() {
  if (!std::exchange(due_, false)) return;
  // Reads the clock once, so that a timer that a callback sets for "now" does not fire in this
  // call.
  const MonotonicTime now = Now();
  for (int i = 0; i < kTimersOfARound; ++i) {
    const auto callback = timers_.TakeDue(now);
    if (!callback) break;
    busy_ = true;
    (*callback)();
  }
  Arm();  // expires at once if more are due
}

void EventLoop::Post(std::function<void()> work) {
  if (OnStrand()) {
    posted_.push_back(std::move(work));
    return;
  }
  {
    const MutexLock lock(outside_mutex_);
    outside_.push_back(std::move(work));
    if (outside_.size() > 1) return;  // the first one has woken the loop
  }
  uv_async_send(&wake_);
}

void EventLoop::TakeInOutside() {
  busy_ = true;
  const MutexLock lock(outside_mutex_);
  posted_.insert(posted_.end(), std::make_move_iterator(outside_.begin()),
                 std::make_move_iterator(outside_.end()));
  outside_.clear();
}

void EventLoop::DoPosted() {
  for (int pass = 0; pass < kPassesOfARound && !posted_.empty(); ++pass) {
    std::swap(doing_, posted_);
    for (const auto& work : doing_) work();
    doing_.clear();
  }
}

void EventLoop::Run() {
  { const StrandLock first(*this); }  // registers the sockets that exist already
  while (!stopped_) {
    epoll_event event;
    epoll_wait(sleep_fd_, &event, 1, -1);
    // Let waiting threads go first. A mutex is not fair: this thread could take the strand again
    // before they have woken up.
    for (int others = waiting_; others > 0; others = waiting_) waiting_.wait(others);
    const StrandLock turn(*this);
  }
}

void EventLoop::Stop() {
  stopped_ = true;
  uv_async_send(&wake_);
}

}  // namespace redlock
