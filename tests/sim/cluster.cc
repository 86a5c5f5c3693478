#include "tests/sim/cluster.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

namespace redlock::sim {

Cluster::Cluster(World& world, const ClusterOptions& options)
    : world_(world), options_(options), random_(world) {
  options_.lock.guard.mode = options_.guard;
  options_.lock.node_set.compared = options_.guard != GuardMode::kOff || options_.node_sets;
  options_.lock.node_set.max_ttl = options_.lock.guard.quarantine;
  for (std::size_t i = 0; i < options_.nodes; ++i) {
    const double off =
        options_.most_node_rate * (static_cast<double>(world.Below(2001)) / 1000.0 - 1.0);
    servers_.push_back(std::make_unique<Server>(world, 1.0 + off));
    servers_.back()->ShowTo(&set_oracle_);
    servers_.back()->SetRetention(options_.fence_retention);
  }
  for (std::size_t d = 0; d < options_.daemons; ++d) daemons_.push_back(MakeDaemon(d));
}

Daemon Cluster::MakeDaemon(std::size_t number) {
  Daemon daemon;
  daemon.scheduler = std::make_shared<WorldScheduler>(
      world_, world_.Between(-options_.most_wall_skew, options_.most_wall_skew));
  world_.Keep(daemon.scheduler);
  std::vector<std::size_t> list(options_.nodes);
  std::iota(list.begin(), list.end(), std::size_t{0});
  if (!options_.lists.empty() && !options_.lists[number].empty()) list = options_.lists[number];
  daemon.links.resize(options_.nodes);
  LockOptions lock = options_.lock;
  std::vector<std::unique_ptr<Node>> links;
  for (const std::size_t n : list) {
    auto link = std::make_unique<Link>(world_, *daemon.scheduler, links.size(), *servers_[n],
                                       options_.faults);
    daemon.links[n] = link.get();
    links.push_back(std::move(link));
    lock.node_set.names.push_back("node-" + std::to_string(n));
  }
  daemon.shard = std::make_unique<Shard>(
      *daemon.scheduler, random_,
      [this] { return OwnerToken(std::string(kMadeTokenPrefix) + std::to_string(++tokens_)); },
      lock, std::move(links));
  return daemon;
}

void Cluster::Kill(std::size_t daemon) {
  Daemon& one = daemons_[daemon];
  one.up = false;
  one.scheduler->Suspend();
  for (Link* link : one.links) {
    if (link != nullptr) link->Break(true);
  }
  one.scheduler->Stop();
}

void Cluster::Start(std::size_t daemon) {
  dead_.push_back(std::exchange(daemons_[daemon], MakeDaemon(daemon)));
}

Cluster::~Cluster() {
  for (Daemon& daemon : daemons_) daemon.scheduler->Stop();
}

void Cluster::ForEachLink(std::size_t node, const std::function<void(Link&)>& work) {
  for (Daemon& daemon : daemons_) {
    if (daemon.links[node] != nullptr) work(*daemon.links[node]);
  }
}

void Cluster::Down(std::size_t node) {
  ForEachLink(node, [](Link& link) { link.Break(true); });
}

void Cluster::Up(std::size_t node) {
  for (Daemon& daemon : daemons_) {
    if (daemon.up && daemon.links[node] != nullptr) daemon.links[node]->ComeUp();
  }
}

void Cluster::Pause(std::size_t node) {
  ForEachLink(node, [](Link& link) { link.Pause(); });
}

void Cluster::Resume(std::size_t node) {
  ForEachLink(node, [](Link& link) { link.Resume(); });
}

void Cluster::Restart(std::size_t node, Data data) {
  if (data == Data::kLost) servers_[node]->LoseData();
  if (data == Data::kOld) servers_[node]->Restore();
  servers_[node]->Restart();
  ForEachLink(node, [](Link& link) { link.Break(false); });
}

void Cluster::Cut(std::size_t daemon, std::size_t node, Link::Direction direction) {
  daemons_[daemon].links[node]->Cut(direction);
}

void Cluster::StepWallClock(std::size_t daemon) {
  daemons_[daemon].scheduler->SetWallSkew(
      world_.Between(-options_.most_wall_skew, options_.most_wall_skew));
}

bool Cluster::decided() const {
  return std::all_of(daemons_.begin(), daemons_.end(),
                     [](const Daemon& daemon) { return daemon.shard->membership()->known(); });
}

std::vector<std::string> Cluster::Leftovers() {
  std::vector<std::string> leftovers;
  const auto check = [&leftovers](std::size_t count, const std::string& what) {
    if (count != 0) leftovers.push_back(std::to_string(count) + " " + what);
  };
  for (std::size_t d = 0; d < daemons_.size(); ++d) {
    if (!daemons_[d].up) continue;
    check(daemons_[d].shard->operations(), "operations at daemon " + std::to_string(d));
    check(daemons_[d].shard->observers(), "observers at daemon " + std::to_string(d));
    for (std::size_t n = 0; n < servers_.size(); ++n) {
      if (daemons_[d].links[n] == nullptr) continue;
      check(daemons_[d].links[n]->under_way(),
            "calls from daemon " + std::to_string(d) + " to node " + std::to_string(n));
    }
  }
  for (std::size_t n = 0; n < servers_.size(); ++n) {
    check(servers_[n]->keys(), "keys locked on node " + std::to_string(n));
  }
  // The periodic checks of the guard, the membership and the grant watch.
  const std::size_t of_guard =
      (options_.guard == GuardMode::kOff ? 0U : 1U) + (options_.lock.node_set.compared ? 2U : 0U);
  std::size_t armed = 0;
  for (const Daemon& daemon : daemons_) {
    if (!daemon.up) continue;
    check(daemon.scheduler->pending() - of_guard, "timers of a daemon");
    armed += daemon.scheduler->armed();
  }
  if (of_guard == 0 && dead_.empty()) check(world_.pending_timers() - armed, "events");
  return leftovers;
}

}  // namespace redlock::sim
