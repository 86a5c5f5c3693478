#include "client/cpp/core/validation.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "client/cpp/core/keys.h"

namespace redlock::client {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kLongestKey = 512;
constexpr std::size_t kMostKeys = 64;
constexpr std::size_t kMostKeyBytes = 8192;  // of several keys together
constexpr std::size_t kLongestToken = 128;
constexpr std::size_t kLongestValue = 4096;
constexpr std::string_view kReserved = "redlockd:";
constexpr Duration kShortestTtl = milliseconds(10);
constexpr Duration kLongestTtl = std::chrono::hours(24);  // the highest --max-ttl of a daemon
constexpr Duration kLongestDelay = std::chrono::hours(24);
constexpr Duration kShortestKeepFor = milliseconds(1);
constexpr Duration kShortestInterval = milliseconds(1);
constexpr Duration kLongestMargin = milliseconds(500);  // by default
// The daemon extends a lock when about half of its TTL is left. A margin close to that would signal
// a loss before the extension arrives.
constexpr int kMarginFraction = 3;

// The length of a UTF-8 sequence and the smallest code point of that length. 0 bytes: not a valid
// first byte.
struct Utf8Length {
  int bytes;
  char32_t smallest;
};
Utf8Length LengthOf(unsigned char first) {
  if (first < 0x80) return {1, 0};
  if ((first & 0xE0U) == 0xC0) return {2, 0x80};
  if ((first & 0xF0U) == 0xE0) return {3, 0x800};
  if ((first & 0xF8U) == 0xF0) return {4, 0x10000};
  return {0, 0};
}

// The length of the UTF-8 character at the start of the text; 0 if there is none.
std::size_t CharacterAtStart(std::string_view text) {
  if (text.empty()) return 0;
  const auto first = static_cast<unsigned char>(text.front());
  const auto [bytes, smallest] = LengthOf(first);
  if (bytes == 0 || text.size() < static_cast<std::size_t>(bytes)) return 0;
  char32_t point = bytes == 1 ? first : first & (0x7FU >> bytes);
  for (std::size_t i = 1; i < static_cast<std::size_t>(bytes); ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xC0U) != 0x80) return 0;
    point = point << 6U | (next & 0x3FU);
  }
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  if (point < smallest || point > 0x10FFFF || surrogate) return 0;
  return static_cast<std::size_t>(bytes);
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t bytes = CharacterAtStart(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

Error Invalid(const std::string& what) { return {Reason::kInvalidArgument, what}; }

std::optional<Error> CheckText(const std::string& field, const std::string& text,
                               std::size_t longest) {
  if (text.size() > longest) {
    return Invalid(field + ": has " + std::to_string(text.size()) + " bytes; use at most " +
                   std::to_string(longest));
  }
  if (!IsUtf8(text)) return Invalid(field + ": is not valid UTF-8");
  return std::nullopt;
}

std::optional<Error> CheckName(const std::string& name) {
  if (name.empty()) return Invalid("key: must not be empty");
  if (name.starts_with(kReserved)) {
    return Invalid("key: must not begin with \"redlockd:\", which is reserved");
  }
  return CheckText("key", name, kLongestKey);
}

std::optional<Error> CheckSemaphore(const std::string& key) {
  if (LimitOf(key) == kOutOfRange) return Invalid("max_holders: must be from 2 to 64");
  if (SlotOf(key) == kOutOfRange) return Invalid("slot: must be from 1 to max_holders");
  const std::vector<std::string> names = NamesOf(key);
  if (names.size() > 1) return Invalid("key: a semaphore has a single key");
  if (IsShared(names.front())) return Invalid("key: a semaphore is not shared");
  return CheckName(names.front());
}

}  // namespace

std::optional<Error> CheckTtl(Duration ttl) {
  if (ttl < kShortestTtl) return Invalid("ttl: must be at least 10 ms, not " + InWords(ttl));
  if (ttl > kLongestTtl) {
    return Invalid(
        "ttl: must be at most 24 h, and at most the daemon's --max-ttl; the client keeps the lock "
        "alive, so a short TTL is enough");
  }
  return std::nullopt;
}

