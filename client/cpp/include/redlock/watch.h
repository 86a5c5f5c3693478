// A watch: the daemon extends locks that the client holds by key and token, for as long as the
// watch is open. Client::acquire() needs none, because the client keeps its locks alive anyway.
#pragma once

#include <redlock/lease.h>
#include <redlock/result.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace redlock::client {

struct WatchItem {
  std::string key, token;
  Duration ttl = std::chrono::seconds(30);  // that each extension sets; from 10 ms to 24 h
  // The pause between two extensions: at least 1 ms, less than `ttl`. Unset: half of `ttl`.
  std::optional<Duration> interval;
};

struct WatchOptions {
  // Whether to keep trying to extend a lock that is not held: it may be acquired later, also by
  // someone else with the same token. If false, a lock that is lost is reported and left alone.
  bool keep_watching_after_loss = true;
};

struct REDLOCK_API WatchEvent {
  enum class Type {
    kExtended,      // `lease` has the new validity, which counts from the arrival of the event
    kExtendFailed,  // the daemon retries until the validity ends; `error` says why
    kLost,          // `error` says why. The lock must no longer be trusted
    kStreamFailed,  // the connection failed; the watch goes on at the next endpoint
    // Always the last event, exactly once, with the reason kCancelled: the watch was closed, or the
    // client destroyed.
    kEnded,
  };

  Type type = Type::kEnded;
  std::string key;             // as in WatchItem; empty for kStreamFailed and kEnded
  std::optional<Lease> lease;  // for kExtended
  Error error;                 // for the others

  // The keys in `key`, in byte order; also if it is one. Empty for kStreamFailed and kEnded.
  [[nodiscard]] std::vector<std::string> keys() const;
};

class Driver;
struct WatchState;

// Ends the watch when it is destroyed; its locks then expire. Movable; a moved-from object may only
// be destroyed or assigned to.
class [[nodiscard]] REDLOCK_API Watch {
 public:
  Watch(Watch&&) noexcept;
  Watch& operator=(Watch&&) noexcept;
  ~Watch();

  // Ends the watch. When this returns, the callback has been called for the last time, unless a
  // callback of the library calls this. Thread-safe; a second call does nothing.
  void close();

 private:
  friend class Client;
  Watch(std::shared_ptr<Driver> driver, std::shared_ptr<WatchState> state);

  std::shared_ptr<Driver> driver_;
  std::shared_ptr<WatchState> state_;
};

}  // namespace redlock::client
