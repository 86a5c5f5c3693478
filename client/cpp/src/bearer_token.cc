#include "client/cpp/src/bearer_token.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "client/cpp/src/channel.h"

namespace redlock::client {

std::string ReadBearerToken(const std::string& path) {
  constexpr const char* kSpace = " \t\r\n";
  std::string token = ReadFile(path);
  token.erase(token.find_last_not_of(kSpace) + 1);
  token.erase(0, std::min(token.find_first_not_of(kSpace), token.size()));
  if (token.empty()) throw std::invalid_argument(path + ": contains no bearer token");
  const bool printable =
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!printable) {
    throw std::invalid_argument(path +
                                ": must contain one bearer token of printable ASCII characters, "
                                "without spaces or further lines");
  }
  return token;
}

BearerToken::BearerToken(std::string path) : path_(std::move(path)) {
  if (!path_.empty()) value_ = ReadBearerToken(path_);
}

void BearerToken::Renew() {
  if (path_.empty()) return;
  problem_.clear();
  try {
    value_ = ReadBearerToken(path_);
  } catch (const std::invalid_argument& error) {
    problem_ = error.what();
  }
}

}  // namespace redlock::client
