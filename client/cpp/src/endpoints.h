// The channels to the daemons of a client.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <vector>

#include "client/cpp/include/redlock/client.h"
#include "client/cpp/src/bearer_token.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::client {

class Endpoints {
 public:
  // Throws std::invalid_argument if a file is unusable or no endpoint is given.
  explicit Endpoints(const Options& options);

  [[nodiscard]] const std::string& name(std::size_t endpoint) const { return names_[endpoint]; }
  [[nodiscard]] v1::LockService::Stub& stub(std::size_t endpoint) { return *stubs_[endpoint]; }
  // Whether there is a connection to the endpoint.
  [[nodiscard]] bool connected(std::size_t endpoint) const;
  // Not thread-safe.
  [[nodiscard]] BearerToken& token() { return token_; }

 private:
  const std::vector<std::string> names_;
  BearerToken token_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::vector<std::unique_ptr<v1::LockService::Stub>> stubs_;
};

}  // namespace redlock::client
