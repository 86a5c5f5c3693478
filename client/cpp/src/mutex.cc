#include "redlock/mutex.h"

#include <utility>

#include "client/cpp/core/check.h"

namespace redlock::client {

Mutex::Mutex(Client& client, std::string key, AcquireOptions options)
    : client_(client), key_(std::move(key)), options_(std::move(options)) {}

Mutex::~Mutex() = default;

void Mutex::lock() { Keep(client_.acquire(key_, options_).value()); }

bool Mutex::try_lock() { return TryFor(Duration::zero()); }

bool Mutex::TryFor(Duration time) {
  AcquireOptions options = options_;
  options.wait = time;
  Result<Lock> lock = client_.acquire(key_, std::move(options));
  if (lock) {
    Keep(std::move(*lock));
    return true;
  }
  const Reason reason = lock.error().reason;
  if (reason == Reason::kLockAlreadyHeld || reason == Reason::kMaxRetriesExceeded ||
      (reason == Reason::kDeadlineExceeded && time > Duration::zero())) {
    return false;
  }
  throw LockError(lock.error());
}

void Mutex::Keep(Lock lock) {
  const std::lock_guard guard(mutex_);
  held_.emplace(std::move(lock));
}

void Mutex::unlock() {
  std::optional<Lock> lock;
  {
    const std::lock_guard guard(mutex_);
    REDLOCK_CHECK(held_.has_value());  // unlocked by someone who has not locked it
    lock.swap(held_);
  }
  (void)lock->release({.keep_for = options_.keep_for});
}

std::stop_token Mutex::lost() const {
  const std::lock_guard guard(mutex_);
  REDLOCK_CHECK(held_.has_value());
  return held_->lost();
}

std::uint64_t Mutex::fencing_token() const {
  const std::lock_guard guard(mutex_);
  REDLOCK_CHECK(held_.has_value());
  return held_->fencing_token();
}

}  // namespace redlock::client
