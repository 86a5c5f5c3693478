// The gRPC server: listeners, keepalive, health, reflection.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "server/config/config.h"

namespace redlock::rpc {

class Server {
 public:
  // Serves at once; the services must outlive it. Throws config::ConfigError where an address
  // cannot be listened on.
  Server(const config::Config& config, const std::vector<grpc::Service*>& services);

  // The addresses served, with the port chosen where 0 was asked for.
  [[nodiscard]] const std::vector<std::string>& addresses() const { return addresses_; }

  // Health says NOT_SERVING from now on.
  void Drain();
  // Cancels the calls under way and ends.
  void Shutdown();

 private:
  std::vector<std::string> addresses_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace redlock::rpc
