// The gRPC server: listeners, keepalive, health, reflection, and the threads that serve calls.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/config/config.h"
#include "server/rpc/acceptor.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/connections.h"
#include "server/rpc/health_service.h"
#include "server/rpc/lock_service.h"
#include "server/rpc/open_quota.h"
#include "server/rpc/poller.h"
#include "server/rpc/server_certificates.h"

namespace redlock::rpc {

class Server {
 public:
  // Starts serving. Everything else must outlive the server. Throws std::runtime_error if it cannot
  // listen on an address, and config::ConfigError if it cannot use a certificate.
  Server(const config::Config& config, Connections& connections, runtime::ShardPool& shards,
         LockService& locks, AdminService& admin);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The listening addresses. Port 0 is replaced by the port that was chosen.
  [[nodiscard]] const std::vector<std::string>& addresses() const { return addresses_; }

  // Null without TLS.
  [[nodiscard]] ServerCertificates* certificates() {
    return certificates_ ? &*certificates_ : nullptr;
  }

  // Reports NOT_SERVING as the health from now on.
  void Drain();
  // Cancels the calls under way and returns when the last one has ended.
  void Shutdown();

 private:
  void WatchQuorums();
  // `outage`: of the coordinator.
  void TellOthers(const std::optional<Error>& outage);

  runtime::ShardPool& shards_;
  std::optional<ServerCertificates> certificates_;
  std::vector<std::string> addresses_;
  Connections& connections_;
  Routes routes_;
  OpenQuota quota_;
  HealthService health_;
  grpc::AsyncGenericService others_;  // all calls except the unary calls of LockService
  std::vector<std::unique_ptr<Poller>> pollers_;
  std::unique_ptr<grpc::Server> server_;
  std::optional<ConnectionGuard> guard_;
  std::unique_ptr<Acceptor> acceptor_;
};

}  // namespace redlock::rpc
