// Makes bearer tokens for redlockd's --token-file.
#pragma once

#include <string>

namespace redlockctl {

struct NewToken {
  std::string token;  // for the caller: "identity.secret", the secret being 256 random bits
  std::string line;   // for the file: identity, salt, SHA-256 of salt and token
};

// Throws std::runtime_error where there are no random bytes.
[[nodiscard]] NewToken MakeToken(const std::string& identity);

}  // namespace redlockctl
