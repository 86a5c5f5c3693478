// The Lua script that carries out steps on a node: one call takes many, in order, atomically. A
// script's call costs a node more than most of what is done in it, and so does each of the
// questions that one answer settles for all (the mark, the clock).
//
// A key holds its owner's token, as `SET key token NX PX ttl` writes it, so that other Redlock
// libraries and redlockd exclude each other. Beside it, `redlockd:meta:{key}` is a hash that
// outlives the key by fence_retention:
//   f  the fencing token
//   t  whom it belongs to: a digest of the owner's token, a space, and the owner's label. If the
//      digest is not that of the token at the key, another library has taken the key since.
//   w  the stream that the lease belongs to: its number, a space, and its id (see Keeper in
//      server/core/types.h). The id is "-" if the lease has been extended by other means since.
//      Missing: no stream's end deletes the key.
//   a  present until the lease has been extended: the acquisition can still be rolled back
// An extension must work on a node that has reached its maxmemory, so it needs no command that asks
// for memory, unless it has something new to store.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/core/types.h"

namespace redlock::redis {

// KEYS: the guard's mark; then of each step the key and its meta (for kMark twice the mark).
// ARGV: the mark's value, '' where it is not looked at; retention of meta in ms; then of each step
// its verb and its arguments: see StepKind. Answers an array: an element for each step, and then,
// if a step may have granted a lock or was kMark, the node's clock in µs. An element is kGranted,
// or an array of a Status and what goes with it.
[[nodiscard]] std::string_view StepsSource();

// What a step is called in ARGV, and its arguments there. `held by` is "attempt label", as in meta.
enum class StepKind : char {
  kAcquire = 'a',   // token, ttl ms, fence, holder (as in meta's t), attempt
  kAdopt = 'A',     // the same: extends if the token already holds the key
  kHandOver = 'h',  // from, to, ttl ms, fence, holder, attempt
  kExtend =
      'e',      // token, ttl ms, raise to (0: as it is), digest, keeper's number ('' for none), id
  kTake = 'E',  // the same: the lease belongs to that keeper from then on
  kRepair = 'l',    // token, ttl ms, fence, digest, keeper (as in meta's w; '' for none)
  kRelease = 'r',   // token; announced
  kTakeBack = 'R',  // token, only attempt ('' for any), seal (0 for none), announce (1 or 0),
                    // number and id of the keeper whose end it is ('' for none)
  kInspect = 'i',   //
  kMark = 'm',      // from ('' for none), to
};

enum class Status : long long {
  // Of an acquisition, the fence if it is another than that proposed; of an adoption and an
  // extension,
  // the fence (negative if it is an earlier holder's) and the keeper; of a heal, the fence; of a
  // release,
  // the number of listeners and whether it was sealed (1 or 0), both left out if they are 0; of a
  // hand-over, the fence and whether `from` held the key; of an inspection, the fence, the
  // remaining ms,
  // the token and the holder; of a mark, the mark.
  kGranted = 1,
  kHeld = 2,        // remaining ms
  kNotHeld = 3,     // nothing (0)
  kStaleFence = 4,  // the fence
  kUnmarked = 5,    // the mark that was found
  kFailed = 6,      // the node's error
  kKept = 7,        // the number of the keeper, which is not lower than that of the adoption
};

// What meta keeps of a token, to know it again (FNV-1a). Two tokens with the same digest would at
// worst share a fencing token.
[[nodiscard]] inline std::uint64_t DigestOf(const OwnerToken& token) {
  std::uint64_t hash = 14695981039346656037U;
  for (const char c : token.value()) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return hash;
}

// Of digests and ids in meta: short, and without a space.
inline constexpr int kIdBase = 36;

// Where the guard leaves its mark (server/core/nodes/node_guard.h).
inline constexpr std::string_view kMarkKey = "redlockd:mark";

// Where releases of a key are announced; the message is the key.
[[nodiscard]] inline std::string AnnouncementChannel(const Key& key) {
  return "redlockd:released:" + key.value();
}

}  // namespace redlock::redis
