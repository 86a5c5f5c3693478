// How often callers were refused for who they are, since startup. Process-wide.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace redlock::observe {

enum class AccessRefusal { kNoCredentials, kInvalidCredentials, kTokenRevoked, kPermissionDenied };

inline constexpr std::array kAccessRefusals = {
    AccessRefusal::kNoCredentials, AccessRefusal::kInvalidCredentials, AccessRefusal::kTokenRevoked,
    AccessRefusal::kPermissionDenied};

[[nodiscard]] constexpr std::string_view ToString(AccessRefusal refusal) {
  switch (refusal) {
    case AccessRefusal::kNoCredentials:
      return "no_credentials";
    case AccessRefusal::kInvalidCredentials:
      return "invalid_credentials";
    case AccessRefusal::kTokenRevoked:
      return "token_revoked";
    case AccessRefusal::kPermissionDenied:
      return "permission_denied";
  }
  return "?";
}

// Thread-safe.
void Count(AccessRefusal refusal);
[[nodiscard]] std::uint64_t CountOf(AccessRefusal refusal);

}  // namespace redlock::observe
