// The value that a node stores at a key that is kept after a release (ReleaseStep::keep_for,
// leave_delay).
#pragma once

#include <string_view>

#include "server/core/types.h"

namespace redlock {

// The value begins with this. No token does, because tokens that begin with "redlockd:" are
// refused.
inline constexpr std::string_view kKeptPrefix = "redlockd:kept:";

[[nodiscard]] inline bool IsKept(const OwnerToken& value) {
  return value.value().starts_with(kKeptPrefix);
}

// Takes the delay of a lease off its expiry. False if nobody holds what this value keeps others
// from: the TTL has passed, or it stays taken after a release.
[[nodiscard]] inline bool TakeDelay(const OwnerToken& value, const Owner& owner,
                                    Duration& remaining) {
  if (IsKept(value)) return false;
  if (owner.lock_delay == Duration()) return true;
  if (remaining <= owner.lock_delay) return false;
  remaining -= owner.lock_delay;
  return true;
}

}  // namespace redlock
