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

}  // namespace redlock
