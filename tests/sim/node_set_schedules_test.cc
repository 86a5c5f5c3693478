// Random schedules in which the node set changes under load: daemons that make requests at the same
// time and die at any moment, daemons that start late, are stale or restart with other nodes,
// partitions, and nodes that lose their data or refuse writes.
// Checks that no two leases are valid, that no two records are decided for one epoch, and that a
// key that reads as vacant has no valid lease, also for observers.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/core/nodes/mark.h"
#include "tests/sim/client.h"
#include "tests/sim/cluster.h"
#include "tests/sim/observer_oracle.h"
#include "tests/sim/oracle.h"
#include "tests/sim/seeds.h"
#include "tests/sim/world.h"

namespace redlock::sim {
namespace {

constexpr std::size_t kNodes = 5;
// Clients use these daemons, which are never killed. The others make the requests.
constexpr std::size_t kServing = 2;
constexpr std::size_t kDaemons = 4;
constexpr std::size_t kKeys = 2;
constexpr Duration kBusy = seconds(8);
constexpr Duration kQuiet = seconds(15);
constexpr Duration kLongestTtl = milliseconds(600);

class Schedule {
 public:
  explicit Schedule(std::uint64_t seed)
      : world_(seed),
        cluster_(world_, Options(world_)),
        seed_(seed),
        end_(world_.now() + kBusy),
        semaphores_(seed % 4 == 0) {}

  void Run() {
    while (!cluster_.decided()) world_.RunUntil(world_.now() + milliseconds(10));
    cluster_.CreateNoSets();
    for (std::size_t daemon = 0; daemon < kDaemons; ++daemon) {
      cluster_.Configure(daemon, {});
      Restart(daemon);
    }
    while (!cluster_.decided()) world_.RunUntil(world_.now() + milliseconds(10));
    for (std::size_t i = 0; i < 3; ++i) {
      clients_.push_back(std::make_unique<Client>(world_, cluster_, oracle_, calls_,
                                                  "client-" + std::to_string(i), kKeys, kServing,
                                                  0.3, semaphores_));
      clients_.back()->Run(end_);
    }
    if (seed_ % 5 == 0) Observe();
    Change();
    Disturb();
    Read();
    world_.RunUntil(end_ + kQuiet);
    if (observers_.empty()) return;
    cluster_.CalmNetwork();
    world_.RunUntil(world_.now() + seconds(3));
    for (const auto& [observer, handle] : observers_) {
      const auto& wrong = observer->violations();
      wrong_reads_.insert(wrong_reads_.end(), wrong.begin(), wrong.end());
      if (observer->last().state == Observed::State::kVacant) continue;
      wrong_reads_.push_back("an observer does not see that nobody holds the key any more");
    }
    observers_.clear();
  }

  [[nodiscard]] std::vector<std::string> Faults() {
    std::vector<std::string> faults = oracle_.violations();
    const auto& of_set = cluster_.set_oracle().violations();
    faults.insert(faults.end(), of_set.begin(), of_set.end());
    faults.insert(faults.end(), wrong_reads_.begin(), wrong_reads_.end());
    const Membership& one = *cluster_.shard(0).membership();
    const Membership& two = *cluster_.shard(1).membership();
    if (one.set()->record() != two.set()->record()) faults.push_back("daemons do not agree");
    for (const NodeIndex node : one.set()->nodes()) {
      const auto why = cluster_.shard(0).guard()->Barred(node);
      if (!why || why->find("its clock") != std::string::npos) continue;  // nodes' clocks drift
      faults.push_back("node " + std::to_string(node) + " stays quarantined " + *why);
    }
    if (calls_.made != calls_.answered) faults.push_back("calls are not answered");
    return faults;
  }
  [[nodiscard]] std::size_t leases() const { return oracle_.leases(); }
  [[nodiscard]] std::size_t epochs() const { return cluster_.set_oracle().decided(); }
  [[nodiscard]] std::size_t vacant() const { return vacant_; }

