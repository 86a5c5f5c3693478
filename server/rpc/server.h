// The gRPC server: listeners, keepalive, health, reflection, and the threads that serve calls.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "server/config/config.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/health_service.h"
#include "server/rpc/lock_service.h"
#include "server/rpc/poller.h"

namespace redlock::rpc {

class Server {
 public:
  // Starts serving. The services and the shards must outlive the server. Throws config::ConfigError
  // if it cannot listen on an address.
  Server(const config::Config& config, runtime::ShardPool& shards, LockService& locks,
         AdminService& admin);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The listening addresses. Port 0 is replaced by the port that was chosen.
  [[nodiscard]] const std::vector<std::string>& addresses() const { return addresses_; }

  // Reports NOT_SERVING as the health from now on.
  void Drain();
  // Cancels the calls under way and returns when the last one has ended.
  void Shutdown();

 private:
  runtime::ShardPool& shards_;
  std::vector<std::string> addresses_;
  Routes routes_;
  HealthService health_;
  grpc::AsyncGenericService others_;  // all calls except the unary calls of LockService
  std::vector<std::unique_ptr<Poller>> pollers_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace redlock::rpc
