// Bearer tokens: who presents which one. The file keeps salted hashes, so that reading it lets
// nobody in. A line for each: identity, salt and hash (SHA-256 of salt and token), as `redlockctl
// token` prints it; # begins a comment. A token is "identity.secret".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace redlock::access {

// Immutable. Thread-safe.
class TokenFile {
 public:
  // Throws std::runtime_error that names the line and what is wrong with it.
  static TokenFile Parse(std::string_view text);

  // Whose token it is; nothing where it is nobody's. Takes the same time for a wrong secret as for
  // the right one.
  [[nodiscard]] std::optional<std::string> IdentityOf(std::string_view token) const;
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string salt, hash;  // in hexadecimal
  };
  std::unordered_map<std::string, Entry> entries_;  // by identity
};

}  // namespace redlock::access
