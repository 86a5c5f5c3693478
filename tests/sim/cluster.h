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
  GuardMode guard = GuardMode::kOff;
  double most_node_rate = 0;  // of a node's clock, against the world's, to either side
};

// One daemon: a shard of the real core over links.
struct Daemon {
  std::shared_ptr<WorldScheduler> scheduler;
  std::vector<Link*> links;
  std::unique_ptr<Shard> shard;
  bool up = true;
};

class Cluster {
 public:
  Cluster(World& world, const ClusterOptions& options);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

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
  // Another process takes the node's place, and every connection breaks.
  enum class Data { kKept, kOld, kLost };  // kOld: as at its last Snapshot()
  void Restart(std::size_t node, Data data);
  // One direction between them is cut until the node is up again.
  void Cut(std::size_t daemon, std::size_t node, Link::Direction direction);
  // The daemon's process ends at once: what it has sent is on its way, and nothing follows.
  void Kill(std::size_t daemon);
  // Another process takes its place, which knows nothing of it.
  void Start(std::size_t daemon);
  [[nodiscard]] bool is_up(std::size_t daemon) const { return daemons_[daemon].up; }
  [[nodiscard]] WorldScheduler& scheduler(std::size_t daemon) {
    return *daemons_[daemon].scheduler;
  }
  // The daemon does nothing, as with SIGSTOP, until it goes on.
  void Suspend(std::size_t daemon) { daemons_[daemon].scheduler->Suspend(); }
  void GoOn(std::size_t daemon) { daemons_[daemon].scheduler->GoOn(); }
  // Its wall clock jumps to anywhere within most_wall_skew.
  void StepWallClock(std::size_t daemon);
  [[nodiscard]] bool suspended(std::size_t daemon) const {
    return daemons_[daemon].scheduler->suspended();
  }

  // Every daemon knows the set: see NodeGuard::decided().
  [[nodiscard]] bool decided() const;

  // What a teardown must find: no operation, no call, no key and no timer left, but the guards'.
  [[nodiscard]] std::vector<std::string> Leftovers();

 private:
  [[nodiscard]] Daemon MakeDaemon();

  World& world_;
  ClusterOptions options_;
  WorldRandom random_;
  std::uint64_t tokens_ = 0;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<Daemon> daemons_;
  std::vector<Daemon> dead_;  // frozen: events that never happen refer to them
};

}  // namespace redlock::sim
