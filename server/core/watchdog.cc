#include "server/core/watchdog.h"

#include <algorithm>
#include <utility>

namespace redlock {
namespace {

// After a failure: an eighth of what is left, so that several tries fit in, within these bounds.
constexpr int kTriesLeft = 8;
constexpr Duration kShortestPause = std::chrono::milliseconds(5);
constexpr Duration kLongestPause = std::chrono::milliseconds(250);

// Extensions are made at ticks, so that many leases share their writes: a part of the interval, and
// a power of two milliseconds, so that ticks of different intervals meet.
constexpr int kTicksPerInterval = 64;
constexpr Duration kLongestTick = std::chrono::milliseconds(16);

Duration TickOf(Duration interval) {
  Duration tick = kLongestTick;
  while (tick > interval / kTicksPerInterval && tick > std::chrono::milliseconds(1)) tick /= 2;
  return tick;
}

}  // namespace

std::shared_ptr<Watchdog> Watchdog::Start(const Environment& env, OperationRegistry& registry,
                                          Releaser& releaser, WatchCommand command,
                                          WatchEvents events) {
  std::shared_ptr<Watchdog> self(
      new Watchdog(env, registry, releaser, std::move(command), std::move(events)));
  registry.Add(self);
  registry.CountWatchdog(+1);
  const MonotonicTime now = env.scheduler.Now();
  if (const auto& lifetime = self->command_.max_lifetime) {
    self->lifetime_timer_ = env.scheduler.At(now + *lifetime, [raw = self.get()] {
      const auto keep = raw->shared_from_this();
      raw->Tell({.type = WatchEvent::Type::kLifetimeEnded,
                 .lease = {},
                 .error = {.reason = Reason::kDeadlineExceeded,
                           .message = "max_lifetime has passed; the lease is extended no longer"},
                 .votes = {},
                 .consecutive_failures = raw->failures_,
                 .goes_on = false});
      raw->Cancel(Reason::kDeadlineExceeded);
    });
  }
  if (const auto& held = self->command_.held) {
    self->last_extension_ = now;
    self->ExpireAt(held->valid_until);
    self->ExtendAfterInterval();
  } else {
    self->ExpireAt(now + Validity(self->command_.ttl, Duration{}, env.options.drift));
    self->Extend();
  }
  return self;
}

Watchdog::Watchdog(const Environment& env, OperationRegistry& registry, Releaser& releaser,
                   WatchCommand command, WatchEvents events)
    : env_(env),
      registry_(registry),
      releaser_(releaser),
      command_(std::move(command)),
      events_(std::move(events)) {}

void Watchdog::Cancel(Reason /*why*/) {
  if (!events_) return;
  events_ = nullptr;
  if (command_.release_on_close && command_.held) {
    releaser_.ReleaseUnlessAdopted(*command_.held);
  } else if (command_.release_on_close) {
    releaser_.Release(command_.key, command_.token, [](const ReleaseResult&) {});
  }
  End();
}

void Watchdog::LetGo() {
  if (!events_) return;
  events_ = nullptr;
  End();
}

void Watchdog::Confirmed(const Lease& lease) {
  if (events_ && !lost_ && lease.valid_until > valid_until_) ExpireAt(lease.valid_until);
}

void Watchdog::Extend() {
  last_extension_ = env_.scheduler.Now();
  // After a pause of the whole daemon, validity may have run out before anything was sent.
  if (!lost_ && last_extension_ >= valid_until_) {
    Lose({.reason = Reason::kValidityExpired, .message = "validity ran out unnoticed"}, {});
    if (!events_) return;
  }
  extension_ = Extension::Start(env_, registry_,
                                {.key = command_.key,
                                 .token = command_.token,
                                 .ttl = command_.ttl,
                                 .retry = {.max_retries = 0, .min_delay = {}, .max_jitter = {}},
                                 .deadline = std::nullopt,
                                 .raise_to = {}},
                                [this, self = shared_from_this()](ExtendResult result) {
                                  extension_.reset();
                                  if (events_) OnExtension(std::move(result));
                                });
}

void Watchdog::OnExtension(ExtendResult result) {
  if (result.lease) {
    OnExtended(std::move(result));
    return;
  }
  const bool denied = result.error.reason == Reason::kLockNotHeld;
  // The answer may be there before the expiry timer has its turn, where the daemon was suspended:
  // nothing is told before the loss.
  const bool expired = env_.scheduler.Now() >= valid_until_;
  if (lost_ || (!denied && !expired)) {
    OnExtendFailed(std::move(result));
    return;
  }
  if (!denied) result.error.reason = Reason::kValidityExpired;
  Lose(std::move(result.error), std::move(result.votes));
  if (events_) ExtendAt(last_extension_ + command_.interval);
}

void Watchdog::OnExtended(ExtendResult result) {
  lost_ = false;
  failures_ = 0;
  ExpireAt(std::max(valid_until_, result.lease->valid_until));  // no extension shortens a lease
  ExtendAfterInterval();
  Tell({.type = WatchEvent::Type::kExtended,
        .lease = std::move(*result.lease),
        .error = {},
        .votes = std::move(result.votes),
        .consecutive_failures = 0});
}

void Watchdog::OnExtendFailed(ExtendResult result) {
  ++failures_;
  const MonotonicTime now = env_.scheduler.Now();
  const Duration soon =
      std::clamp((valid_until_ - now) / kTriesLeft, kShortestPause, kLongestPause);
  // A lost lease is asked after at its interval only: there is no validity left to save.
  ExtendAt(lost_ ? last_extension_ + command_.interval : now + std::min(soon, command_.interval));
  Tell({.type = WatchEvent::Type::kExtendFailed,
        .lease = {},
        .error = std::move(result.error),
        .votes = std::move(result.votes),
        .consecutive_failures = failures_});
}

void Watchdog::ExpireAt(MonotonicTime when) {
  valid_until_ = when;
  expiry_timer_ = env_.scheduler.At(when, [this] {
    const auto self = shared_from_this();
    Lose({.reason = Reason::kValidityExpired,
          .message = "the lease could not be extended before its validity ran out"},
         {});
  });
}

void Watchdog::ExtendAfterInterval() {
  // Leases that were taken together are not extended together for ever.
  const Duration pause =
      std::exchange(spread_, true) ? command_.interval : env_.random.UpTo(command_.interval);
  const MonotonicTime due = last_extension_ + pause;
  const Duration tick = TickOf(command_.interval);
  ExtendAt(std::max(due - due.time_since_epoch() % tick, env_.scheduler.Now()));
}

void Watchdog::ExtendAt(MonotonicTime when) {
  extend_timer_ = env_.scheduler.At(when, [this] {
    const auto self = shared_from_this();
    Extend();
  });
}

void Watchdog::Lose(Error error, Votes votes) {
  lost_ = true;
  ++env_.statistics.lost_leases;
  env_.losses.Add({command_.key, env_.scheduler.WallNow(), error.message});
  expiry_timer_.Cancel();
  Tell({.type = WatchEvent::Type::kLost,
        .lease = {},
        .error = std::move(error),
        .votes = std::move(votes),
        .consecutive_failures = failures_,
        .goes_on = command_.keep_watching_after_loss});
  if (!command_.keep_watching_after_loss) Cancel(Reason::kLockNotHeld);
}

void Watchdog::Tell(WatchEvent event) {
  if (events_) events_(std::move(event));
}

void Watchdog::End() {
  const auto self = shared_from_this();
  extend_timer_.Cancel();
  expiry_timer_.Cancel();
  lifetime_timer_.Cancel();
  if (extension_) std::exchange(extension_, nullptr)->Cancel(Reason::kCancelled);
  registry_.CountWatchdog(-1);
  registry_.Remove(*this);
}

}  // namespace redlock
