// Thousands of random schedules of the whole core. Checks the invariants after each schedule.
// seeds.h lists the variables that select the schedules.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/sim/client.h"
#include "tests/sim/cluster.h"
#include "tests/sim/oracle.h"
#include "tests/sim/seeds.h"
#include "tests/sim/world.h"

namespace redlock::sim {
namespace {

constexpr std::size_t kClients = 4;
constexpr Duration kBusy = seconds(3);
// After this time every TTL (at most 0.6 s), watchdog and roll-back has ended.
constexpr Duration kQuiet = seconds(12);

constexpr Duration kLongestTtl = milliseconds(600);

// What the algorithm alone assumes: clock rates within the drift budget, arbitrary wall clocks of
// the daemons, and nodes that keep their data. With a guard, nodes may behave worse, and the
// daemons' wall clocks differ by less than the quarantine, because a node that loses its data
// forgets the fences too.
ClusterOptions AnyCluster(World& world) {
  constexpr std::size_t kNodes[] = {1, 3, 3, 3, 4, 5};
  ClusterOptions options;
  options.nodes = kNodes[world.Below(std::size(kNodes))];
  options.daemons = 1 + world.Below(3);
  if (world.Chance(0.5)) {
    options.guard = world.Chance(0.8) ? GuardMode::kOn : GuardMode::kStrict;
    options.lock.guard.quarantine = kLongestTtl;
    options.lock.guard.inspect_interval = milliseconds(100);
  }
  options.most_node_rate = 0.004;
  const Duration skew = options.guard == GuardMode::kOff ? Duration(seconds(10)) : kLongestTtl / 3;
  if (world.Chance(0.5)) options.most_wall_skew = skew;
  if (world.Chance(0.5)) options.fence_retention = world.Between(seconds(1), seconds(4));
  if (world.Chance(0.7)) options.faults.slow = 0.05;
  if (world.Chance(0.7)) options.faults.breaks = 0.02;
  if (world.Chance(0.3)) options.faults.forgets = 0.02;
  return options;
}

// A fault that happens now and then during the busy time and ends some time later.
class Trouble {
 public:
  Trouble(World& world, Cluster& cluster, MonotonicTime end, bool guarded)
      : world_(world), cluster_(cluster), end_(end), guarded_(guarded) {}

  void Begin() {
    if (world_.now() >= end_) return;
    const std::size_t node = world_.Below(cluster_.nodes());
    std::vector<std::function<void(std::size_t)>> kinds = {
        [this](std::size_t n) { Down(n); },
        [this](std::size_t n) { Pause(n); },
        [this](std::size_t n) { Cut(n); },
        [this](std::size_t) { Suspend(world_.Below(cluster_.daemons())); },
        [this](std::size_t) { cluster_.StepWallClock(world_.Below(cluster_.daemons())); },
    };
    if (guarded_) {
      kinds.emplace_back([this](std::size_t n) { LoseData(n); });
      kinds.emplace_back([this](std::size_t n) { DisturbClock(n); });
    }
    kinds[world_.Below(kinds.size())](node);
    world_.Do(world_.Between({}, milliseconds(800)), [this] { Begin(); });
  }

