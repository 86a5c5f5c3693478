// Driver: the calls of users, and the effects that are reported to them.
#include <utility>

#include "client/cpp/src/driver.h"

namespace redlock::client {
template <typename Callback, typename... Arguments>
void Driver::CallBack(const Callback& callback, Arguments&&... arguments) const {
  if (!callback) return;
  try {
    callback(std::forward<Arguments>(arguments)...);
    return;
  } catch (...) {  // NOLINT(bugprone-empty-catch): no caller could handle it
  }
  try {
    if (options_.log) options_.log(LogLevel::kWarning, "a callback has thrown an exception");
  } catch (...) {  // NOLINT(bugprone-empty-catch): it cannot even be logged
  }
}

void Driver::Acquire(AcquireCommand command, const std::stop_token& stop,
                     std::function<void(int)> queued, LockDone done) {
  if (command.owner.empty()) command.owner = owner_;
  CallId call = 0;
  Do([&](Machine& machine) {
    call = machine.Acquire(std::move(command));
    pending_[call] = {std::move(done), std::move(queued), nullptr};
    // Otherwise, a quick daemon could grant the lock before the callback has been registered.
    if (stop.stop_requested()) machine.GiveUp(call);
  });
  GiveUpOn(stop, call);
}

void Driver::Call(UnaryCommand command, const std::stop_token& stop, LeaseDone done) {
  if (command.owner.empty()) command.owner = owner_;
  CallId call = 0;
  Do([&](Machine& /*machine*/) {
    call = calls_.Start(std::move(command));
    pending_[call] = {std::move(done), nullptr, nullptr};
    if (stop.stop_requested()) calls_.GiveUp(call);
  });
  GiveUpOn(stop, call);
}

void Driver::Call(UnaryCommand command, CallDone done) {
  Do([&](Machine& /*machine*/) {
    pending_[calls_.Start(std::move(command))] = {std::move(done), nullptr, nullptr};
  });
}

// Constructs and destroys the stop callback without the mutex, because the callback may be running
// at that moment, and takes the mutex.
void Driver::GiveUpOn(const std::stop_token& stop, CallId call) {
  if (!stop.stop_possible()) return;
  const auto give_up = [driver = shared_from_this(), call] {
    // Its effects may destroy this lambda.
    const auto self = driver;
    self->Do([self, call = call](Machine& machine) {  // only one of them knows the call
      machine.GiveUp(call);
      self->calls_.GiveUp(call);
    });
  };
  auto callback = std::make_shared<std::stop_callback<std::function<void()>>>(stop, give_up);
  const std::lock_guard lock(mutex_);
  const auto found = pending_.find(call);
  if (found != pending_.end()) found->second.stop_callback = std::move(callback);
}

void Driver::Extend(const HeldLease& held, Duration ttl, std::optional<RetryPolicy> retry,
                    CallDone done) {
  Do([&](Machine& machine) {
    pending_[machine.Extend(held.lease, ttl, std::move(retry))] = {std::move(done), nullptr,
                                                                   nullptr};
  });
}

void Driver::Downgrade(const HeldLease& held, LockDone done) {
  Do([&](Machine& machine) {
    pending_[machine.Downgrade(held.lease)] = {std::move(done), nullptr, nullptr};
    if (held.lease->state() == KeptLease::State::kReleased) held_.erase(held.lease);
  });
}

void Driver::Release(const HeldLease& held, std::optional<Duration> keep_for, CallDone done) {
  Do([&](Machine& machine) {
    pending_[machine.Release(held.lease, keep_for)] = {std::move(done), nullptr, nullptr};
    // The loss of a lost lease has been signalled or is still to be signalled.
    if (held.lease->state() == KeptLease::State::kReleased) held_.erase(held.lease);
  });
}

void Driver::Proclaim(const HeldLease& held, const std::string& value, CallDone done) {
  Do([&](Machine& /*machine*/) {
    pending_[calls_.Proclaim(held.lease, value)] = {std::move(done), nullptr, nullptr};
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

Duration Driver::TimeLeft(const KeptLease& lease) const {
  const TimePoint now = clock_.Now();
  const TimePoint until = lease.TrustedUntil();
  return until <= now ? Duration{} : until - now;
}

std::optional<Error> Driver::Loss(const HeldLease& held) const {
  const std::lock_guard lock(mutex_);
  return held.lease->loss();
}

// --- Watches

Result<std::shared_ptr<WatchState>> Driver::StartWatch(
    std::vector<WatchItem> items, std::function<void(const WatchEvent&)> on_event,
    const WatchOptions& options) {
  if (auto error = CheckItems(items)) return *error;
  const auto state = std::make_shared<WatchState>(WatchState{std::move(on_event)});
  bool closed = false;
  Do([&](Machine& /*machine*/) {
    closed = closing_;
    if (closed) return;
    state->id = watches_.Start(std::move(items), options);
    watching_[state->id] = state;
  });
  if (closed) return ClientClosed();
  return state;
}

void Driver::CloseWatch(const WatchState& state) {
  Do([&](Machine& /*machine*/) { watches_.Close(state.id); });
  std::unique_lock lock(mutex_);
  if (carrier_ == std::this_thread::get_id()) return;
  changed_.wait(lock, [&state] { return state.ended; });
}

// --- Observers

Result<ObserverId> Driver::StartObserver(const std::string& key) {
  if (auto error = CheckObserved(key)) return *error;
  ObserverId observer = 0;
  Do([&](Machine& /*machine*/) {
    if (!closing_) observer = observers_.Start(key);
  });
  if (observer == 0) return ClientClosed();
  return observer;
}

Result<KeyState> Driver::NextState(ObserverId observer, const std::optional<Duration>& wait) {
  std::unique_lock lock(mutex_);
  const TimePoint over = wait ? After(clock_.Now(), *wait) : kNever;
  while (true) {
    if (auto next = observers_.Take(observer)) return *std::move(next);
    const TimePoint now = clock_.Now();
    if (over == kNever) {
      changed_.wait(lock);
    } else if (now < over) {
      changed_.wait_for(lock, over - now);
    } else {
      return Error{Reason::kDeadlineExceeded, "no new state within " + InWords(*wait)};
    }
  }
}

void Driver::CloseObserver(ObserverId observer) {
  Do([&](Machine& /*machine*/) { observers_.Close(observer); });
}

void Driver::ForgetObserver(ObserverId observer) {
  Do([&](Machine& /*machine*/) { observers_.Forget(observer); });
}

// --- Effects on callers

Driver::Pending Driver::Take(CallId call) {
  const std::lock_guard lock(mutex_);
  const auto found = pending_.extract(call);
  return found ? std::move(found.mapped()) : Pending{};
}

void Driver::CarryOut(const Acquired& effect) {
  std::shared_ptr<HeldLease> held;
  {
    const std::lock_guard lock(mutex_);
    auto& known = held_[effect.lease];  // an acquire_or_extend may give a lock that is held already
    if (!known) known = std::make_shared<HeldLease>(HeldLease{effect.lease, {}});
    held = known;
  }
  Pending pending = Take(effect.call);
  pending.stop_callback.reset();
  CallBack(std::get<LockDone>(pending.done), held);
}

void Driver::CarryOut(const Leased& effect) {
  Pending pending = Take(effect.call);
  pending.stop_callback.reset();
  CallBack(std::get<LeaseDone>(pending.done), effect.lease);
}

void Driver::CarryOut(const Done& effect) {
  CallBack(std::get<CallDone>(Take(effect.call).done), Result<void>());
}

void Driver::CarryOut(const Failed& effect) {
  Pending pending = Take(effect.call);
  pending.stop_callback.reset();
  std::visit([&](const auto& done) { CallBack(done, effect.error); }, pending.done);
}

void Driver::CarryOut(const Queued& effect) {
  std::function<void(int)> queued;
  {
    const std::lock_guard lock(mutex_);
    const auto found = pending_.find(effect.call);
    if (found != pending_.end()) queued = found->second.queued;
  }
  CallBack(queued, effect.position);
}

void Driver::CarryOut(const Watched& effect) {
  std::shared_ptr<WatchState> state;
  {
    const std::lock_guard lock(mutex_);
    state = watching_.at(effect.watch);
  }
  CallBack(state->on_event, effect.event);
  if (effect.event.type != WatchEvent::Type::kEnded) return;
  const std::lock_guard lock(mutex_);
  state->ended = true;
  watching_.erase(effect.watch);
  changed_.notify_all();
}

void Driver::CarryOut(const Observed& /*effect*/) {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void Driver::CarryOut(const Lost& effect) {
  std::shared_ptr<HeldLease> held;
  {
    const std::lock_guard lock(mutex_);
    if (auto found = held_.extract(effect.lease)) held = std::move(found.mapped());
  }
  if (held) held->lost.request_stop();
}

void Driver::CarryOut(const Logged& effect) {
  if (closed_) return;  // only this thread writes it
  try {
    if (options_.log) options_.log(effect.level, effect.text);
  } catch (...) {  // NOLINT(bugprone-empty-catch): no caller could handle it
  }
}

void Driver::CarryOut(const Closed& /*effect*/) {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void Driver::CarryOut(const Finished& /*effect*/) {
  const std::lock_guard lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

}  // namespace redlock::client
