// Checks the arguments of a call before anything is sent, so that an invalid value fails only that
// call.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "client/cpp/core/time.h"
#include "redlock/options.h"

namespace redlock::client {

// How a caller comes to hold a lock.
enum class Way {
  kAcquire,
  kAcquireOrExtend,  // the caller's token may hold the lock already
  kAdopt,            // the caller's token holds the lock; never acquires
};

struct AcquireCommand {
  std::string key;
  Duration ttl{};
  std::optional<Duration> wait;  // unset: without a limit; zero: a single try
  std::string token;             // empty: the client makes one
  std::string owner;
  std::optional<Duration> margin;  // unset: see MarginOf()
  std::optional<RetryPolicy> retry;
  Way way = Way::kAcquire;
  std::string value;
  Duration lock_delay{};
  std::optional<Duration> keep_for;  // of the release if the caller does not release the lock
};

// Returns an error if an argument is invalid. `grace` is the Session's disconnect_grace.
[[nodiscard]] std::optional<Error> Check(const AcquireCommand& command, Duration grace);
[[nodiscard]] std::optional<Error> CheckTtl(Duration ttl);
[[nodiscard]] std::optional<Error> CheckKey(const std::string& key);
// The token may be empty unless it is `needed`.
[[nodiscard]] std::optional<Error> CheckToken(const std::string& token, bool needed);
[[nodiscard]] std::optional<Error> CheckOwner(const std::string& owner);
[[nodiscard]] std::optional<Error> CheckValue(const std::string& value);
[[nodiscard]] std::optional<Error> CheckLockDelay(Duration lock_delay);
[[nodiscard]] std::optional<Error> CheckKeepFor(const std::optional<Duration>& keep_for);
[[nodiscard]] std::optional<Error> CheckRetry(const std::optional<RetryPolicy>& retry);
// The limit of a time to wait.
[[nodiscard]] std::optional<Error> CheckWait(const std::optional<Duration>& wait);
[[nodiscard]] std::optional<Error> CheckInterval(const std::optional<Duration>& interval,
                                                 Duration ttl);

// Returns the text without what follows its first `longest` bytes of whole characters, and without
// bytes that are not UTF-8.
[[nodiscard]] std::string CutToUtf8(std::string_view text, std::size_t longest);
inline constexpr std::size_t kLongestOwner = 128;

// Returns how much trust is left when the loss of the lock is signalled.
[[nodiscard]] Duration MarginOf(const AcquireCommand& command, Duration grace);

}  // namespace redlock::client
