// The Lua script that carries out steps on a node: one call takes many, in order, atomically. A
// script's call costs a node more than most of what is done in it, and so does each of the
// questions that one answer settles for all (the mark, the clock).
//
// A key holds its owner's token, as `SET key token NX PX ttl` writes it, so that other Redlock
// libraries and redlockd exclude each other. Beside it, `redlockd:meta:{key}` is a hash: `f` the
// fencing token, `h` the attempt that acquired the key and the owner label ("123 label"), `k` the
// same once that lock has been extended (its roll-back then comes too late). It outlives the key by
// fence_retention.
#pragma once

#include <string>
#include <string_view>

#include "server/core/types.h"

namespace redlock::redis {

// KEYS: the guard's mark; then of each step the key and its meta (for kMark twice the mark).
// ARGV: the mark's value, '' where it is not looked at; retention of meta in ms; then of each step
// its verb and its arguments: see Verb. Answers an array: an element for each step, and then, where
// a step may have granted a lock or was kMark, the node's clock in µs. An element is kGranted, or
// an array of a Status and what goes with it.
[[nodiscard]] std::string_view StepsSource();

// What a step is called in ARGV, and its arguments there. `held by` is "attempt label", as in meta.
enum class Verb : char {
  kAcquire = 'a',         // token, ttl ms, fence, held by
  kAdopt = 'A',           // the same: extends where the token already holds the key
  kHandOver = 'h',        // from, to, ttl ms, fence, held by
  kExtend = 'e',          // token, ttl ms, raise to (0: as it is)
  kExtendAndAdopt = 'E',  // the same, and the adopting attempt
  kHeal = 'l',            // token, ttl ms, fence
  kRelease = 'r',         // token; announced
  kTakeBack = 'R',        // token, only attempt ('' for any), seal (0 for none), announce (1 or 0)
  kInspect = 'i',         //
  kMark = 'm',            // from ('' for none), to
};

enum class Status : long long {
  // The fence (of an acquisition only where it is another than that proposed), or the number of
  // listeners of a release that is announced; after a hand-over's fence whether `from` held the
  // key; after an inspection's the remaining ms, the token and the label; of a mark, the mark.
  kGranted = 1,
  kHeld = 2,        // remaining ms
  kNotHeld = 3,     // fence, where the release is sealed out by it
  kStaleFence = 4,  // fence
  kUnmarked = 5,    // the mark that was found
  kFailed = 6,      // the node's error
};

// Where the guard leaves its mark (server/core/node_guard.h).
inline constexpr std::string_view kMarkKey = "redlockd:mark";

// Where releases of a key are announced; the message is the key.
[[nodiscard]] inline std::string AnnouncementChannel(const Key& key) {
  return "redlockd:released:" + key.value();
}

}  // namespace redlock::redis
