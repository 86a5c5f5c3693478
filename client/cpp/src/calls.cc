// Driver: the calls of users, and the effects that are reported to them.
#include <exception>
#include <utility>

#include "client/cpp/src/driver.h"

namespace redlock::client {
namespace {

// Discards exceptions of the user's callback, which must not affect other calls.
template <typename Callback, typename... Arguments>
void Call(const Callback& callback, Arguments&&... arguments) {
  if (!callback) return;
  try {
    callback(std::forward<Arguments>(arguments)...);
  } catch (...) {  // NOLINT(bugprone-empty-catch): no caller could handle it
  }
}

}  // namespace

void Driver::Acquire(const std::string& key, AcquireOptions options, LeaseDone done) {
  CallId call = 0;
  Do([&](Machine& machine) {
    call = machine.Acquire({.key = key,
                            .ttl = options.ttl,
                            .wait = options.wait,
                            .token = std::move(options.token),
                            .owner = std::move(options.owner),
                            .margin = options.margin});
    acquiring_[call] = {std::move(done), std::move(options.queued), nullptr};
  });
  if (options.stop.stop_possible()) GiveUpOn(options.stop, call);
}

// Constructs and destroys the stop callback without the mutex, because the callback may be running
// at that moment, and takes the mutex.
void Driver::GiveUpOn(const std::stop_token& stop, CallId call) {
  const auto give_up = [driver = shared_from_this(), call] {
    // Its effects may destroy this lambda.
    const auto self = driver;
    self->Do([call = call](Machine& machine) { machine.GiveUp(call); });
  };
  auto callback = std::make_shared<std::stop_callback<std::function<void()>>>(stop, give_up);
  const std::lock_guard lock(mutex_);
  const auto found = acquiring_.find(call);
  if (found != acquiring_.end()) found->second.stop_callback = std::move(callback);
}

void Driver::Extend(const HeldLease& held, Duration ttl, CallDone done) {
  Do([&](Machine& machine) { calls_[machine.Extend(held.lease, ttl)] = std::move(done); });
}

void Driver::Release(const HeldLease& held, CallDone done) {
  Do([&](Machine& machine) {
    calls_[machine.Release(held.lease)] = std::move(done);
    // The loss of a lost lease has been signalled or is still to be signalled.
    if (held.lease->state() == Lease::State::kReleased) held_.erase(held.lease);
  });
}

std::uint64_t Driver::FencingToken(const HeldLease& held) const {
  const std::lock_guard lock(mutex_);
  return held.lease->fencing_token();
}

Duration Driver::Validity(const HeldLease& held) const {
  const std::lock_guard lock(mutex_);
  return held.lease->held() ? TimeLeft(*held.lease) : Duration{};
}

Duration Driver::TimeToStop(const HeldLease& held) const {
  const std::lock_guard lock(mutex_);
  return TimeLeft(*held.lease);
}

Duration Driver::TimeLeft(const Lease& lease) const {
  const TimePoint now = clock_.Now();
  const TimePoint until = lease.TrustedUntil();
  return until <= now ? Duration{} : until - now;
}

std::optional<Error> Driver::Loss(const HeldLease& held) const {
  const std::lock_guard lock(mutex_);
  return held.lease->loss();
}

// --- Effects on callers

Driver::Acquiring Driver::Take(CallId call) {
  const std::lock_guard lock(mutex_);
  const auto found = acquiring_.extract(call);
  return found ? std::move(found.mapped()) : Acquiring{};
}

void Driver::CarryOut(const Acquired& effect) {
  const auto held = std::make_shared<HeldLease>(HeldLease{effect.lease, {}});
  {
    const std::lock_guard lock(mutex_);
    held_[effect.lease] = held;
  }
  Acquiring acquiring = Take(effect.call);
  acquiring.stop_callback.reset();
  Call(acquiring.done, held);
}

void Driver::CarryOut(const Done& effect) { FinishCall(effect.call, {}); }

void Driver::CarryOut(const Failed& effect) {
  Acquiring acquiring = Take(effect.call);
  acquiring.stop_callback.reset();
  if (acquiring.done) {
    Call(acquiring.done, effect.error);
  } else {
    FinishCall(effect.call, effect.error);
  }
}

void Driver::FinishCall(CallId call, const Result<void>& result) {
  CallDone done;
  {
    const std::lock_guard lock(mutex_);
    if (auto found = calls_.extract(call)) done = std::move(found.mapped());
  }
  Call(done, result);
}

void Driver::CarryOut(const Queued& effect) {
  std::function<void(int)> queued;
  {
    const std::lock_guard lock(mutex_);
    const auto found = acquiring_.find(effect.call);
    if (found != acquiring_.end()) queued = found->second.queued;
  }
  Call(queued, effect.position);
}

void Driver::CarryOut(const Lost& effect) {
  std::shared_ptr<HeldLease> held;
  {
    const std::lock_guard lock(mutex_);
    if (auto found = held_.extract(effect.lease)) held = std::move(found.mapped());
  }
  if (held) held->lost.request_stop();
}

void Driver::CarryOut(const Closed& /*effect*/) {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace redlock::client
