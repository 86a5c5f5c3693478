// The channels to the daemons of a client.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/cpp/include/redlock/client.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::client {

class Endpoints {
 public:
  // Throws std::invalid_argument if a file is unusable or no endpoint is given.
  explicit Endpoints(const Options& options);

  [[nodiscard]] const std::string& name(std::size_t endpoint) const { return names_[endpoint]; }
  [[nodiscard]] v1::LockService::Stub& stub(std::size_t endpoint) { return *stubs_[endpoint]; }
  // Reads the token file again. Returns an empty string if no file is configured, or if it can no
  // longer be read; in that case the daemon refuses the stream.
  [[nodiscard]] std::string BearerToken() const;

 private:
  const std::vector<std::string> names_;
  const std::string token_file_;
  std::vector<std::unique_ptr<v1::LockService::Stub>> stubs_;
};

}  // namespace redlock::client
