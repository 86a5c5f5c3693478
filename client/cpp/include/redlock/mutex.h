// A lock that works with std::unique_lock, std::lock_guard and std::scoped_lock.
//
//   redlock::client::Mutex mutex(client, "reports");
//   std::unique_lock guard(mutex, 10s);                 // or std::lock_guard
//   if (guard) write(report, mutex.fencing_token());    // and stop once mutex.lost() fires
//
// It cannot promise what a mutex promises: the lock can be lost while it is held. Code that only
// locks and unlocks does not notice. So the work must stop when lost() fires, or the storage must
// check fencing_token(). Not recursive: a thread that locks it twice waits for itself.
#pragma once

#include <redlock/client.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

namespace redlock::client {

// Meets the requirements of TimedLockable. Thread-safe, like std::mutex: of all threads and
// processes that use the key, one has the lock. Throws LockError if the lock could not be acquired
// for another reason than that someone else has it; an outage is such a reason.
class REDLOCK_API Mutex {
 public:
  // The client must outlive the mutex. `options.wait` limits lock() only. Throws nothing: invalid
  // arguments are reported by the first attempt to lock.
  Mutex(Client& client, std::string key, AcquireOptions options = {});
  // Must not be held.
  ~Mutex();
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  // Waits for the lock. Throws LockError with kDeadlineExceeded after `options.wait`.
  void lock();
  // Returns false if someone else has the lock.
  [[nodiscard]] bool try_lock();
  // Returns false if someone else has the lock for all of this time.
  template <typename Rep, typename Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& time) {
    return TryFor(Saturated(time));
  }
  template <typename Clock, typename Span>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Span>& when) {
    return try_lock_for(when - Clock::now());
  }
  // Releases the lock, and waits for the answer for at most 2 s. Throws nothing: if the lock was
  // lost, lost() has fired.
  void unlock();

  // Of the lock that is held; must be held.
  [[nodiscard]] std::stop_token lost() const;
  [[nodiscard]] std::uint64_t fencing_token() const;

 private:
  // Conversion to nanoseconds would overflow for durations such as std::chrono::hours::max().
  template <typename Rep, typename Period>
  static Duration Saturated(const std::chrono::duration<Rep, Period>& time) {
    using Seconds = std::chrono::duration<double>;
    if (Seconds(time) >= Seconds(Duration::max())) return Duration::max();
    if (Seconds(time) <= Seconds::zero()) return Duration::zero();
    return std::chrono::duration_cast<Duration>(time);
  }
  [[nodiscard]] bool TryFor(Duration time);
  void Keep(Lock lock);

  Client& client_;
  const std::string key_;
  const AcquireOptions options_;
  mutable std::mutex mutex_;
  std::optional<Lock> held_;
};

}  // namespace redlock::client
