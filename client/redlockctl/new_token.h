// Makes bearer tokens for redlockd's --token-file.
#pragma once

#include <string>

namespace redlockctl {

struct NewToken {
  std::string token;  // for the caller: "identity.secret"; the secret is 256 random bits
  std::string line;   // for the file: identity, salt, SHA-256 of salt and token
};

// Throws std::runtime_error if no random bytes are available.
[[nodiscard]] NewToken MakeToken(const std::string& identity);

}  // namespace redlockctl
