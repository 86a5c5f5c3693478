// FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/): the same in all builds and daemons, which
// std::hash is not.
#pragma once

#include <cstdint>
#include <string_view>

namespace redlock {

[[nodiscard]] constexpr std::uint64_t Fnv1a(std::string_view text) {
  std::uint64_t hash = 14695981039346656037U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return hash;
}

}  // namespace redlock