std::optional<Error> CheckKey(const std::string& key) {
  if (IsSemaphore(key)) return CheckSemaphore(key);
  const std::vector<std::string> names = NamesOf(key);
  // Such a key does not come from together(): it is a single one with the bytes of the separator.
  if (!std::is_sorted(names.begin(), names.end())) return Invalid("key: is not valid UTF-8");
  if (names.size() > kMostKeys) {
    return Invalid("keys: there are " + std::to_string(names.size()) + "; lock at most " +
                   std::to_string(kMostKeys) + " together");
  }
  for (const std::string& name : names) {
    if (auto error = CheckName(name)) return error;
  }
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) return Invalid("keys: the key " + *twice + " occurs twice");
  const std::size_t bytes = key.size() - (names.size() - 1) - (IsShared(key) ? 1 : 0);
  if (bytes > kMostKeyBytes) {
    return Invalid("keys: have " + std::to_string(bytes) + " bytes together; use at most " +
                   std::to_string(kMostKeyBytes));
  }
  return std::nullopt;
}

std::optional<Error> CheckToken(const std::string& token, bool needed) {
  if (needed && token.empty()) return Invalid("token: must not be empty");
  if (token.starts_with(kReserved)) {
    return Invalid("token: must not begin with \"redlockd:\", which is reserved");
  }
  return CheckText("token", token, kLongestToken);
}

std::optional<Error> CheckOwner(const std::string& owner) {
  return CheckText("owner", owner, kLongestOwner);
}

std::optional<Error> CheckValue(const std::string& value) {
  return CheckText("value", value, kLongestValue);
}

std::optional<Error> CheckLockDelay(Duration lock_delay) {
  if (lock_delay >= Duration{} && lock_delay <= kLongestTtl) return std::nullopt;
  return Invalid(
      "lock_delay: must be from 0 to 24 h, and with the ttl at most the daemon's --max-ttl");
}

std::optional<Error> CheckKeepFor(const std::optional<Duration>& keep_for) {
  if (!keep_for || (*keep_for >= kShortestKeepFor && *keep_for <= kLongestTtl)) return std::nullopt;
  return Invalid("keep_for: must be from 1 ms to 24 h, and at most the daemon's --max-ttl");
}

std::optional<Error> CheckRetry(const std::optional<RetryPolicy>& retry) {
  if (!retry) return std::nullopt;
  if (retry->max_retries < -1) {
    return Invalid("retry.max_retries: must be -1 (no limit), 0 (a single attempt) or more, not " +
                   std::to_string(retry->max_retries));
  }
  const auto outside = [](const std::optional<Duration>& delay) {
    return delay && (*delay < Duration{} || *delay > kLongestDelay);
  };
  if (outside(retry->min_delay)) return Invalid("retry.min_delay: must be from 0 to 24 h");
  if (outside(retry->max_jitter)) return Invalid("retry.max_jitter: must be from 0 to 24 h");
  return std::nullopt;
}

std::optional<Error> CheckWait(const std::optional<Duration>& wait) {
  if (!wait || *wait >= Duration{}) return std::nullopt;
  return Invalid("wait: must not be negative; 0 is a single try");
}

std::optional<Error> CheckInterval(const std::optional<Duration>& interval, Duration ttl) {
  if (!interval || (*interval >= kShortestInterval && *interval < ttl)) return std::nullopt;
  return Invalid("interval: must be at least 1 ms and less than the ttl of " + InWords(ttl));
}

std::string CutToUtf8(std::string_view text, std::size_t longest) {
  std::string cut;
  while (!text.empty()) {
    const std::size_t bytes = CharacterAtStart(text);
    if (cut.size() + bytes > longest) break;
    cut += text.substr(0, bytes);
    text.remove_prefix(std::max<std::size_t>(bytes, 1));
  }
  return cut;
}

std::optional<Error> Check(const AcquireCommand& command, Duration grace) {
  if (auto error = CheckKey(command.key)) return error;
  if (auto error = CheckToken(command.token, command.way != Way::kAcquire)) return error;
  if (auto error = CheckOwner(command.owner)) return error;
  if (auto error = CheckTtl(command.ttl)) return error;
  if (auto error = CheckWait(command.wait)) return error;
  if (auto error = CheckRetry(command.retry)) return error;
  if (auto error = CheckValue(command.value)) return error;
  if (auto error = CheckLockDelay(command.lock_delay)) return error;
  if (auto error = CheckKeepFor(command.keep_for)) return error;
  const Duration longest = std::min(command.ttl, grace) / kMarginFraction;
  if (command.margin && (*command.margin < Duration{} || *command.margin > longest)) {
    return Invalid("margin: must be from 0 to " + InWords(longest) +
                   " (a third of the TTL or of the client's grace, whichever is less), not " +
                   InWords(*command.margin));
  }
  return std::nullopt;
}

Duration MarginOf(const AcquireCommand& command, Duration grace) {
  return command.margin.value_or(std::min({command.ttl / 10, grace / 10, kLongestMargin}));
}

}  // namespace redlock::client
