// Locks by redlockd, from C++20.
//
//   redlock::client::Client client({.endpoints = {"10.0.0.1:50051", "10.0.0.2:50051"}});
//   auto lock = client.acquire("reports", {.ttl = 30s, .wait = 10s});
//   if (!lock) return fail(lock.error().message);
//   write(report, lock->fencing_token());        // and stop once lock->lost().stop_requested()
//
// All locks of a client share one stream (Session) to one daemon, which keeps them alive. If the
// stream breaks, the daemon shuts down or falls silent, the client opens another stream at the next
// endpoint, and the daemon there adopts the locks. If none can do so in time, `lost()` fires before
// another client can have the lock, by a clock of this machine that counts suspends.
//
// Everything in here may be used from any thread. Callbacks run on the library's own threads. They
// must neither block nor wait for this library; an exception that leaves one is dropped. Links
// with: find_package(redlockd), redlock::client.
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

// Why something failed; as in the contract (proto/redlock/v1/lock_service.proto).
enum class Reason {
  kLockAlreadyHeld,  // a single try found another holder; see retry_after
  kMaxRetriesExceeded,
  kValidityExpired,    // won too late to be of use; rolled back
  kLockNotHeld,        // the lock is not, or no longer, held
  kQuorumUnavailable,  // too few Redis nodes answered
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
// "LOCK_ALREADY_HELD" and so on.
[[nodiscard]] const char* to_string(Reason reason);

struct Error {
  Reason reason = Reason::kInternal;
  std::string message;     // for people
  Duration retry_after{};  // 0: no advice
};

// Thrown by Result::value() only.
class LockError : public std::runtime_error {
 public:
  explicit LockError(Error error) : std::runtime_error(error.message), error_(std::move(error)) {}
  [[nodiscard]] const Error& error() const { return error_; }

 private:
  Error error_;
};

// What std::expected<T, Error> is in C++23. Reading the wrong half is undefined, but for value().
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
  // Throws LockError.
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
  // "host:port", a name that DNS knows several addresses of, or "unix:/path". Tried in turn.
  std::vector<std::string> endpoints = {"127.0.0.1:50051"};
  std::string ca_file;                     // PEM; TLS is used where it is set, or by `tls`
  bool tls = false;                        // with the system's CAs
  std::string certificate_file, key_file;  // PEM; a client certificate, where one is wanted
  std::string token_file;                  // a bearer token; read at each connection
  Duration connect_timeout = std::chrono::seconds(2);  // of one endpoint
  // If the daemon has read nothing from the client for this long, it releases the client's locks:
  // so soon are the locks of a crashed client free. The client sends pings, and trusts its locks
  // for no longer than this after the last sign of the daemon. At least 100 ms, at most --max-ttl.
  Duration grace = std::chrono::seconds(5);
  Duration keepalive_time = std::chrono::seconds(3);     // a silent daemon is asked for a sign, and
  Duration keepalive_timeout = std::chrono::seconds(2);  // left for another one after that
};

struct AcquireOptions {
  Duration ttl = std::chrono::seconds(30);  // 10 ms to the daemon's --max-ttl
  // How long to wait for the lock: nothing for as long as it takes, zero for a single try.
  std::optional<Duration> wait;
  std::stop_token stop;  // gives up waiting
  // The secret that proves ownership; empty: the client makes one. A token of your own may be used
  // for another lock only after release() has succeeded.
  std::string token;
  std::string owner;  // a label for people, at most 128 bytes; redlockctl inspect shows it
  // lost() fires when no more than this of the validity is left, so that there is time to stop.
  // Unset: a tenth of the TTL or of Options::grace, at most 500 ms. At most half of Options::grace.
  std::optional<Duration> margin;
  // How many are before it in the daemon's queue; when waiting begins, and when it changes.
  std::function<void(int position)> queued;
};

class Driver;
struct HeldLease;

// A held lock. Released when it is destroyed, without waiting for that. Movable; an object that was
// moved from holds nothing, and may only be destroyed or assigned to.
class [[nodiscard]] Lock {
 public:
  Lock(Lock&&) noexcept;
  Lock& operator=(Lock&&) noexcept;
  ~Lock();

  [[nodiscard]] const std::string& key() const;
  // The secret that proves ownership: lets another process extend or release the lock.
  [[nodiscard]] const std::string& token() const;
  // Higher than that of any holder before. Hand it to the storage that the lock protects. It may
  // grow while the lock is held.
  [[nodiscard]] std::uint64_t fencing_token() const;
  // For how long the lock can be trusted if nothing is heard any more; 0 once it is lost or
  // released. The daemon extends it all the while.
  [[nodiscard]] Duration validity() const;
  [[nodiscard]] bool held() const { return validity() > Duration::zero(); }
  // Fires when the lock is lost, or about to be (AcquireOptions::margin), or the client is
  // destroyed; not at a release. The work that the lock protects has to stop then.
  [[nodiscard]] std::stop_token lost() const;
  // As validity(), but after lost() has fired: for how long nobody else can hold the lock yet. Zero
  // if the daemon has reported the loss.
  [[nodiscard]] Duration time_to_stop() const;
  // Why it was lost; nothing while it is held.
  [[nodiscard]] std::optional<Error> loss() const;

  // Gives the lock back, and waits for the answer, for 2 s at most; the release then goes on in the
  // background. kLockNotHeld if the lock was lost before. Does nothing if it has been released.
  Result<void> release();
  // Makes it last for `ttl` from now. The daemon extends it by the TTL that it was acquired with
  // all the while; no extension shortens what is left.
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
  // Connects in the background, and again whenever it has to. Throws std::invalid_argument if
  // `options` cannot be used: no endpoint, or a file that cannot be read.
  explicit Client(Options options = {});
  // Releases all locks and gives up all that waits. Takes about 2 s at most.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Waits for the lock, as the options say.
  Result<Lock> acquire(const std::string& key, AcquireOptions options = {});
  // The same, without blocking the caller.
  std::future<Result<Lock>> acquire_async(const std::string& key, AcquireOptions options = {});
  void acquire_async(const std::string& key, AcquireOptions options,
                     std::function<void(Result<Lock>)> done);

  // Calls f(const Lock&) while the lock is held, and releases it. What f returns counts only if the
  // lock was still held then: else the error is that of the loss. Exceptions of f are passed on.
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
