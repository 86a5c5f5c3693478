#include "server/core/leases/watchdog.h"

#include <algorithm>
#include <utility>

#include "server/core/safeguard.h"

namespace redlock {
namespace {

// The pause after a failure: an eighth of the remaining validity, so that several retries fit in,
// within these bounds.
constexpr int kTriesLeft = 8;
constexpr Duration kShortestPause = std::chrono::milliseconds(5);
constexpr Duration kLongestPause = std::chrono::milliseconds(250);

// Because of rounding, a cut validity may end this much before the lifetime, at most.
constexpr Duration kCutRounding = std::chrono::milliseconds(3);

// Extensions are sent at ticks, so that many leases share their writes. A tick is a fraction of the
// interval and a power of two milliseconds, so that the ticks of different intervals coincide.
constexpr int kTicksPerInterval = 64;
constexpr Duration kLongestTick = std::chrono::milliseconds(16);

Duration TickOf(Duration interval) {
  Duration tick = kLongestTick;
  while (tick > interval / kTicksPerInterval && tick > std::chrono::milliseconds(1)) tick /= 2;
  return tick;
}

}  // namespace

std::shared_ptr<Watchdog> Watchdog::Start(const Environment& env, WatchdogIndex& index,
                                          WatchCommand command,
                                          std::shared_ptr<WatchListener> listener) {
  auto self = std::make_shared<Watchdog>(Passkey<Watchdog>(), env, index, std::move(command),
                                         std::move(listener));
  env.operations.Add(self);
  index.Add(*self);
  self->BeginAge();
  if (self->held_) {
    self->last_extension_ = env.scheduler.Now();
    self->ExtendAt(self->AfterInterval());
  } else {
    self->Extend();
  }
  return self;
}

Watchdog::Watchdog(Passkey<Watchdog> /*key*/, const Environment& env, WatchdogIndex& index,
                   WatchCommand command, std::shared_ptr<WatchListener> listener)
    : env_(env),
      index_(index),
      key_(std::move(command.key)),
      token_(std::move(command.token)),
      ttl_(command.ttl),
      interval_(command.interval),
      keeper_(command.held ? command.held->keeper.value_or(Keeper{}) : Keeper{}),
      downgrade_from_(command.downgrade_from),
      source_(command.source),
      lifetime_end_(command.max_lifetime ? env.scheduler.Now() + *command.max_lifetime : kNever),
      since_(command.since.value_or(MonotonicTime())),
      group_(static_cast<std::uint8_t>(env.options.key_groups.Of(key_))),
      has_keeper_(command.held && command.held->keeper),
      acquired_here_(command.since.has_value()),
      keep_watching_after_loss_(command.keep_watching_after_loss),
      held_(command.held.has_value()),
      fence_(command.held ? command.held->fence : FencingToken{}),
      listener_(std::move(listener)),
      valid_until_(command.held ? command.held->valid_until
                                : env.scheduler.Now() +
                                      Validity(command.ttl, Duration{}, env.options.drift)) {
  KeepOwner(std::move(command.owner));
}

void Watchdog::Detach() {
  if (!listener_) return;
  listener_ = nullptr;
  End();
}

void Watchdog::OnReleased() {
  const auto self = shared_from_this();
  CountHold();
  Tell({.type = WatchEvent::Type::kReleased,
        .lease = {.key = key_, .token = token_},
        .error = {.reason = Reason::kLockNotHeld, .message = "the lock was released"},
        .votes = {},
        .consecutive_failures = failures_,
        .goes_on = false});
  Detach();
}

void Watchdog::OnTaken() {
  const auto self = shared_from_this();
  if (!lost_) {
    Lose({.reason = Reason::kLockNotHeld, .message = "the lock was released by force"}, {});
  }
  Detach();
}

void Watchdog::OnDenied() {
  const auto self = shared_from_this();
  CountHold();
  Tell({.type = WatchEvent::Type::kDenied,
        .lease = {.key = key_, .token = token_},
        .error = {.reason = Reason::kPermissionDenied,
                  .message = "the access list no longer allows the caller to keep the lease: the "
                             "lease is no longer extended"},
        .votes = {},
        .consecutive_failures = failures_,
        .goes_on = false});
  Detach();
}

void Watchdog::EndLifetime() {
  const auto self = shared_from_this();
  CountHold();
  Tell({.type = WatchEvent::Type::kLifetimeEnded,
        .lease = {.key = key_, .token = token_},
        .error = {.reason = Reason::kDeadlineExceeded,
                  .message = "max_lifetime has passed: the lease is no longer extended"},
        .votes = {},
        .consecutive_failures = failures_,
        .goes_on = false});
  Detach();
}

void Watchdog::Confirmed(const Lease& lease) {
  if (!listener_ || lost_ || lease.valid_until <= valid_until_) return;
  valid_until_ = lease.valid_until;
  SetTimer();
}

Lease Watchdog::lease() const {
  return {.key = key_,
          .token = token_,
          .fence = fence_,
          .keeper = keeper(),
          .validity = {},
          .valid_until = valid_until_};
}

Holding Watchdog::holding() const {
  return {.key = key_,
          .fence = fence_,
          .owner = label_,
          .since = acquired_here_ ? std::optional(since_) : std::nullopt};
}

Owner Watchdog::owner() const {
  return {.label = label_, .origin = origin_, .since = owner_since_, .value = value_};
}

void Watchdog::KeepOwner(Owner owner) {
  label_ = std::move(owner.label);
  origin_ = std::move(owner.origin);
  owner_since_ = owner.since;
  value_ = std::move(owner.value);
}

void Watchdog::CountHold() {
  if (!acquired_here_ || lost_) return;
  env_.statistics.groups[group_].holds.Add(env_.scheduler.Now() - since_);
}

// A lease that was acquired elsewhere counts from now on.
void Watchdog::BeginAge() {
  if (!acquired_here_) since_ = env_.scheduler.Now();
  index_.ages().Add(group_, since_);
  has_age_ = true;
}

void Watchdog::EndAge() {
  if (has_age_) index_.ages().Remove(group_, since_);
  has_age_ = false;
}

Duration Watchdog::TtlNow() const {
  if (lifetime_end_ == kNever) return ttl_;
  return std::min(ttl_, TtlFor(lifetime_end_ - env_.scheduler.Now(), env_.options.drift));
}

void Watchdog::Extend() {
  const Duration ttl = TtlNow();
  if (IsValidUntilLifetimeEnd() || ttl < std::chrono::milliseconds(1)) {
    ExtendAt(kNever);
    return;
  }
  last_extension_ = env_.scheduler.Now();
  ExtendAt(kNever);  // none while this one is in progress
  extension_ = Extension::Start(env_,
                                {.key = key_,
                                 .token = token_,
                                 .ttl = ttl,
                                 .retry = {.max_retries = 0, .min_delay = {}, .max_jitter = {}},
                                 .deadline = std::nullopt,
                                 .raise_to = {},
                                 .keeper = keeper(),
                                 .held = held_ && !lost_,
                                 .lost = lost_,
                                 .downgrade_from = downgrade_from_,
                                 .source = source_},
                                [this, self = shared_from_this()](ExtendResult result) {
                                  extension_.reset();
                                  if (listener_) OnExtension(std::move(result));
                                });
}

void Watchdog::OnExtension(ExtendResult result) {
  if (result.lease) {
    OnExtended(std::move(result));
    return;
  }
  const bool denied = result.error.reason == Reason::kLockNotHeld;
  // If the daemon was suspended, the answer may be processed before the expiry timer. The loss must
  // be reported first.
  const bool expired = env_.scheduler.Now() >= valid_until_;
  if (lost_ || (!denied && !expired)) {
    OnExtendFailed(std::move(result));
    return;
  }
  if (!denied && LifetimeEndsFirst()) {
    EndLifetime();
    return;
  }
  if (!denied) result.error.reason = Reason::kValidityExpired;
  Lose(std::move(result.error), std::move(result.votes));
  if (listener_) ExtendAt(last_extension_ + interval_);
}

void Watchdog::OnExtended(ExtendResult result) {
  lost_ = false;
  if (!has_age_) BeginAge();
  held_ = true;
  failures_ = 0;
  // An extension never shortens a lease.
  valid_until_ = std::max(valid_until_, result.lease->valid_until);
  fence_ = result.lease->fence;
  if (label_.empty() && origin_.empty()) KeepOwner(std::move(result.owner));
  if (key_ != result.lease->key) key_ = result.lease->key;  // the slot is known now
  ExtendAt(AfterInterval());
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
  // A lost lease is retried only once an interval: there is no validity left to save.
  ExtendAt(lost_ ? last_extension_ + interval_ : now + std::min(soon, interval_));
  Tell({.type = WatchEvent::Type::kExtendFailed,
        .lease = {.key = key_, .token = token_},
        .error = std::move(result.error),
        .votes = std::move(result.votes),
        .consecutive_failures = failures_});
}

MonotonicTime Watchdog::AfterInterval() {
  // The first pause is random, so that leases that were acquired together are not extended together
  // forever.
  const Duration pause = spread_ ? interval_ : env_.random.UpTo(interval_);
  spread_ = true;
  const MonotonicTime due = last_extension_ + pause;
  const Duration tick = TickOf(interval_);
  return std::max(due - due.time_since_epoch() % tick, env_.scheduler.Now());
}

// If so, another extension gains nothing.
bool Watchdog::IsValidUntilLifetimeEnd() const {
  return held_ && lifetime_end_ != kNever && lifetime_end_ - valid_until_ < kCutRounding;
}

// Whether the end of the validity is no loss.
bool Watchdog::LifetimeEndsFirst() const {
  return lifetime_end_ <= valid_until_ || IsValidUntilLifetimeEnd();
}

void Watchdog::ExtendAt(MonotonicTime when) {
  extend_at_ = when;
  SetTimer();
}

void Watchdog::SetTimer() {
  MonotonicTime next = std::min(extend_at_, lifetime_end_);
  if (!lost_ && Has(Safeguard::kLossInTime)) next = std::min(next, valid_until_);
  if (next == kNever) {
    timer_.Cancel();
    return;
  }
  timer_ = env_.scheduler.At(next, [this] {
    const auto self = shared_from_this();
    OnTimer();
  });
}

void Watchdog::OnTimer() {
  const MonotonicTime now = env_.scheduler.Now();
  // If the daemon was suspended, several may be due. What was due first ends the watchdog, and
  // nothing is sent for a lease that may be lost.
  if (!lost_ && now >= valid_until_) {
    if (LifetimeEndsFirst()) {
      EndLifetime();
      return;
    }
    Lose({.reason = Reason::kValidityExpired,
          .message = "the lease could not be extended before its validity ended"},
         {});
    if (!listener_) return;
  }
  if (now >= lifetime_end_) {
    EndLifetime();
    return;
  }
  if (now >= extend_at_) {
    Extend();
  } else {
    SetTimer();
  }
}

void Watchdog::Lose(Error error, Votes votes) {
  CountHold();
  EndAge();
  lost_ = true;
  ++env_.statistics.lost_leases;
  env_.losses.Add({key_, env_.scheduler.WallNow(), error.message});
  Tell({.type = WatchEvent::Type::kLost,
        .lease = {.key = key_, .token = token_},
        .error = std::move(error),
        .votes = std::move(votes),
        .consecutive_failures = failures_,
        .goes_on = keep_watching_after_loss_});
  if (!keep_watching_after_loss_) Detach();
}

// The listener may detach this watchdog inside the call.
void Watchdog::Tell(const WatchEvent& event) {
  if (const auto listener = listener_) listener->OnWatchEvent(event);
}

void Watchdog::End() {
  const auto self = shared_from_this();
  timer_.Cancel();
  if (extension_) std::exchange(extension_, nullptr)->Cancel(Reason::kCancelled);
  EndAge();
  index_.Remove(*this);
  env_.operations.Remove(*this);
}

}  // namespace redlock
