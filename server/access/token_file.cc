#include "server/access/token_file.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace redlock::access {
namespace {

// One round is enough. A token has 256 random bits, so it cannot be guessed like a password.
TokenHash Hash(std::string_view salt, std::string_view token) {
  const std::string salted = std::string(salt) + std::string(token);
  TokenHash hash{};
  EVP_Digest(salted.data(), salted.size(), hash.data(), nullptr, EVP_sha256(), nullptr);
  return hash;
}

unsigned char Value(char digit) {
  return static_cast<unsigned char>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

// The text must have been checked.
TokenHash HashOf(std::string_view hexadecimal) {
  TokenHash hash{};
  for (std::size_t i = 0; i < hash.size(); ++i) {
    hash[i] =
        static_cast<unsigned char>(Value(hexadecimal[2 * i]) << 4U | Value(hexadecimal[2 * i + 1]));
  }
  return hash;
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
    std::string identity, salt, hash, rest;
    if (!(words >> identity)) continue;
    if (!(words >> salt >> hash) || words >> rest) {
      fail("expected an identity, a salt and a hash, as `redlockctl token` prints them");
    }
    if (!IsIdentity(identity)) {
      fail("invalid identity: must be 1 to 128 letters, digits and - _ @ : /");
    }
    if (!IsHexadecimal(salt) || !IsHexadecimal(hash) || hash.size() != 2 * TokenHash{}.size()) {
      fail("the salt and the hash must be hexadecimal, and the hash must have 64 digits");
    }
    auto& entries = file.entries_[identity];
    const Entry entry{salt, HashOf(hash)};
    // Whoever removes one of two equal lines would believe that the token is revoked.
    if (std::any_of(entries.begin(), entries.end(),
                    [&entry](const Entry& other) { return other.hash == entry.hash; })) {
      fail("this token of identity " + identity + " is already on an earlier line");
    }
    if (entries.size() == kMostTokens) {
      fail("identity " + identity + " has more than " + std::to_string(kMostTokens) +
           " tokens: remove a token that is no longer used");
    }
    entries.push_back(entry);
  }
  return file;
}

std::optional<TokenFile::Match> TokenFile::Find(std::string_view token) const {
  const auto dot = token.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto found = entries_.find(std::string(token.substr(0, dot)));
  if (found == entries_.end()) return std::nullopt;
  std::optional<Match> match;
  for (const Entry& entry : found->second) {
    const TokenHash hash = Hash(entry.salt, token);
    if (CRYPTO_memcmp(hash.data(), entry.hash.data(), hash.size()) == 0) {
      match = {found->first, entry.hash};
    }
  }
  return match;
}

bool TokenFile::Has(const std::string& identity, const TokenHash& hash) const {
  const auto found = entries_.find(identity);
  return found != entries_.end() &&
         std::any_of(found->second.begin(), found->second.end(),
                     [&hash](const Entry& entry) { return entry.hash == hash; });
}

}  // namespace redlock::access
