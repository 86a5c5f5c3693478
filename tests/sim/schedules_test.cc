// Thousands of random schedules of the whole core; after each, the invariants.
//
// REDLOCK_SIM_SCHEDULES: how many (default 4000). REDLOCK_SIM_FIRST: the first seed (default 1).
// REDLOCK_SIM_SEED: replays that one alone.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/sim/client.h"
#include "tests/sim/cluster.h"
#include "tests/sim/oracle.h"
#include "tests/sim/world.h"

namespace redlock::sim {
namespace {

constexpr std::size_t kClients = 4;
constexpr Duration kBusy = seconds(3);
// Afterwards every TTL (0.6 s at most), watchdog and roll-back has ended.
constexpr Duration kQuiet = seconds(12);

std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

// What the algorithm assumes: clocks that run at rates within the drift budget, daemons' wall
// clocks anywhere, nodes that keep their data.
ClusterOptions AnyCluster(World& world) {
  constexpr std::size_t kNodes[] = {1, 3, 3, 3, 4, 5};
  ClusterOptions options;
  options.nodes = kNodes[world.Below(std::size(kNodes))];
  options.daemons = 1 + world.Below(3);
  options.most_node_rate = 0.004;
  if (world.Chance(0.5)) options.most_wall_skew = seconds(10);
  if (world.Chance(0.7)) options.faults.slow = 0.05;
  if (world.Chance(0.7)) options.faults.breaks = 0.02;
  return options;
}

// Nodes go down, or stop for a while, all through the busy time.
void Trouble(World& world, Cluster& cluster, MonotonicTime end) {
  if (world.now() >= end) return;
  const std::size_t node = world.Below(cluster.nodes());
  const bool down = world.Chance(0.5);
  down ? cluster.Down(node) : cluster.Pause(node);
  world.Do(world.Between(milliseconds(1), milliseconds(700)),
           [&cluster, node, down] { down ? cluster.Up(node) : cluster.Resume(node); });
  world.Do(world.Between({}, milliseconds(800)),
           [&world, &cluster, end] { Trouble(world, cluster, end); });
}

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
  const std::size_t keys = 1 + world.Below(2);
  const MonotonicTime end = world.now() + kBusy;
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<Client>(world, cluster, oracle, calls,
                                               "client-" + std::to_string(i), keys));
    clients.back()->Run(end);
  }
  if (world.Chance(0.6)) Trouble(world, cluster, end);
  world.RunUntil(end + kQuiet);

  Verdicts run{oracle.violations(), oracle.leases()};
  for (const std::string& leftover : cluster.Leftovers()) run.faults.push_back("left: " + leftover);
  if (world.pending_timers() != 0) {
    run.faults.push_back("left: " + std::to_string(world.pending_timers()) + " timers");
  }
  if (calls.made != calls.answered) {
    run.faults.push_back(std::to_string(calls.made - calls.answered) + " calls not answered");
  }
  return run;
}

TEST(Simulation, SchedulesKeepTheInvariants) {
  const std::uint64_t one = FromEnvironment("REDLOCK_SIM_SEED", 0);
  const std::uint64_t first = one != 0 ? one : FromEnvironment("REDLOCK_SIM_FIRST", 1);
  const std::uint64_t count = one != 0 ? 1 : FromEnvironment("REDLOCK_SIM_SCHEDULES", 4000);
  std::size_t leases = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const Verdicts run = Schedule(seed);
    leases += run.leases;
    for (const std::string& fault : run.faults) {
      ADD_FAILURE() << "REDLOCK_SIM_SEED=" << seed << ": " << fault;
    }
    if (HasFailure()) return;
  }
  // A simulation in which nothing succeeds would prove nothing.
  EXPECT_GT(leases, count * 5);
}

TEST(Simulation, TheSameSeedGivesTheSameRun) {
  const Verdicts a = Schedule(7);
  const Verdicts b = Schedule(7);
  EXPECT_EQ(a.leases, b.leases);
}

}  // namespace
}  // namespace redlock::sim
