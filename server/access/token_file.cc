#include "server/access/token_file.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <span>
#include <sstream>
#include <stdexcept>

#include "server/core/format.h"

namespace redlock::access {
namespace {

constexpr std::size_t kHashDigits = 64;

// One round is enough. A token has 256 random bits, so it cannot be guessed like a password.
std::string Hash(std::string_view salt, std::string_view token) {
  const std::string salted = std::string(salt) + std::string(token);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(salted.data(), salted.size(), digest.data(), &size, EVP_sha256(), nullptr);
  return Hexadecimal(std::span(digest).first(size));
}

bool IsIdentity(std::string_view text) {
  return !text.empty() && text.size() <= 128 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 ||
                  std::string_view("-_@:/").find(static_cast<char>(c)) != std::string_view::npos;
         });
}

bool IsHexadecimal(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

TokenFile TokenFile::Parse(std::string_view text) {
  TokenFile file;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const auto fail = [number](const std::string& what) {
      throw std::runtime_error("line " + std::to_string(number) + ": " + what);
    };
    std::istringstream words(line.substr(0, line.find('#')));
    std::string identity, rest;
    Entry entry;
    if (!(words >> identity)) continue;
    if (!(words >> entry.salt >> entry.hash) || words >> rest) {
      fail("expected an identity, a salt and a hash, as `redlockctl token` prints them");
    }
    if (!IsIdentity(identity)) {
      fail("invalid identity: must be 1 to 128 letters, digits and - _ @ : /");
    }
    if (!IsHexadecimal(entry.salt) || !IsHexadecimal(entry.hash) ||
        entry.hash.size() != kHashDigits) {
      fail("the salt and the hash must be hexadecimal, and the hash must have 64 digits");
    }
    if (!file.entries_.emplace(identity, std::move(entry)).second) {
      fail("identity " + identity + " is given twice");
    }
  }
  return file;
}

std::optional<std::string> TokenFile::IdentityOf(std::string_view token) const {
  const auto dot = token.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto found = entries_.find(std::string(token.substr(0, dot)));
  if (found == entries_.end()) return std::nullopt;
  const std::string hash = Hash(found->second.salt, token);
  if (CRYPTO_memcmp(hash.data(), found->second.hash.data(), kHashDigits) != 0) return std::nullopt;
  return found->first;
}

}  // namespace redlock::access
