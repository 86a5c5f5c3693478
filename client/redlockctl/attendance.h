// Waits for the command of `redlockctl run`, and ends it with everything that it has started if the
// lock is lost, if --max-lifetime has passed, or if the front process has ended.
//
//   SIGTERM ──▶ up to the grace ──▶ SIGKILL, before the validity of the lock ends
//
// If the command has ended and processes remain in its group, they get the grace to end by
// themselves, then SIGTERM, then SIGKILL after another grace. Meanwhile the lock is held.
#pragma once

#include <optional>

#include "client/cpp/src/boot_timer.h"
#include "client/redlockctl/held_lock.h"
#include "client/redlockctl/job.h"
#include "client/redlockctl/keeper.h"

namespace redlockctl {

// How much of the validity is left when the loss of the lock is signalled. At most `grace`.
[[nodiscard]] redlock::client::Duration MarginFor(const RunOptions& options);

class Attendance {
 public:
  enum class Reason { kNone, kLost, kLifetimeOver, kFrontGone, kLeftBehind };

  // The lock must be held.
  Attendance(Job& job, HeldLock& lock, const KeeperOptions& options);

  // Returns when everything that must end has ended, or cannot be ended.
  void Run();
  // Why the command was ended. kNone and kLeftBehind: it ended by itself.
  [[nodiscard]] Reason reason() const { return reason_; }
  // Whether processes remain after a loss that cannot be ended, such as those of another user.
  [[nodiscard]] bool gave_up() const { return gave_up_; }

 private:
  using TimePoint = redlock::client::TimePoint;
  using Duration = redlock::client::Duration;

  void Collect();
  void Decide(TimePoint now);
  [[nodiscard]] Reason WhyEnd(TimePoint now);
  void Begin(Reason reason, TimePoint now);
  // Signals everything that must end.
  void Signal(int signal) const;
  [[nodiscard]] TimePoint KillAt() const;
  [[nodiscard]] bool IsOver() const;
  [[nodiscard]] Duration Patience(TimePoint now) const;

  Job& job_;
  HeldLock& lock_;
  const KeeperOptions& options_;
  redlock::client::SystemClock clock_;
  const TimePoint lifetime_ends_;
  // The end of the validity as it was known last. After a loss, nothing runs longer.
  TimePoint trusted_until_;
  std::optional<TimePoint> command_ended_;
  Reason reason_ = Reason::kNone;
  TimePoint begun_{};  // when SIGTERM was sent
  bool gave_up_ = false;
};

}  // namespace redlockctl
