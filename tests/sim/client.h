// A client that randomly does everything that a client can do, through any daemon: acquires, waits,
// cancels, extends, watches, releases, forgets a lease, or dies.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "tests/sim/cluster.h"
#include "tests/sim/oracle.h"
#include "tests/sim/world.h"

namespace redlock::sim {

struct Calls {
  std::size_t made = 0;
  std::size_t answered = 0;
};

class Client {
 public:
  // Uses the first `daemons` daemons. `sharing`: which part of the acquisitions share their keys.
  // `semaphores`: instead, the keys are semaphores.
  Client(World& world, Cluster& cluster, Oracle& oracle, Calls& calls, std::string name,
         std::size_t keys, std::size_t daemons, double sharing, bool semaphores)
      : world_(world),
        cluster_(cluster),
        oracle_(oracle),
        calls_(calls),
        name_(std::move(name)),
        keys_(keys),
        daemons_(daemons),
        sharing_(sharing),
        semaphores_(semaphores) {}

  // Runs one operation after another until `end`.
  void Run(MonotonicTime end);

 private:
  // What the client asked for when it acquired a lease.
  struct Asked {
    Duration ttl{};
    Duration delay{};  // 0 if the lease may have another one
    MonotonicTime at;  // later than the acquisition if the token may have held the key before
  };

  void Next();
  void Acquire();
  void HoldStream(AcquireCommand command);
  void Acquired(const AcquireResult& result, Asked asked);
  void Hold(const Lease& lease, const Asked& asked);
  void Extend(const Lease& lease, const Asked& asked);
  void Watch(const Lease& lease, const Asked& asked);
  void Leave(const Lease& lease, const Asked& asked);
  // One of the keys, or several together.
  [[nodiscard]] Key AnyKeys();
  // A daemon that is not suspended. If all are, any daemon: it then handles the request late.
  [[nodiscard]] Shard& AnyShard();

  World& world_;
  Cluster& cluster_;
  Oracle& oracle_;
  Calls& calls_;
  const std::string name_;
  const std::size_t keys_;
  const std::size_t daemons_;
  const double sharing_;
  const bool semaphores_;
  MonotonicTime end_;
  int tokens_ = 0;
};

}  // namespace redlock::sim
