// grpc.health.v1.Health, the health check for load balancers and Kubernetes.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "server/rpc/stream_call.h"

namespace redlock::rpc {

// Thread-safe. Must outlive the server.
class HealthService {
 public:
  // `services`: the full names of the known services. "", the daemon as a whole, is always known.
  explicit HealthService(std::vector<std::string> services);
  ~HealthService();

  void AddTo(Routes& routes);
  // All services are SERVING while there is a quorum of nodes, until the daemon drains. Changes are
  // sent to watchers.
  void SetQuorum(bool quorum);
  void Drain();

 private:
  class Watch;

  [[nodiscard]] bool IsKnown(const std::string& service) const;
  [[nodiscard]] bool Serving() const { return quorum_ && !draining_; }  // under the mutex
  void Set(bool& flag, bool value);

  const std::vector<std::string> services_;
  mutable std::mutex mutex_;
  bool quorum_ = false;
  bool draining_ = false;
  std::set<Watch*> watches_;
};

}  // namespace redlock::rpc
