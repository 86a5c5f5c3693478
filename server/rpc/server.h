// The gRPC server: listeners, keepalive, health, reflection, and the threads that serve it.
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
  // Serves at once; the services and the shards must outlive it. Throws config::ConfigError where
  // an address cannot be listened on.
  Server(const config::Config& config, runtime::ShardPool& shards, LockService& locks,
         AdminService& admin);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The addresses served, with the port chosen where 0 was asked for.
  [[nodiscard]] const std::vector<std::string>& addresses() const { return addresses_; }

  // Health says NOT_SERVING from now on.
  void Drain();
  // Cancels the calls under way and ends, once the last of them has.
  void Shutdown();

 private:
  runtime::ShardPool& shards_;
  std::vector<std::string> addresses_;
  Routes routes_;
  HealthService health_;
  grpc::AsyncGenericService others_;  // all but the unary calls of LockService
  std::vector<std::unique_ptr<Poller>> pollers_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace redlock::rpc
