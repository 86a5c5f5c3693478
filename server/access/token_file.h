// Parses the token file, which maps bearer tokens to identities. It contains salted hashes, so the
// tokens cannot be recovered from it. Each line has an identity, a salt and a hash (SHA-256 of salt
// and token), as `redlockctl token` prints them. # begins a comment. A token is "identity.secret".
//
// An identity may have two lines, so that its token can be replaced while both are valid.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace redlock::access {

// The salted hash of a token. It names the line of the file.
using TokenHash = std::array<unsigned char, 32>;

// Immutable. Thread-safe.
class TokenFile {
 public:
  static constexpr std::size_t kMostTokens = 2;  // of one identity

  struct Match {
    std::string identity;
    TokenHash hash;
  };

  // Throws std::runtime_error, which names the line and the fault.
  static TokenFile Parse(std::string_view text);

  // Returns the line that the token matches, or nothing if the token is invalid. Takes the same
  // time for a wrong secret as for the right one.
  [[nodiscard]] std::optional<Match> Find(std::string_view token) const;
  // Whether the identity has a line with this hash.
  [[nodiscard]] bool Has(const std::string& identity, const TokenHash& hash) const;

 private:
  struct Entry {
    std::string salt;  // in hexadecimal
    TokenHash hash{};
  };
  std::unordered_map<std::string, std::vector<Entry>> entries_;  // by identity
};

}  // namespace redlock::access
