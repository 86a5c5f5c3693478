#include "redlock/election.h"

#include <algorithm>
#include <utility>

#include "client/cpp/core/keys.h"
#include "client/cpp/src/driver.h"
#include "client/cpp/src/future.h"

namespace redlock::client {

Election::Election(Client& client, std::string name) : client_(client), name_(std::move(name)) {}

Election::~Election() = default;

Result<Lock> Election::campaign(std::string value, AcquireOptions options) {
  options.value = std::move(value);
  Result<Lock> lock = client_.acquire(name_, std::move(options));
  if (lock) {
    const std::lock_guard guard(mutex_);
    driver_ = lock->driver_;
    held_ = lock->lease_;
  }
  return lock;
}

std::shared_ptr<HeldLease> Election::Leading() const {
  const std::lock_guard guard(mutex_);
  return held_ && driver_->Validity(*held_) > Duration::zero() ? held_ : nullptr;
}

Error Election::NotLeading() const {
  return {Reason::kLockNotHeld, InWords(name_) + ": this candidate does not lead"};
}

Result<void> Election::proclaim(const std::string& value) {
  const auto held = Leading();
  if (!held) return NotLeading();
  return Future<void>([&](auto done) { driver_->Proclaim(*held, value, std::move(done)); }).get();
}

Result<void> Election::resign(const ReleaseOptions& options) {
  const auto held = Leading();
  if (!held) return NotLeading();
  return Future<void>(
             [&](auto done) { driver_->Release(*held, options.keep_for, std::move(done)); })
      .get();
}

Result<KeyState> Election::leader(Duration timeout) {
  auto observer = client_.observe(name_);
  if (!observer) return observer.error();
  const auto over = std::chrono::steady_clock::now() + timeout;
  std::optional<Error> why;
  while (true) {
    const Duration left = over - std::chrono::steady_clock::now();
    auto state = observer->next(std::max(left, Duration::zero()));
    if (!state)
      return why && state.error().reason == Reason::kDeadlineExceeded ? *why : state.error();
    if (state->state != HolderState::kUndecided) return state;
    why = state->error;
  }
}

Result<Observer> Election::observe() { return client_.observe(name_); }

}  // namespace redlock::client
