// The results of the client's calls: a value, or an error with a reason.
//
// Values of these types are ordinary values: different threads may use different objects.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

// The functions and classes that a shared library exports.
#define REDLOCK_API [[gnu::visibility("default")]]

namespace redlock::client {

using Duration = std::chrono::nanoseconds;

// Why a call failed. The same reasons as in proto/redlock/v1/lock_service.proto.
enum class Reason {
  kLockAlreadyHeld,  // another holder has the lock (single try only); see retry_after
  kMaxRetriesExceeded,
  kValidityExpired,    // acquired too late to be useful; rolled back
  kLockNotHeld,        // the lock is not held, or no longer held
  kKindMismatch,       // the key is in use as a lock, or as a semaphore of another limit
  kQuorumUnavailable,  // too few Redis nodes answered
  kNodeSetMismatch,    // the daemon and the nodes do not agree on the node set
  kDraining,
  kOverloaded,        // see retry_after
  kDeadlineExceeded,  // AcquireOptions::wait, or the time for the call, has passed
  kCancelled,         // by the stop token, or because the client was destroyed
  kInvalidArgument,   // the message names the field
  kUnauthenticated,
  kPermissionDenied,
  kUnreachable,  // no daemon answered; the message says why for each endpoint
  kInternal,
};
// The name of the reason in the proto, such as "LOCK_ALREADY_HELD".
[[nodiscard]] REDLOCK_API const char* to_string(Reason reason);

struct Error {
  Reason reason = Reason::kInternal;
  std::string message;     // for humans; not stable; contains no token
  Duration retry_after{};  // the delay before a retry; 0: unknown
  // The label of the holder that refused the lock; empty: unknown. For kLockAlreadyHeld,
  // kMaxRetriesExceeded and kDeadlineExceeded. Another client chose it: escape it for a terminal.
  std::string holder;
  // For how long that holder has held the lock; unset: unknown.
  std::optional<Duration> held_for = {};
  // For kKindMismatch: how the key is in use, "a lock" or for example "a semaphore of 5".
  std::string in_use_as = {};
};

// The exception of Result::value() and of Mutex. Nothing else throws it.
class REDLOCK_API LockError : public std::runtime_error {
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

}  // namespace redlock::client
