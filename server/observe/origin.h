// Where a caller comes from, as the nodes store it with a lock, for people.
#pragma once

#include <optional>
#include <string>

#include "server/core/types.h"

namespace redlock::observe {

struct OriginParts {
  std::string daemon;    // the daemon that the caller asked
  std::string identity;  // empty if the daemon requires no credentials
  std::string peer;      // the caller's address, as gRPC writes it
};

// Cuts parts that are too long.
[[nodiscard]] Origin Encode(const OriginParts& parts);

// Other programs can write to the nodes, so the parts may contain any text, but always valid UTF-8.
// Missing parts are empty.
[[nodiscard]] OriginParts Decode(const Origin& origin);

// For how long the owner has held the key, by this machine's wall clock; nothing if unknown.
[[nodiscard]] std::optional<Duration> HeldFor(const Owner& owner);

}  // namespace redlock::observe
