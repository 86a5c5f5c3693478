// grpc.health.v1.Health, the health check for load balancers and Kubernetes.
#pragma once

#include <cstddef>
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
  HealthService(std::vector<std::string> services, std::size_t shards, OpenQuota& quota);
  ~HealthService();

  void AddTo(Routes& routes);
  // All services are SERVING while every shard has a quorum of nodes that can grant, until the
  // daemon drains. Changes are sent to watchers.
  void SetQuorum(std::size_t shard, bool quorum);
  void Drain();

 private:
  class Watch;

  [[nodiscard]] bool IsKnown(const std::string& service) const;
  [[nodiscard]] bool Serving() const REDLOCK_REQUIRES(mutex_);
  void SendIfChanged() REDLOCK_REQUIRES(mutex_);

  const std::vector<std::string> services_;
  OpenQuota& quota_;
  mutable Mutex mutex_;
  std::vector<bool> quorums_ REDLOCK_GUARDED_BY(mutex_);  // by shard
  bool draining_ REDLOCK_GUARDED_BY(mutex_) = false;
  bool sent_ REDLOCK_GUARDED_BY(mutex_) = false;  // the status that watchers have
  std::set<Watch*> watches_ REDLOCK_GUARDED_BY(mutex_);
};

}  // namespace redlock::rpc
