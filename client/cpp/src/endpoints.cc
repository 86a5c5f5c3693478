#include "client/cpp/src/endpoints.h"

#include <stdexcept>

#include "client/cpp/core/validation.h"
#include "client/cpp/src/channel.h"

namespace redlock::client {
namespace {

std::string ReadToken(const std::string& path) {
  std::string token = ReadFile(path);
  token.erase(token.find_last_not_of(" \t\r\n") + 1);
  return token;
}

}  // namespace

Endpoints::Endpoints(const Options& options)
    : names_(options.endpoints), token_file_(options.token_file) {
  if (names_.empty()) {
    throw std::invalid_argument(
        "no endpoints given: pass at least one address such as \"127.0.0.1:50051\"");
  }
  for (const std::string& name : names_) {
    if (const auto error = CheckEndpoint(name)) {
      throw std::invalid_argument("endpoints: " + error->message);
    }
    stubs_.push_back(v1::LockService::NewStub(OpenChannel(name, options)));
  }
  if (!token_file_.empty()) (void)ReadToken(token_file_);
}

std::string Endpoints::BearerToken() const {
  if (token_file_.empty()) return {};
  try {
    return ReadToken(token_file_);
  } catch (const std::invalid_argument&) {
    return {};
  }
}

}  // namespace redlock::client
