// The C++20 client of redlockd, the lock service.
//
//   redlock::client::Client client({.endpoints = {"10.0.0.1:50051", "10.0.0.2:50051"}});
//   auto lock = client.acquire("reports", {.ttl = 30s, .wait = 10s});
//   if (!lock) return fail(lock.error().message);
//   write(report, lock->fencing_token());        // and stop once lock->lost().stop_requested()
//
// All locks of a client share one stream (Session) to one daemon, which keeps them alive. If the
// stream breaks, or the daemon shuts down or falls silent, the client opens another stream at the
// next endpoint, and the daemon there adopts the locks. If no daemon can do so in time, `lost()`
// fires before another client can acquire the lock. It uses a local clock that counts suspend time.
//
// Thread-safe: everything in this header may be used from any thread. Callbacks run on the
// library's own threads. They must neither block nor wait for this library. The library discards
// exceptions that leave a callback, and logs that there was one.
//
// Wherever a key is expected, together({"a", "b"}) locks several keys, all at once or not at all,
// and shared("a") shares the key with others, as readers do.
//
// Objects: a Lock or Watch keeps what it needs alive, so that it may outlive the Client; its calls
// then fail. To link: find_package(redlockd), redlock::client; or pkg-config redlock-client.
#pragma once

#include <redlock/keys.h>
#include <redlock/lease.h>
#include <redlock/lock.h>
#include <redlock/observer.h>
#include <redlock/options.h>
#include <redlock/result.h>
#include <redlock/watch.h>

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace redlock::client {

struct AcquireCommand;
class Driver;

class REDLOCK_API Client {
 public:
  using LockDone = std::function<void(Result<Lock>)>;
  using LeaseDone = std::function<void(Result<Lease>)>;

  // Connects in the background and reconnects when necessary. Throws std::invalid_argument if
  // `options` are invalid, for example if a file cannot be read.
  explicit Client(Options options = {});
  // Releases all locks that it keeps alive, ends all watches and gives up all waiting calls. Takes
  // at most about 2 s. Must not be called by a callback of the library.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Acquires the lock; waits for it as long as `options` allow, also while no daemon can be
  // reached.
  Result<Lock> acquire(const std::string& key, AcquireOptions options = {});
  // The same without blocking the caller. `done` is called exactly once. If it throws, the lock is
  // released.
  std::future<Result<Lock>> acquire_async(const std::string& key, AcquireOptions options = {});
  void acquire_async(const std::string& key, AcquireOptions options, LockDone done);
  // Acquires the lock if it is free: as acquire() with `wait` = 0.
  Result<Lock> try_acquire(const std::string& key, AcquireOptions options = {});

  // Extends the lock if `token` holds it, otherwise acquires it. If the call fails or is given up,
  // a lock that the token holds is not released, because the token may have held it before: it
  // expires after its TTL at the latest, and release(key, token) ends it at once. If the lock is
  // granted at the moment at which the call is given up, the call succeeds. `options.token` is not
  // used.
  Result<Lock> acquire_or_extend(const std::string& key, const std::string& token,
                                 AcquireOptions options = {});
  std::future<Result<Lock>> acquire_or_extend_async(const std::string& key,
                                                    const std::string& token,
                                                    AcquireOptions options = {});
  void acquire_or_extend_async(const std::string& key, const std::string& token,
                               AcquireOptions options, LockDone done);

  // Takes over a lock that `token` holds, for example a Lease of this or of another process:
  // extends it and keeps it alive from now on. Never acquires: kLockNotHeld if the token does not
  // hold the lock. A failed call leaves the lock as it was.
  Result<Lock> adopt(const std::string& key, const std::string& token, AdoptOptions options = {});
  std::future<Result<Lock>> adopt_async(const std::string& key, const std::string& token,
                                        AdoptOptions options = {});
  void adopt_async(const std::string& key, const std::string& token, AdoptOptions options,
                   LockDone done);

  // Acquires a lock that nobody keeps alive and that outlives the client. A call that fails, or is
  // given up, leaves no lock: the client releases it in the background if necessary.
  Result<Lease> acquire_detached(const std::string& key, DetachedOptions options = {});
  std::future<Result<Lease>> acquire_detached_async(const std::string& key,
                                                    DetachedOptions options = {});
  void acquire_detached_async(const std::string& key, DetachedOptions options, LeaseDone done);

  // Extends or releases a lock by its key and token, or replaces its value. Not for locks that the
  // client keeps alive: use Lock. Each call tries the endpoints for up to `timeout` (from 10 ms).
  // extend() never shortens the lock; the daemon retries a round that it cannot decide, unless
  // `retry` forbids it. release() fails with kLockNotHeld if the token did not hold the lock,
  // unless the client had to repeat the call, because the first copy may have released it.
  // proclaim() is as Lock::proclaim().
  Result<Lease> extend(const std::string& key, const std::string& token, Duration ttl,
                       Duration timeout = std::chrono::seconds(5),
                       std::optional<RetryPolicy> retry = {});
  Result<Lease> try_extend(const std::string& key, const std::string& token, Duration ttl,
                           Duration timeout = std::chrono::seconds(5));
  Result<void> release(const std::string& key, const std::string& token,
                       Duration timeout = std::chrono::seconds(5),
                       const ReleaseOptions& options = {});
  Result<void> proclaim(const std::string& key, const std::string& token, const std::string& value,
                        Duration timeout = std::chrono::seconds(5));

  // Observes who holds a key, what its holder publishes, and every change. `key` is a single one;
  // of a share or a slot, its key. Fails with kInvalidArgument if the key is invalid.
  Result<Observer> observe(const std::string& key);

  // Has the daemons extend locks by key and token until the watch is closed. The watch moves to the
  // next endpoint if its daemon goes away. It may start before its locks are acquired. `on_event`
  // is called on the library's threads, one call at a time.
  Result<Watch> watch(std::vector<WatchItem> items,
                      std::function<void(const WatchEvent& event)> on_event,
                      WatchOptions options = {});

  // Calls f(const Lock&) while the lock is held, then releases the lock. Returns the result of f if
  // the lock was still held after f returned, otherwise the error of the loss or of the release.
  // Exceptions of f propagate.
  template <typename F>
  auto with_lock(const std::string& key, AcquireOptions options, F&& f)
      -> Result<std::invoke_result_t<F, const Lock&>> {
    const ReleaseOptions release{.keep_for = options.keep_for};
    Result<Lock> lock = acquire(key, std::move(options));
    if (!lock) return lock.error();
    if constexpr (std::is_void_v<std::invoke_result_t<F, const Lock&>>) {
      std::forward<F>(f)(std::as_const(*lock));
      return lock->release(release);
    } else {
      auto value = std::forward<F>(f)(std::as_const(*lock));
      if (const auto released = lock->release(release); !released) return released.error();
      return value;
    }
  }

 private:
  static void Start(const std::shared_ptr<Driver>& driver, AcquireCommand command,
                    AcquireOptions& options, LockDone done);

  std::shared_ptr<Driver> driver_;
};

}  // namespace redlock::client
