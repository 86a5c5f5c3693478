#include "client/cpp/src/daemons.h"

#include <stdexcept>

#include "client/cpp/src/channel.h"

namespace redlock::client {

Daemons::Daemons(const Options& options) : token_file_(options.token_file) {
  if (options.endpoints.empty()) throw std::invalid_argument("endpoints: there is none");
  for (const std::string& endpoint : options.endpoints) {
    daemons_.push_back({endpoint, v1::LockService::NewStub(OpenChannel(endpoint, options))});
  }
  (void)bearer_token();
}

std::string Daemons::bearer_token() const {
  if (token_file_.empty()) return {};
  std::string token = ReadFile(token_file_);
  token.erase(token.find_last_not_of(" \t\r\n") + 1);
  return token;
}

}  // namespace redlock::client
