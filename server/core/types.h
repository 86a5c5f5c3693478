// Value types of the lock domain. Plain data: copyable, independent of threads and clocks.
#pragma once

#include <algorithm>
#include <array>
#include <bitset>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "server/core/shared_text.h"

namespace redlock {

using Duration = std::chrono::nanoseconds;

// Tag of the monotonic clock, which is used for intervals and for all safety decisions. It has no
// now(): see Clock.
struct MonotonicEpoch {
  using duration = Duration;
};
using MonotonicTime = std::chrono::time_point<MonotonicEpoch, Duration>;

// Only for display and for fencing proposals.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

// An immutable string with its own type for each use, so that a key and a token cannot be swapped.
// Copies share the characters, because a lease keeps its key in several places.
template <typename Tag>
class Text {
 public:
  Text() = default;
  explicit Text(std::string_view value) : text_(value) {}
  // Valid as long as this object or a copy of it is.
  [[nodiscard]] std::string_view value() const { return text_.view(); }
  [[nodiscard]] std::string str() const { return std::string(value()); }
  [[nodiscard]] bool empty() const { return text_.empty(); }
  [[nodiscard]] std::size_t hash() const { return text_.hash(); }
  bool operator==(const Text&) const = default;

 private:
  SharedText text_;
};
struct HashText {
  template <typename Tag>
  std::size_t operator()(const Text<Tag>& text) const {
    return text.hash();
  }
};

// What a lease claims: a key of 1 to 512 bytes of UTF-8, or several of them together, exclusively
// or shared with others; or a slot of a semaphore. The core treats all of them alike. Only the
// nodes and the wait queues look at the keys one by one, and at how they are held.
class Key final : public Text<struct KeyTag> {
 public:
  using Text::Text;  // exclusive, of one name, or of a value of another key
  // Exclusive, of one or more distinct names. Their order does not matter.
  [[nodiscard]] static Key Of(std::vector<std::string> names) {
    std::sort(names.begin(), names.end());
    std::string joined;
    for (const std::string& name : names) {
      if (!joined.empty()) joined += kSeparator;
      joined += name;
    }
    return Key(joined);
  }
  // The same names, held in each way.
  [[nodiscard]] Key Shared() const {
    return IsShared() ? *this : Key(kSharedMark + std::string(names()));
  }
  [[nodiscard]] Key Exclusive() const { return IsShared() || IsSemaphore() ? Key(names()) : *this; }
  [[nodiscard]] bool IsShared() const { return value().starts_with(kSharedMark); }
  // A slot of the semaphore with this name, from 1 to `limit`, or 0 for any of them. Of a single
  // key. `limit` is from 2 to kMostSlots.
  [[nodiscard]] Key Slot(int limit, int slot) const {
    return Key(std::string{kSlotMark, static_cast<char>(limit), static_cast<char>(slot)} +
               std::string(names()));
  }
  [[nodiscard]] Key AnySlot() const { return slot() == 0 ? *this : Slot(limit(), 0); }
  [[nodiscard]] bool IsSemaphore() const { return value().starts_with(kSlotMark); }
  // Of a semaphore; otherwise 0.
  [[nodiscard]] int limit() const { return IsSemaphore() ? value()[1] : 0; }
  [[nodiscard]] int slot() const { return IsSemaphore() ? value()[2] : 0; }
  [[nodiscard]] bool IsSeveral() const {
    return names().find(kSeparator) != std::string_view::npos;
  }
  // The text that tells apart what is locked, in whatever way.
  [[nodiscard]] std::string_view names() const {
    const std::string_view text = value();
    if (text.empty()) return text;
    if (text.front() == kSharedMark) return text.substr(1);
    return text.front() == kSlotMark ? text.substr(3) : text;
  }
  // Calls visit(std::string_view name) for each key, in the order of the names.
  void ForEach(auto visit) const {
    std::string_view rest = names();
    for (std::size_t end = 0; end != std::string_view::npos;) {
      end = rest.find(kSeparator);
      visit(rest.substr(0, end));
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
  }
  // The same with visit(const Key&), each of them exclusive.
  void ForEachKey(auto visit) const {
    if (IsSeveral()) {
      ForEach([&visit](std::string_view name) { visit(Key(name)); });
    } else {
      visit(Exclusive());
    }
  }
  [[nodiscard]] bool Contains(const Key& key) const {
    bool contains = false;
    ForEach([&](std::string_view name) { contains = contains || name == key.value(); });
    return contains;
  }
  // For messages: the names, with commas in between.
  [[nodiscard]] std::string InWords() const {
    std::string words;
    ForEach([&words](std::string_view name) {
      if (!words.empty()) words += ", ";
      words += name;
    });
    return words;
  }

 private:
  // None occurs in UTF-8. The marks come first; after that of a slot, the limit and the slot.
  static constexpr char kSeparator = '\xff';
  static constexpr char kSharedMark = '\xfe';
  static constexpr char kSlotMark = '\xfd';
};
inline constexpr int kMostSlots = 64;

// What is stored at a key that is shared or a semaphore, in place of a token. Tokens that begin
// with "redlockd:" are reserved.
inline constexpr std::string_view kSharedMarker = "redlockd:shared";
inline constexpr std::string_view kSemaphoreMarkerPrefix = "redlockd:sem:";  // the limit follows
[[nodiscard]] inline std::string SemaphoreMarker(int limit) {
  return std::string(kSemaphoreMarkerPrefix) + std::to_string(limit);
}
// The limit of the semaphore whose marker this is; 0 if it is another value.
[[nodiscard]] inline int LimitIn(std::string_view marker) {
  if (!marker.starts_with(kSemaphoreMarkerPrefix)) return 0;
  marker.remove_prefix(kSemaphoreMarkerPrefix.size());
  int limit = 0;
  const auto [end, error] = std::from_chars(marker.data(), marker.data() + marker.size(), limit);
  const bool valid = error == std::errc() && end == marker.data() + marker.size();
  return valid && limit >= 2 && limit <= kMostSlots ? limit : 0;
}
[[nodiscard]] inline bool IsMarker(std::string_view value) {
  return value == kSharedMarker || LimitIn(value) != 0;
}

// Slots of one semaphore. Bit i is slot i + 1.
using SlotSet = std::bitset<kMostSlots>;
// The secret that proves ownership: 1 to 128 bytes. Never logged.
using OwnerToken = Text<struct OwnerTokenTag>;
// The prefix of tokens that daemons and client libraries make.
inline constexpr std::string_view kMadeTokenPrefix = "rl-";
// Whether a token is never used for a second hold, so that its release needs no seal (see
// ReleaseStep::seal). The API defines this for the prefix, also for tokens of callers. No request
// names the origin of its token, and another daemon may have made it, so only the
// prefix shows it.
[[nodiscard]] inline bool IsUsedOnce(const OwnerToken& token) {
  return token.value().starts_with(kMadeTokenPrefix);
}

// A human-readable label of the holder: at most kMaxLabelBytes of UTF-8. Not secret.
using OwnerLabel = Text<struct OwnerLabelTag>;
inline constexpr std::size_t kMaxLabelBytes = 128;

// Where a holder comes from: its daemon, identity and address, as words that spaces separate. The
// core stores and returns them but does not read them. At most kMaxOriginBytes of ASCII.
using Origin = Text<struct OriginTag>;
inline constexpr std::size_t kMaxOriginBytes = 320;

// What a holder publishes with the lock: at most kMaxValueBytes of UTF-8. Not secret.
using PublishedValue = Text<struct PublishedValueTag>;
inline constexpr std::size_t kMaxValueBytes = 4096;

// Who holds a key, and what the holder has stored with the lease. Not secret. Only `lock_delay`
// affects what nodes do.
struct Owner {
  OwnerLabel label;
  Origin origin;     // empty: unknown
  Duration since{};  // when the key was acquired, by this daemon's wall clock; 0: unknown
  PublishedValue value;
  std::uint64_t value_number = 0;  // orders the values of one holder; 0: none was proclaimed
  // How long after its TTL a lost lease still keeps others out. The nodes add it to each TTL.
  Duration lock_delay{};
  [[nodiscard]] bool empty() const { return label.empty() && origin.empty(); }
  bool operator==(const Owner&) const = default;
};

// For how long the owner has held the key, at `now` by this daemon's wall clock; nothing if
// unknown.
[[nodiscard]] inline std::optional<Duration> HeldFor(const Owner& owner, WallTime now) {
  if (owner.since <= Duration::zero()) return std::nullopt;
  return std::max(now.time_since_epoch() - owner.since, Duration::zero());
}

// Merges what two nodes know of the same holder: the newest value, the longer delay, and the later
// time of acquisition. A node on which the lease was restored may know less than others.
[[nodiscard]] inline Owner BetterKnown(Owner one, const Owner& other) {
  if (one.empty()) {
    one.label = other.label;
    one.origin = other.origin;
  }
  one.since = std::max(one.since, other.since);
  one.lock_delay = std::max(one.lock_delay, other.lock_delay);
  const bool newer = other.value_number > one.value_number;
  if (newer || (other.value_number == one.value_number && one.value.empty())) {
    one.value = other.value;
    one.value_number = other.value_number;
  }
  return one;
}

// Strictly increases over successive holders of a key. 0: none. Below 2^53, because Redis' Lua
// computes in doubles; proposals follow the wall clock in microseconds, which reaches 2^53 in 2255.
struct FencingToken {
  std::uint64_t value = 0;
  auto operator<=>(const FencingToken&) const = default;
};
inline constexpr FencingToken kMaxFencingToken{(std::uint64_t{1} << 53) - 1};

// Identifies one acquisition attempt across all daemons. A roll-back names it. Not secret.
struct AttemptId {
  std::uint64_t value = 0;
  bool operator==(const AttemptId&) const = default;
};

// The stream that a lease belongs to: the one that acquired or adopted it last. Each node stores
// it. The end of a stream deletes a key only on the nodes that name this very stream.
//
// Ordered by `number`, so that a delayed adoption does not replace a later one. For an acquisition,
// the number is the proposed fence; for an adoption, it is AdoptOperation.sequence or a number
// proposed like a fence.
struct Keeper {
  std::uint64_t number = 0;
  AttemptId id;
  bool operator==(const Keeper&) const = default;
};

// Index of a node in the configured list.
using NodeIndex = std::size_t;

// One node's answer in one round. kError and kTimeout mean that the result is unknown; they are not
// denials.
enum class Outcome {
  kGranted,
  kHeld,
  kNotHeld,
  kStaleFence,
  kError,
  kTimeout,
  kQuarantined,
  kOtherSet,  // the node belongs to another node set or epoch
};

inline constexpr std::array kOutcomes = {
    Outcome::kGranted, Outcome::kHeld,    Outcome::kNotHeld,     Outcome::kStaleFence,
    Outcome::kError,   Outcome::kTimeout, Outcome::kQuarantined, Outcome::kOtherSet};

[[nodiscard]] constexpr std::string_view ToString(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGranted:
      return "granted";
    case Outcome::kHeld:
      return "held";
    case Outcome::kNotHeld:
      return "not held";
    case Outcome::kStaleFence:
      return "stale fence";
    case Outcome::kError:
      return "error";
    case Outcome::kTimeout:
      return "timeout";
    case Outcome::kQuarantined:
      return "quarantined";
    case Outcome::kOtherSet:
      return "other node set";
  }
  return "?";
}

// Whether the state of the node is unknown after this outcome. The node may hold the key, so the
// step must be rolled back there. A quarantined node may have granted a vote that does not count.
[[nodiscard]] constexpr bool IsUnknown(Outcome outcome) {
  return outcome == Outcome::kError || outcome == Outcome::kTimeout ||
         outcome == Outcome::kQuarantined || outcome == Outcome::kOtherSet;
}

struct Vote {
  NodeIndex node = 0;
  Outcome outcome = Outcome::kError;
  std::string message;  // of an error; never contains a token
  Duration latency{};   // since the round began
};
using Votes = std::vector<Vote>;

[[nodiscard]] inline bool Any(const Votes& votes, Outcome outcome) {
  return std::any_of(votes.begin(), votes.end(),
                     [outcome](const Vote& vote) { return vote.outcome == outcome; });
}

struct Lease {
  Key key;
  OwnerToken token;
  FencingToken fence;
  std::optional<Keeper> keeper;  // set by an acquisition, or by an extension for a stream
  Duration validity{};           // remaining at the decision
  MonotonicTime valid_until{};   // the end of the validity
};

// Why an operation failed: the reasons of the API contract that the core decides.
enum class Reason {
  kLockAlreadyHeld,
  kMaxRetriesExceeded,
  kValidityExpired,
  kLockNotHeld,
  kQuorumUnavailable,
  kDraining,
  kOverloaded,
  kDeadlineExceeded,
  kCancelled,
  kNodeSetMismatch,
  kPermissionDenied,
  kKindMismatch,
};

inline constexpr std::array kReasons = {
    Reason::kLockAlreadyHeld, Reason::kMaxRetriesExceeded, Reason::kValidityExpired,
    Reason::kLockNotHeld,     Reason::kQuorumUnavailable,  Reason::kDraining,
    Reason::kOverloaded,      Reason::kDeadlineExceeded,   Reason::kCancelled,
    Reason::kNodeSetMismatch, Reason::kPermissionDenied,   Reason::kKindMismatch};
static_assert(static_cast<std::size_t>(kReasons.back()) + 1 == kReasons.size());

[[nodiscard]] constexpr std::string_view ToString(Reason reason) {
  switch (reason) {
    case Reason::kLockAlreadyHeld:
      return "LOCK_ALREADY_HELD";
    case Reason::kMaxRetriesExceeded:
      return "MAX_RETRIES_EXCEEDED";
    case Reason::kValidityExpired:
      return "VALIDITY_EXPIRED";
    case Reason::kLockNotHeld:
      return "LOCK_NOT_HELD";
    case Reason::kQuorumUnavailable:
      return "QUORUM_UNAVAILABLE";
    case Reason::kDraining:
      return "DRAINING";
    case Reason::kOverloaded:
      return "OVERLOADED";
    case Reason::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case Reason::kCancelled:
      return "CANCELLED";
    case Reason::kNodeSetMismatch:
      return "NODE_SET_MISMATCH";
    case Reason::kPermissionDenied:
      return "PERMISSION_DENIED";
    case Reason::kKindMismatch:
      return "KIND_MISMATCH";
  }
  return "?";
}

// Whether too few nodes were able to decide.
[[nodiscard]] constexpr bool IsOutage(Reason reason) {
  return reason == Reason::kQuorumUnavailable || reason == Reason::kNodeSetMismatch;
}

struct Error {
  Reason reason = Reason::kQuorumUnavailable;
  std::string message;
  Duration retry_after{};  // 0: no advice
  // Of an acquisition: the holder that refused the key, as far as it is known. If several hold it,
  // the one whose lease expires last.
  Owner owner = {};
  // Of an acquisition: how many share the key, or have a slot of the semaphore. 0: the key is not
  // held in this way, or the number is unknown.
  int holders = 0;
  // Of an acquisition that was cancelled or ran into its deadline: why its last attempt failed.
  std::optional<Reason> last_reason = {};
  // With kKindMismatch: how the key is in use, for example "a semaphore of 5".
  std::string in_use_as = {};
};

}  // namespace redlock