 private:
  [[nodiscard]] Duration RandomDuration() {
    return world_.Between(milliseconds(1), milliseconds(700));
  }
  void Down(std::size_t node) {
    cluster_.Down(node);
    world_.Do(RandomDuration(), [this, node] { cluster_.Up(node); });
  }
  void Pause(std::size_t node) {
    cluster_.Pause(node);
    world_.Do(RandomDuration(), [this, node] { cluster_.Resume(node); });
  }
  void Cut(std::size_t node) {
    cluster_.Cut(world_.Below(cluster_.daemons()), node,
                 world_.Chance(0.5) ? Link::Direction::kRequests : Link::Direction::kReplies);
    world_.Do(RandomDuration(), [this, node] { cluster_.Up(node); });
  }
  void Suspend(std::size_t daemon) {
    cluster_.Suspend(daemon);
    world_.Do(RandomDuration(), [this, daemon] { cluster_.Continue(daemon); });
  }
  // By FLUSHALL or a restart; sometimes on several nodes at about the same time.
  void LoseData(std::size_t node) {
    if (!cluster_.decided()) return;
    const std::size_t nodes = world_.Chance(0.7) ? 1 : 1 + world_.Below(cluster_.nodes());
    for (std::size_t i = 0; i < nodes; ++i) {
      const std::size_t one = (node + i) % cluster_.nodes();
      cluster_.server(one).Snapshot();
      world_.Do(world_.Between({}, milliseconds(300)), [this, one] {
        switch (world_.Below(4)) {
          case 0:
            cluster_.server(one).LoseData();
            break;
          case 1:
            cluster_.Restart(
                one, cluster_.server(one).durable() ? Cluster::Data::kKept : Cluster::Data::kOld);
            break;
          case 2:
            cluster_.server(one).MakeDurable();
            cluster_.Restart(one, Cluster::Data::kKept);
            break;
          default:
            cluster_.Restart(one, Cluster::Data::kLost);
            break;
        }
      });
    }
  }
  // The clock steps, or its rate differs widely from the others' for a while.
  void DisturbClock(std::size_t node) {
    // A daemon that has not read a clock before cannot know that the clock stepped.
    for (std::size_t d = 0; d < cluster_.daemons(); ++d) {
      if (!cluster_.link(d, node).has_been_up()) return;
    }
    Server& server = cluster_.server(node);
    if (world_.Chance(0.6)) {
      const Duration most = world_.Chance(0.3) ? milliseconds(10) : milliseconds(1500);
      server.StepClock(world_.Between(-most, most));
      return;
    }
    const double rate = server.rate();
    server.SetRate(world_.Chance(0.5) ? 1.0 + world_.Fraction() : 1.0 - world_.Fraction() / 2);
    world_.Do(RandomDuration(), [&server, rate] { server.SetRate(rate); });
  }

  World& world_;
  Cluster& cluster_;
  const MonotonicTime end_;
  const bool guarded_;
};

struct Verdicts {
  std::vector<std::string> faults;
  std::size_t leases = 0;
};

Verdicts Schedule(std::uint64_t seed) {
  World world(seed);
  const ClusterOptions options = AnyCluster(world);
  Cluster cluster(world, options);
  Oracle oracle;
  Calls calls;
  std::vector<std::unique_ptr<Client>> clients;
  const std::size_t keys = 1 + world.Below(3);
  const double sharing = world.Chance(0.5) ? world.Fraction() : 0;
  const MonotonicTime end = world.now() + kBusy;
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.push_back(
        std::make_unique<Client>(world, cluster, oracle, calls, "client-" + std::to_string(i), keys,
                                 cluster.daemons(), sharing, seed % 4 == 0, milliseconds(400)));
    clients.back()->Run(end);
  }
  Trouble trouble(world, cluster, end, options.guard != GuardMode::kOff);
  if (world.Chance(0.6)) trouble.Begin();
  world.RunUntil(end + kQuiet);

  Verdicts run{oracle.violations(), oracle.leases()};
  for (const std::string& leftover : cluster.Leftovers()) {
    run.faults.push_back("left behind: " + leftover);
  }
  if (calls.made != calls.answered) {
    run.faults.push_back(std::to_string(calls.made - calls.answered) + " calls not answered");
  }
  return run;
}

TEST(Simulation, SchedulesKeepTheInvariants) {
  const Seeds seeds = SeedsFor(4000);
  std::size_t leases = 0;
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    const Verdicts run = Schedule(seed);
    leases += run.leases;
    for (const std::string& fault : run.faults) {
      ADD_FAILURE() << "REDLOCK_SIM_SEED=" << seed << ": " << fault;
    }
    if (HasFailure()) return;
  }
  // A simulation in which nothing succeeds would prove nothing.
  EXPECT_GT(leases, seeds.count * 5);
}

TEST(Simulation, TheSameSeedGivesTheSameRun) {
  const Verdicts a = Schedule(7);
  const Verdicts b = Schedule(7);
  EXPECT_EQ(a.leases, b.leases);
}

}  // namespace
}  // namespace redlock::sim
