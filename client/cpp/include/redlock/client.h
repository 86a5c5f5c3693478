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
// exceptions that leave a callback. To link: find_package(redlockd), redlock::client.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace redlock::client {

using Duration = std::chrono::nanoseconds;

// Why a call failed. The same reasons as in proto/redlock/v1/lock_service.proto.
enum class Reason {
  kLockAlreadyHeld,  // another holder has the lock (single try only); see retry_after
  kMaxRetriesExceeded,
  kValidityExpired,    // acquired too late to be useful; rolled back
  kLockNotHeld,        // the lock is not held, or no longer held
  kQuorumUnavailable,  // too few Redis nodes answered
  kNodeSetMismatch,    // the daemon and the nodes do not agree on the node set
  kDraining,
  kOverloaded,        // see retry_after
  kDeadlineExceeded,  // AcquireOptions::wait has passed
  kCancelled,         // by the stop token, or because the client was destroyed
  kInvalidArgument,   // the message names the field
  kUnauthenticated,
  kPermissionDenied,
  kUnreachable,  // no daemon answered at any endpoint
  kInternal,
};
// The name of the reason in the proto, such as "LOCK_ALREADY_HELD".
[[nodiscard]] const char* to_string(Reason reason);

struct Error {
  Reason reason = Reason::kInternal;
  std::string message;     // for humans; not stable
  Duration retry_after{};  // the delay before a retry; 0: unknown
};

// The exception of Result::value(). Nothing else throws it.
class LockError : public std::runtime_error {
 public:
  explicit LockError(Error error) : std::runtime_error(error.message), error_(std::move(error)) {}
  [[nodiscard]] const Error& error() const { return error_; }

 private:
  Error error_;
};

// A value or an Error, like std::expected<T, Error> in C++23. Access to the alternative that is not
// there is undefined behaviour, except through value().
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: as std::expected
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  [[nodiscard]] bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  [[nodiscard]] T& operator*() & { return *std::get_if<0>(&state_); }
  [[nodiscard]] const T& operator*() const& { return *std::get_if<0>(&state_); }
  [[nodiscard]] T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  [[nodiscard]] T* operator->() { return std::get_if<0>(&state_); }
  [[nodiscard]] const T* operator->() const { return std::get_if<0>(&state_); }
  [[nodiscard]] const Error& error() const { return *std::get_if<1>(&state_); }
  // Throws LockError if there is no value.
  [[nodiscard]] T value() && {
    if (!has_value()) throw LockError(error());
    return std::move(**this);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: as std::expected

  [[nodiscard]] bool has_value() const { return !error_; }
  explicit operator bool() const { return has_value(); }
  [[nodiscard]] const Error& error() const { return *error_; }
  void value() const {
    if (error_) throw LockError(*error_);
  }

 private:
  std::optional<Error> error_;
};

struct Options {
  // "host:port" or "unix:/path", tried in turn. DNS may resolve a host to several addresses.
  std::vector<std::string> endpoints = {"127.0.0.1:50051"};
  std::string ca_file;                     // PEM; enables TLS with these CAs
  bool tls = false;                        // enables TLS with the system's CAs
  std::string certificate_file, key_file;  // PEM; the client certificate, if the daemon needs one
  std::string token_file;                  // contains a bearer token; read for each connection
  Duration connect_timeout = std::chrono::seconds(2);  // for each endpoint
  // If the daemon has read nothing from the client for this long, it releases the client's locks,
  // for example after a crash of the client. The client sends pings to prevent this. It trusts its
  // locks for at most this time after the last message that the daemon has answered. At least
  // 100 ms, at most the daemon's --max-ttl.
  Duration grace = std::chrono::seconds(5);
  // gRPC sends a keepalive ping on a connection that is silent for keepalive_time, and closes the
  // connection if no reply arrives within keepalive_timeout.
  Duration keepalive_time = std::chrono::seconds(3);
  Duration keepalive_timeout = std::chrono::seconds(2);
};

