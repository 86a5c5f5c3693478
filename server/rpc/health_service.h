// grpc.health.v1.Health, the health check for load balancers and Kubernetes.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/rpc/open_quota.h"
#include "server/rpc/stream_call.h"
#include "server/sync/mutex.h"

namespace redlock::rpc {

// Thread-safe. Must outlive the server.
class HealthService {
 public:
  // `services`: the full names of the known services. "", the daemon as a whole, is always known.
  // The quota must outlive this object.
  HealthService(std::vector<std::string> services, OpenQuota& quota);
  ~HealthService();

  void AddTo(Routes& routes);
  // All services are SERVING while a quorum of nodes can grant, until the daemon drains. Changes
  // are sent to watchers.
  void SetQuorum(bool quorum);
  void Drain();

 private:
  class Watch;

  [[nodiscard]] bool IsKnown(const std::string& service) const;
  [[nodiscard]] bool Serving() const REDLOCK_REQUIRES(mutex_) { return quorum_ && !draining_; }
  void SendIfChanged() REDLOCK_REQUIRES(mutex_);

  const std::vector<std::string> services_;
  OpenQuota& quota_;
  mutable Mutex mutex_;
  bool quorum_ REDLOCK_GUARDED_BY(mutex_) = false;
  bool draining_ REDLOCK_GUARDED_BY(mutex_) = false;
  bool sent_ REDLOCK_GUARDED_BY(mutex_) = false;  // the status that watchers have
  std::set<Watch*> watches_ REDLOCK_GUARDED_BY(mutex_);
};

}  // namespace redlock::rpc
