// Makes owner tokens.
#pragma once

#include <string>
#include <string_view>

#include "client/cpp/core/time.h"

namespace redlock::client {

inline constexpr std::string_view kMadeToken = "rl-";

// Returns "rl-" and 32 hexadecimal digits.
[[nodiscard]] std::string MakeToken(Random& random);

// Whether the client or a daemon made the token. Such a token is never reused after its release.
[[nodiscard]] inline bool IsMadeToken(const std::string& token) {
  return token.starts_with(kMadeToken);
}

}  // namespace redlock::client