struct AcquireOptions {
  Duration ttl = std::chrono::seconds(30);  // from 10 ms to the daemon's --max-ttl
  // How long to wait for the lock. Unset: without a limit; zero: a single try.
  std::optional<Duration> wait;
  std::stop_token stop;  // a stop request gives up waiting
  // The owner token, the secret that proves ownership; at most 128 bytes. Empty: the client makes
  // one. A token of your own may be used for another lock only after release() has succeeded.
  std::string token;
  std::string owner;  // a label for humans, at most 128 bytes; redlockctl inspect shows it
  // lost() fires when at most this much of the validity is left, so that there is time to stop.
  // From 0 to a third of the TTL or of Options::grace, whichever is less. Unset: a tenth of the TTL
  // or of Options::grace, whichever is less, and at most 500 ms.
  std::optional<Duration> margin;
  // Called with the number of waiters ahead in the daemon's wait queue when waiting begins, and
  // whenever the number changes.
  std::function<void(int position)> queued;
};

class Driver;
struct HeldLease;

// A held lock. The destructor releases it in the background, without blocking. Movable; a
// moved-from object holds nothing and may only be destroyed or assigned to.
class [[nodiscard]] Lock {
 public:
  Lock(Lock&&) noexcept;
  Lock& operator=(Lock&&) noexcept;
  ~Lock();

  [[nodiscard]] const std::string& key() const;
  // The owner token, the secret that proves ownership. With it, another process can extend or
  // release the lock.
  [[nodiscard]] const std::string& token() const;
  // Higher than the fencing token of every earlier holder. Pass it to the storage that the lock
  // protects. It may grow while the lock is held.
  [[nodiscard]] std::uint64_t fencing_token() const;
  // How long the lock can be trusted if no further message arrives; 0 once the lock is lost or
  // released. The daemon keeps extending the lock.
  [[nodiscard]] Duration validity() const;
  [[nodiscard]] bool held() const { return validity() > Duration::zero(); }
  // Fires when the lock is lost or about to be lost (AcquireOptions::margin), and when the client
  // is destroyed; not on release. The work that the lock protects must stop then.
  [[nodiscard]] std::stop_token lost() const;
  // Like validity(), but also valid after lost() has fired: how long no other client can hold the
  // lock yet. Zero if the daemon has reported the loss.
  [[nodiscard]] Duration time_to_stop() const;
  // Why the lock was lost; std::nullopt if it was not lost.
  [[nodiscard]] std::optional<Error> loss() const;

  // Releases the lock and waits for the answer, at most 2 s; after that, the release continues in
  // the background. Fails with kLockNotHeld if the lock was lost before. A second release does
  // nothing and succeeds.
  Result<void> release();
  // Extends the lock to at least `ttl` from now. Rarely needed: the daemon keeps extending the lock
  // by the TTL of the acquisition. An extension never shortens the validity.
  Result<void> extend(Duration ttl);

 private:
  friend class Client;
  Lock(std::shared_ptr<Driver> driver, std::shared_ptr<HeldLease> lease);
  void Drop();

  std::shared_ptr<Driver> driver_;
  std::shared_ptr<HeldLease> lease_;
};

class Client {
 public:
  // Connects in the background and reconnects when necessary. Throws std::invalid_argument if
  // `options` are invalid: no endpoint, a file that cannot be read, or a grace below 100 ms.
  explicit Client(Options options = {});
  // Releases all locks and gives up all waiting calls. Takes at most about 2 s.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Acquires the lock; waits for it as long as `options` allow.
  Result<Lock> acquire(const std::string& key, AcquireOptions options = {});
  // The same without blocking the caller. `done` is called exactly once.
  std::future<Result<Lock>> acquire_async(const std::string& key, AcquireOptions options = {});
  void acquire_async(const std::string& key, AcquireOptions options,
                     std::function<void(Result<Lock>)> done);

  // Calls f(const Lock&) while the lock is held, then releases the lock. Returns the result of f if
  // the lock was still held after f returned, otherwise the error of the loss or of the release.
  // Exceptions of f propagate.
  template <typename F>
  auto with_lock(const std::string& key, AcquireOptions options, F&& f)
      -> Result<std::invoke_result_t<F, const Lock&>> {
    Result<Lock> lock = acquire(key, std::move(options));
    if (!lock) return lock.error();
    if constexpr (std::is_void_v<std::invoke_result_t<F, const Lock&>>) {
      std::forward<F>(f)(std::as_const(*lock));
      return lock->release();
    } else {
      auto value = std::forward<F>(f)(std::as_const(*lock));
      if (const auto released = lock->release(); !released) return released.error();
      return value;
    }
  }

 private:
  std::shared_ptr<Driver> driver_;
};

}  // namespace redlock::client