 private:
  static ClusterOptions Options(World& world) {
    ClusterOptions options;
    options.nodes = kNodes;
    options.daemons = kDaemons;
    options.lists.assign(kDaemons, {0, 1, 2});
    options.guard = GuardMode::kOn;
    options.lock.guard.quarantine = kLongestTtl;
    options.lock.guard.inspect_interval = milliseconds(100);
    options.most_node_rate = 0.004;
    if (world.Chance(0.5)) options.most_wall_skew = kLongestTtl / 3;
    if (world.Chance(0.7)) options.faults.slow = 0.05;
    if (world.Chance(0.7)) options.faults.breaks = 0.01;
    return options;
  }

  void Observe() {
    for (std::size_t daemon = 0; daemon < kServing; ++daemon) {
      for (std::size_t i = 0; i < kKeys; ++i) {
        const std::string key = "key-" + std::to_string(i);
        auto observer = std::make_unique<ObserverOracle>(key, oracle_, reads_, 0);
        auto handle = cluster_.shard(daemon).Observe(
            Key(key), [told = observer.get()](const ObservedPtr& state) { told->Told(*state); });
        observers_.emplace_back(std::move(observer), std::move(handle));
      }
    }
  }

  void Restart(std::size_t daemon) {
    if (cluster_.is_up(daemon)) cluster_.Kill(daemon);
    cluster_.Start(daemon);
  }

  // Asks a random daemon for a random change, and sometimes kills it soon afterwards.
  void Change() {
    if (world_.now() >= end_) return;
    const std::size_t daemon = kServing + world_.Below(kDaemons - kServing);
    if (!cluster_.is_up(daemon)) {
      cluster_.Configure(daemon, AnyList());
      cluster_.Start(daemon);
    } else if (!cluster_.suspended(daemon)) {
      handle_ =
          cluster_.shard(daemon).ChangeNodeSet(Request(), [](const ChangeProgress&) {}).handle;
      if (world_.Chance(0.4)) {
        world_.Do(world_.Between({}, world_.Chance(0.7) ? milliseconds(5) : milliseconds(700)),
                  [this, daemon] {
                    if (cluster_.is_up(daemon)) cluster_.Kill(daemon);
                  });
      }
    }
    world_.Do(world_.Between({}, milliseconds(400)), [this] { Change(); });
  }
  // Sometimes without some of the nodes. Empty: all.
  std::vector<std::size_t> AnyList() {
    std::vector<std::size_t> list;
    if (world_.Chance(0.6)) return list;
    for (std::size_t node = 0; node < kNodes; ++node) {
      if (world_.Chance(0.7)) list.push_back(node);
    }
    return list;
  }
  ChangeRequest Request() {
    const auto node = [this] { return "node-" + std::to_string(world_.Below(kNodes)); };
    switch (world_.Below(8)) {
      case 0:
      case 1:
        return {.add = {node()}};
      case 2:
        return {.remove = {node()}};
      case 3:
        return {.max_ttl = world_.Between(milliseconds(300), milliseconds(900))};
      case 4:
        return {.abort = true};
      case 5:
        return {.add = {node(), node()}};
      default:
        return {.add = {node()}, .remove = {node()}};
    }
  }

  void Disturb() {
    if (world_.now() >= end_) return;
    const std::size_t node = world_.Below(kNodes);
    const Duration time = world_.Between(milliseconds(1), milliseconds(500));
    switch (world_.Below(7)) {
      case 6:
        cluster_.server(node).SetFull(true);
        world_.Do(time, [this, node] { cluster_.server(node).SetFull(false); });
        break;
      case 0:
        cluster_.Down(node);
        world_.Do(time, [this, node] { cluster_.Up(node); });
        break;
      case 1:
        cluster_.Pause(node);
        world_.Do(time, [this, node] { cluster_.Resume(node); });
        break;
      case 2:
        cluster_.Cut(world_.Below(kServing), node,
                     world_.Chance(0.5) ? Link::Direction::kRequests : Link::Direction::kReplies);
        world_.Do(time, [this, node] { cluster_.Up(node); });
        break;
      case 3: {
        const std::size_t daemon = world_.Below(kServing);
        cluster_.Suspend(daemon);
        world_.Do(time, [this, daemon] { cluster_.Continue(daemon); });
        break;
      }
      default:
        LoseData(node);
        break;
    }
    world_.Do(world_.Between({}, milliseconds(400)), [this] { Disturb(); });
  }

