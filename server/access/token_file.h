// Parses the token file, which maps bearer tokens to identities. It contains salted hashes, so the
// tokens cannot be recovered from it. Each line has an identity, a salt and a hash (SHA-256 of salt
// and token), as `redlockctl token` prints them. # begins a comment. A token is "identity.secret".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace redlock::access {

// Immutable. Thread-safe.
class TokenFile {
 public:
  // Throws std::runtime_error, which names the line and the fault.
  static TokenFile Parse(std::string_view text);

  // Returns the identity that the token belongs to, or nothing if the token is invalid. Takes the
  // same time for a wrong secret as for the right one.
  [[nodiscard]] std::optional<std::string> IdentityOf(std::string_view token) const;
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string salt, hash;  // in hexadecimal
  };
  std::unordered_map<std::string, Entry> entries_;  // by identity
};

}  // namespace redlock::access
