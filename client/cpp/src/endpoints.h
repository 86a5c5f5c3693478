// Channels to the daemons that a client may use.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/cpp/include/redlock/client.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::client {

class Endpoints {
 public:
  // Throws std::invalid_argument if a file cannot be read, or if there is no endpoint.
  explicit Endpoints(const Options& options);

  [[nodiscard]] const std::string& name(std::size_t endpoint) const { return names_[endpoint]; }
  [[nodiscard]] v1::LockService::Stub& stub(std::size_t endpoint) { return *stubs_[endpoint]; }
  // Read anew; empty if there is no file, or if it cannot be read any more: the daemon then
  // refuses the stream.
  [[nodiscard]] std::string BearerToken() const;

 private:
  const std::vector<std::string> names_;
  const std::string token_file_;
  std::vector<std::unique_ptr<v1::LockService::Stub>> stubs_;
};

}  // namespace redlock::client
