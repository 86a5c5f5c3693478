// Reads the bearer token that identifies a client.
#pragma once

#include <string>

namespace redlock::client {

// Returns the file's content without the white space around it. Throws std::invalid_argument, which
// names the file, if the file cannot be read, is empty, or contains a character that an HTTP header
// cannot carry. gRPC would abort the process because of such a character.
[[nodiscard]] std::string ReadBearerToken(const std::string& path);

// The token of a client, read again for each connection.
class BearerToken {
 public:
  // `path` is empty if the client has no token. Throws as ReadBearerToken() does.
  explicit BearerToken(std::string path);

  // Reads the file again. If it has become unusable, keeps the token that was read last.
  void Renew();
  // Empty: the client has no token.
  [[nodiscard]] const std::string& value() const { return value_; }
  // Why the last Renew() kept the old token; empty if it did not.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  const std::string path_;
  std::string value_;
  std::string problem_;
};

}  // namespace redlock::client
