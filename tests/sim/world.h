// Virtual time and seeded randomness. One world is one schedule: the same seed gives the same run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "server/core/clock.h"
#include "server/core/rounds/environment.h"
#include "server/core/timer_queue.h"

namespace redlock::sim {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

class World {
 public:
  explicit World(std::uint64_t seed) : engine_(seed) {}

  [[nodiscard]] MonotonicTime now() const { return now_; }
  [[nodiscard]] TimerHandle At(MonotonicTime when, std::function<void()> callback) {
    return timers_.Add(std::max(when, now_), std::move(callback));
  }
  // For events that are never cancelled.
  void Do(Duration delay, std::function<void()> callback) {
    auto handle = std::make_shared<TimerHandle>();
    *handle = At(now_ + delay, [handle, callback = std::move(callback)] { callback(); });
  }

  // Runs events until `end`, or until no event is left.
  void RunUntil(MonotonicTime end) {
    while (const auto next = timers_.Next()) {
      if (*next > end) break;
      now_ = *next;
      (*timers_.TakeDue(now_))();
      ++events_;
    }
    now_ = std::max(now_, end);
  }

  [[nodiscard]] std::size_t pending_timers() const { return timers_.size(); }
  [[nodiscard]] std::uint64_t events() const { return events_; }

  // Randomness.
  [[nodiscard]] bool Chance(double probability) {
    return std::uniform_real_distribution<>(0, 1)(engine_) < probability;
  }
  [[nodiscard]] double Fraction() { return std::uniform_real_distribution<>(0, 1)(engine_); }
  [[nodiscard]] std::uint64_t Below(std::uint64_t bound) {
    return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(engine_);
  }
  [[nodiscard]] Duration Between(Duration low, Duration high) {
    return Duration(
        std::uniform_int_distribution<Duration::rep>(low.count(), high.count())(engine_));
  }

  // Keeps the object as long as the events, because events that never ran may refer to it.
  void Keep(std::shared_ptr<void> what) { kept_.push_back(std::move(what)); }

 private:
  std::vector<std::shared_ptr<void>> kept_;
  TimerQueue timers_;
  MonotonicTime now_{seconds(1)};
  std::mt19937_64 engine_;
  std::uint64_t events_ = 0;
};

// A process with its clocks (the world's time, and a wall clock with an offset) and its timers. It
// can be suspended, as by SIGSTOP: then nothing runs in it until it resumes.
class WorldScheduler final : public Scheduler {
 public:
  WorldScheduler(World& world, Duration wall_skew) : world_(world), wall_skew_(wall_skew) {}
  [[nodiscard]] bool OnStrand() const override { return true; }
  [[nodiscard]] MonotonicTime Now() const override { return world_.now(); }
  [[nodiscard]] WallTime WallNow() const override {
    constexpr auto kStart = std::chrono::hours(24 * 365 * 55);
    return WallTime(kStart + world_.now().time_since_epoch() + wall_skew_);
  }
  [[nodiscard]] TimerHandle At(MonotonicTime when, std::function<void()> callback) override {
    TimerHandle handle = timers_.Add(std::max(when, world_.now()), std::move(callback));
    Arm();
    return handle;
  }

  [[nodiscard]] Duration Suspended() const override { return machine_suspended_; }
  // The machine was suspended.
  void SuspendMachine(Duration counted) { machine_suspended_ += counted; }

  // Work from outside the process: runs at once, or when the process resumes.
  void Run(std::function<void()> work) {
    if (stopped_) return;
    if (suspended_) {
      held_up_.push_back(std::move(work));
    } else {
      work();
    }
  }

  void SetWallSkew(Duration skew) { wall_skew_ = skew; }
  void Suspend() { suspended_ = true; }
  // Runs the timers that are due and the work that arrived meanwhile, in random order.
  void Continue() {
    if (stopped_ || !std::exchange(suspended_, false)) return;
    if (world_.Chance(0.5)) FireDue();
    for (const auto& work : std::exchange(held_up_, {})) work();
    Arm();
  }
  [[nodiscard]] bool suspended() const { return suspended_; }
  // Ends the process: nothing runs in it any more.
  void Stop() {
    stopped_ = true;
    suspended_ = true;
    wake_.Cancel();
    held_up_.clear();
  }

  [[nodiscard]] std::size_t pending() const { return timers_.size(); }
  // The number of world timers that stand for this process's timers.
  [[nodiscard]] std::size_t armed() const { return armed_for_ ? 1 : 0; }

 private:
  void Arm() {
    const auto next = timers_.Next();
    if (!next || suspended_ || (armed_for_ && *armed_for_ <= *next)) return;
    armed_for_ = next;
    wake_ = world_.At(*next, [this] {
      armed_for_.reset();
      if (suspended_) return;
      if (auto callback = timers_.TakeDue(world_.now())) (*callback)();
      Arm();
    });
  }
  void FireDue() {
    while (auto callback = timers_.TakeDue(world_.now())) (*callback)();
  }

  World& world_;
  Duration wall_skew_;
  Duration machine_suspended_{};
  TimerQueue timers_;
  std::optional<MonotonicTime> armed_for_;
  TimerHandle wake_;
  bool suspended_ = false;
  bool stopped_ = false;
  std::vector<std::function<void()>> held_up_;
};

class WorldRandom final : public Random {
 public:
  explicit WorldRandom(World& world) : world_(world) {}
  [[nodiscard]] Duration UpTo(Duration bound) override {
    return bound <= Duration::zero() ? Duration{} : world_.Between({}, bound);
  }
  [[nodiscard]] std::uint64_t Bits() override { return world_.Below(~std::uint64_t{0}); }

 private:
  World& world_;
};

}  // namespace redlock::sim
