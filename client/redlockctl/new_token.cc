#include "client/redlockctl/new_token.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>
#include <span>
#include <stdexcept>

#include "client/redlockctl/hexadecimal.h"

namespace redlockctl {
namespace {

template <std::size_t Size>
std::string Random() {
  std::array<unsigned char, Size> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    throw std::runtime_error("no random bytes are available");
  }
  return Hexadecimal(bytes);
}

}  // namespace

NewToken MakeToken(const std::string& identity) {
  NewToken made{.token = identity + "." + Random<32>(), .line = {}};
  const std::string salt = Random<16>();
  const std::string salted = salt + made.token;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(salted.data(), salted.size(), digest.data(), &size, EVP_sha256(), nullptr);
  made.line = identity + " " + salt + " " + Hexadecimal(std::span(digest).first(size));
  return made;
}

}  // namespace redlockctl
