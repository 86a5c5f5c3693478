// The Lua scripts that carry out the steps. Each is atomic on its node.
//
// A key holds its owner's token, as `SET key token NX PX ttl` writes it, so that other Redlock
// libraries and redlockd exclude each other. Beside it, `redlockd:meta:{key}` is a hash: `f` the
// fencing token, `o` the owner label, `a` the attempt that acquired the key, `k` the attempt whose
// lock was extended (its roll-back then comes too late). It outlives the key by fence_retention.
//
// Replies begin with a status: see Status. Grants of a lock, and marks, end with the node's clock
// in microseconds.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "server/core/types.h"

namespace redlock::redis {

enum class Script : std::size_t { kAcquire, kHandOver, kExtend, kHeal, kRelease, kInspect, kMark };
inline constexpr std::size_t kScripts = 7;

// First element of each reply; the second is a fence (text) or what is left of a TTL (ms).
enum class Status : long long {
  kGranted = 1,     // fence
  kHeld = 2,        // remaining
  kNotHeld = 3,     // fence
  kStaleFence = 4,  // fence
  kUnmarked = 5,    // the mark
};

// Where the guard leaves its mark (server/core/node_guard.h).
inline constexpr std::string_view kMarkKey = "redlockd:mark";

// Where releases of a key are announced; the message is the key.
[[nodiscard]] inline std::string AnnouncementChannel(const Key& key) {
  return "redlockd:released:" + key.value();
}

// KEYS and ARGV of each script are named in its first lines.
[[nodiscard]] std::string_view Source(Script script);

}  // namespace redlock::redis
