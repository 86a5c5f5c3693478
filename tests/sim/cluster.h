// Nodes, daemons and the links between them, in one world.
#pragma once

#include <memory>
#include <vector>

#include "server/core/shard.h"
#include "tests/sim/link.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

namespace redlock::sim {

struct ClusterOptions {
  std::size_t nodes = 3;
  std::size_t daemons = 1;
  NetworkFaults faults;
  LockOptions lock;
  Duration most_wall_skew{};  // of a daemon, to either side
  double most_node_rate = 0;  // of a node's clock, against the world's, to either side
};

// One daemon: a shard of the real core over links.
struct Daemon {
  std::unique_ptr<WorldScheduler> scheduler;
  std::vector<Link*> links;
  std::unique_ptr<Shard> shard;
};

class Cluster {
 public:
  Cluster(World& world, const ClusterOptions& options);

  [[nodiscard]] Shard& shard(std::size_t daemon) { return *daemons_[daemon].shard; }
  [[nodiscard]] Link& link(std::size_t daemon, std::size_t node) {
    return *daemons_[daemon].links[node];
  }
  [[nodiscard]] Server& server(std::size_t node) { return *servers_[node]; }
  [[nodiscard]] std::size_t nodes() const { return servers_.size(); }
  [[nodiscard]] std::size_t daemons() const { return daemons_.size(); }

  // Cuts a node off from every daemon, and back.
  void Down(std::size_t node);
  void Up(std::size_t node);
  // The node does nothing, as with SIGSTOP, and then everything it was sent meanwhile.
  void Pause(std::size_t node);
  void Resume(std::size_t node);

  // What a teardown must find: no operation, no call and no key left.
  [[nodiscard]] std::vector<std::string> Leftovers();

 private:
  ClusterOptions options_;
  WorldRandom random_;
  std::uint64_t tokens_ = 0;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<Daemon> daemons_;
};

}  // namespace redlock::sim
