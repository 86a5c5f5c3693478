#include "client/cpp/src/endpoints.h"

#include <stdexcept>

#include "client/cpp/core/endpoint.h"
#include "client/cpp/src/channel.h"

namespace redlock::client {

Endpoints::Endpoints(const Options& options)
    : names_(options.endpoints), token_(options.token_file) {
  if (names_.empty()) {
    throw std::invalid_argument(
        "no endpoints given: pass at least one address such as \"127.0.0.1:50051\"");
  }
  for (const std::string& name : names_) {
    if (const auto error = CheckEndpoint(name)) {
      throw std::invalid_argument("endpoints: " + error->message);
    }
    channels_.push_back(OpenChannel(name, options));
    stubs_.push_back(v1::LockService::NewStub(channels_.back()));
  }
}

bool Endpoints::connected(std::size_t endpoint) const {
  return channels_[endpoint]->GetState(false) == GRPC_CHANNEL_READY;
}

}  // namespace redlock::client