  // Whether all members of the latest set remember what they promised and accepted. If two of three
  // forget it, nobody may know what they have decided.
  [[nodiscard]] bool AllRemember() {
    std::set<std::string> intact;
    for (std::size_t node = 0; node < kNodes; ++node) {
      const SetState state = cluster_.server(node).Facts().set;
      if (state.record && !IsProvisional(state.mark)) intact.insert(state.member);
    }
    const std::vector<Member>& members = cluster_.set_oracle().latest().members;
    if (members.size() < 2) return false;  // nobody would be left who knows the set
    return std::ranges::all_of(members, [&](const Member& m) { return intact.contains(m.id); });
  }

  // One node at a time.
  void LoseData(std::size_t node) {
    if (!AllRemember()) return;
    Server& server = cluster_.server(node);
    server.Snapshot();
    world_.Do(world_.Between({}, milliseconds(50)), [this, node, &server] {
      if (!AllRemember()) return;
      switch (world_.Below(3)) {
        case 0:
          server.LoseData();
          break;
        case 1:
          cluster_.Restart(node, server.durable() ? Cluster::Data::kKept : Cluster::Data::kOld);
          break;
        default:
          cluster_.Restart(node, Cluster::Data::kLost);
          break;
      }
    });
  }
  void Read() {
    if (world_.now() >= end_) return;
    const std::string key = "key-" + std::to_string(world_.Below(kKeys));
    const std::size_t daemon = world_.Below(kServing);
    if (!cluster_.suspended(daemon)) {
      cluster_.shard(daemon).Inspect(
          Key(key), [this, key, began = world_.now()](const InspectResult& result) {
            if (result.held || result.undecided) return;
            ++vacant_;
            if (oracle_.HeldSince(key, began, world_.now())) {
              wrong_reads_.push_back(key + " read as vacant while a lease was valid");
            }
          });
    }
    world_.Do(world_.Between({}, milliseconds(30)), [this] { Read(); });
  }

  World world_;
  Cluster cluster_;
  const std::uint64_t seed_;
  const MonotonicTime end_;
  const bool semaphores_;
  Oracle oracle_;
  Calls calls_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::shared_ptr<void> handle_;
  const ReadLog reads_;  // empty: the quorum changes with the node set
  std::vector<std::pair<std::unique_ptr<ObserverOracle>, std::shared_ptr<void>>> observers_;
  std::vector<std::string> wrong_reads_;
  std::size_t vacant_ = 0;
};

TEST(NodeSetSimulation, SchedulesKeepTheInvariants) {
  const Seeds seeds = SeedsFor(400);
  std::size_t leases = 0;
  std::size_t epochs = 0;
  std::size_t vacant = 0;
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    Schedule schedule(seed);
    schedule.Run();
    leases += schedule.leases();
    epochs += schedule.epochs();
    vacant += schedule.vacant();
    for (const std::string& fault : schedule.Faults()) {
      ADD_FAILURE() << "REDLOCK_SIM_SEED=" << seed << ": " << fault;
    }
    if (HasFailure()) return;
  }
  RecordProperty("leases", static_cast<int>(leases));
  RecordProperty("epochs", static_cast<int>(epochs));
  // A simulation in which nothing succeeds would prove nothing.
  EXPECT_GT(leases, seeds.count * 20);
  EXPECT_GT(epochs, seeds.count * 3);
  EXPECT_GT(vacant, seeds.count * 5);
  if (seeds.count > 1) {
    std::printf("%zu leases, %zu epochs, %zu vacant reads\n", leases, epochs, vacant);
  }
}

}  // namespace
}  // namespace redlock::sim
