// Nodes, daemons and the links between them in one world.
#pragma once

#include <functional>
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
  Duration most_wall_skew{};  // of a daemon, in either direction
  GuardMode guard = GuardMode::kOff;
  bool node_sets = false;  // compares the record of the node set; always with a guard
  // The nodes with which each daemon is configured; empty: all. A daemon's NodeIndex is the
  // position in its list.
  std::vector<std::vector<std::size_t>> lists;
  Duration fence_retention = seconds(60);
  double most_node_rate = 0;  // of a node's clock, relative to the world's, in either direction
};

// One daemon: a shard of the real core, connected to the nodes by links.
struct Daemon {
  std::shared_ptr<WorldScheduler> scheduler;
  std::vector<Link*> links;  // by node; null if the daemon is not configured with it
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
  // Whether the daemon is configured with the node.
  [[nodiscard]] bool has_link(std::size_t daemon, std::size_t node) const {
    return daemons_[daemon].links[node] != nullptr;
  }
  [[nodiscard]] Server& server(std::size_t node) { return *servers_[node]; }
  [[nodiscard]] const SetOracle& set_oracle() const { return set_oracle_; }
  [[nodiscard]] std::size_t nodes() const { return servers_.size(); }
  [[nodiscard]] std::size_t daemons() const { return daemons_.size(); }

  // Cuts a node off from every daemon, or reconnects it.
  void Down(std::size_t node);
  void Up(std::size_t node);
  // Stops the node, as SIGSTOP does. After Resume() it processes everything that it received
  // meanwhile.
  void Pause(std::size_t node);
  void Resume(std::size_t node);
  // Replaces the node's process with a new one and breaks every connection.
  enum class Data { kKept, kOld, kLost };  // kOld: as of the last Snapshot()
  void Restart(std::size_t node, Data data);
  // Cuts one direction between the two until Up() is called for the node.
  void Cut(std::size_t daemon, std::size_t node, Link::Direction direction);
  // Ends the daemon's process at once: messages that it has sent are still delivered, but it sends
  // no more.
  void Kill(std::size_t daemon);
  // Starts a new process in its place that has no state of the old one.
  void Start(std::size_t daemon);
  [[nodiscard]] bool is_up(std::size_t daemon) const { return daemons_[daemon].up; }
  [[nodiscard]] WorldScheduler& scheduler(std::size_t daemon) {
    return *daemons_[daemon].scheduler;
  }
  // Suspends the daemon, as SIGSTOP does, until it is resumed.
  void Suspend(std::size_t daemon) { daemons_[daemon].scheduler->Suspend(); }
  void Continue(std::size_t daemon) { daemons_[daemon].scheduler->Continue(); }
  // Its wall clock jumps to a random value within most_wall_skew.
  void StepWallClock(std::size_t daemon);
  [[nodiscard]] bool suspended(std::size_t daemon) const {
    return daemons_[daemon].scheduler->suspended();
  }

  // From now on, the network loses nothing but announcements, and delays nothing for long.
  void CalmNetwork() {
    options_.faults.slow = options_.faults.breaks = options_.faults.forgets = 0;
  }
  // The nodes with which the daemon is configured when it starts the next time.
  void Configure(std::size_t daemon, std::vector<std::size_t> nodes) {
    options_.lists.resize(daemons_.size());
    options_.lists[daemon] = std::move(nodes);
  }
  // Daemons that start from now on create no node set.
  void CreateNoSets() { options_.lock.node_set.create = false; }
  // Of daemons that start from now on.
  void SetLongestTtl(Duration ttl) {
    options_.lock.guard.quarantine = ttl;
    options_.lock.node_set.max_ttl = ttl;
  }
  // Whether every daemon knows the node set.
  [[nodiscard]] bool decided() const;

  // What the teardown must find empty: operations, calls, keys and timers, except those of the
  // guards.
  [[nodiscard]] std::vector<std::string> Leftovers();

 private:
  void ForEachLink(std::size_t node, const std::function<void(Link&)>& work);
  [[nodiscard]] Daemon MakeDaemon(std::size_t number);

  World& world_;
  ClusterOptions options_;
  WorldRandom random_;
  SetOracle set_oracle_;
  std::uint64_t tokens_ = 0;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<Daemon> daemons_;
  std::vector<Daemon> dead_;  // kept because events that never ran refer to them
};

}  // namespace redlock::sim
