#include "client/redlockctl/attendance.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "client/redlockctl/run_signals.h"

namespace redlockctl {
namespace {

namespace client = redlock::client;
using client::Duration;
using client::kNever;
using client::TimePoint;
using std::chrono::milliseconds;

// Extensions arrive when half of the TTL is left, and pings when three quarters of the client's
// grace are left. A margin of a quarter leaves time for them to be late.
constexpr int kMarginFraction = 4;
// SIGKILL is sent this long before the validity ends, or a quarter of the margin if that is less.
constexpr Duration kReserve = milliseconds(100);
constexpr Duration kSlice = milliseconds(20);
// What has not ended this long after the first SIGKILL cannot be ended.
constexpr Duration kKillTimeout = std::chrono::seconds(5);

}  // namespace

Duration MarginFor(const RunOptions& options) {
  const Duration longest = std::min(options.acquire.ttl, client::Options{}.grace) / kMarginFraction;
  return std::clamp(Duration(options.grace), Duration::zero(), longest);
}

Attendance::Attendance(Job& job, HeldLock& lock, const KeeperOptions& options)
    : job_(job),
      lock_(lock),
      options_(options),
      lifetime_ends_(options.run.max_lifetime
                         ? client::After(clock_.Now(), *options.run.max_lifetime)
                         : kNever),
      trusted_until_(clock_.Now()) {}

void Attendance::Run() {
  sigset_t signals = options_.signals;
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, HeldLock::Wake());
  while (true) {
    Collect();
    const TimePoint now = clock_.Now();
    Decide(now);
    if (IsOver() || gave_up_) return;
    const int signal = NextSignal(signals, Patience(now));
    if (sigismember(&options_.signals, signal) == 1) job_.Signal(signal);
  }
}

void Attendance::Collect() {
  for (const int status : job_.Collect()) {
    const JobEvent event{.group = job_.group(), .status = status};
    (void)!write(options_.events, &event, sizeof(event));
  }
}

void Attendance::Decide(TimePoint now) {
  if (job_.ended() && !command_ended_) command_ended_ = now;
  const Duration left = lock_.lock().time_to_stop();
  if (left > Duration::zero()) trusted_until_ = now + left;
  const Reason reason = WhyEnd(now);
  if (reason_ == Reason::kNone && reason != Reason::kNone) Begin(reason, now);
  if (reason_ == Reason::kNone || now < KillAt()) return;
  Signal(SIGKILL);
  // While the lock is held, it stays held as long as something runs.
  gave_up_ = lock_.lost() && now >= KillAt() + kKillTimeout;
}

Attendance::Reason Attendance::WhyEnd(TimePoint now) {
  if (IsOver()) return Reason::kNone;
  if (lock_.lost()) return Reason::kLost;
  if (now >= lifetime_ends_) return Reason::kLifetimeOver;
  if (getppid() != options_.front) return Reason::kFrontGone;
  if (command_ended_ && now >= *command_ended_ + options_.run.grace) return Reason::kLeftBehind;
  return Reason::kNone;
}

void Attendance::Begin(Reason reason, TimePoint now) {
  reason_ = reason;
  begun_ = now;
  Signal(SIGTERM);
  Signal(SIGCONT);  // a stopped process handles SIGTERM only then
}

void Attendance::Signal(int signal) const {
  if (reason_ == Reason::kLeftBehind && !lock_.lost()) {
    job_.Signal(signal);
  } else {
    job_.SignalAll(signal);
  }
}

TimePoint Attendance::KillAt() const {
  const TimePoint patient = begun_ + options_.run.grace;
  if (!lock_.lost()) return patient;
  const Duration reserve = std::min(kReserve, MarginFor(options_.run) / 4);
  return std::min(patient, trusted_until_ - reserve);
}

bool Attendance::IsOver() const {
  const bool only_group =
      !lock_.lost() && (reason_ == Reason::kNone || reason_ == Reason::kLeftBehind);
  return only_group ? job_.IsGroupGone() : job_.IsGone();
}

Duration Attendance::Patience(TimePoint now) const {
  if (reason_ != Reason::kNone) return kSlice;
  TimePoint next = std::min(lifetime_ends_, now + (trusted_until_ - now) / 2);
  if (command_ended_) next = std::min(next, *command_ended_ + options_.run.grace);
  return std::max(next - now, kSlice);
}

}  // namespace redlockctl
