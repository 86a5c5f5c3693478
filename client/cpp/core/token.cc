#include "client/cpp/core/token.h"

namespace redlock::client {

std::string MakeToken(Random& random) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string token(kMadeToken);
  for (int word = 0; word < 2; ++word) {
    std::uint64_t bits = random.Bits();
    for (int digit = 0; digit < 16; ++digit, bits >>= 4U) token += kDigits[bits & 15U];
  }
  return token;
}

}  // namespace redlock::client
