// Thousands of random schedules with the client library's own state machine: clients, daemons and
// nodes in one world, with faults between all of them. Checks the invariants after each schedule.
//
// seeds.h lists the variables that select the schedules.
#include <gtest/gtest.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/cpp/core/keys.h"
#include "tests/sim/client_process.h"
#include "tests/sim/seeds.h"

namespace redlock::sim {
namespace {

constexpr std::size_t kClients = 4;
constexpr Duration kBusy = seconds(4);
// After this time every TTL (at most 0.8 s), grace and roll-back has ended.
constexpr Duration kQuiet = seconds(14);

// The faults of a schedule.
struct Mix {
  ClusterOptions cluster;
  StreamFaults streams;
  bool nodes = false;      // nodes go down, stop, or are cut off
  bool processes = false;  // daemons and clients are killed and suspended
  bool network = false;    // streams break and are cut
  bool drains = false;
  bool one_stays = false;  // at any time, at least one daemon serves and can be reached at once
  Duration least_ttl = milliseconds(60);
  Duration least_grace = milliseconds(200);
};

Mix AnyMix(World& world) {
  constexpr std::size_t kNodes[] = {1, 3, 3, 3, 5};
  Mix mix;
  mix.cluster.nodes = kNodes[world.Below(std::size(kNodes))];
  mix.cluster.daemons = 2 + world.Below(2);
  mix.cluster.most_node_rate = 0.004;
  mix.cluster.lock.release_timeout = seconds(2);
  if (world.Chance(0.5)) mix.cluster.most_wall_skew = seconds(10);
  if (world.Chance(0.4)) mix.cluster.faults.slow = 0.05;
  if (world.Chance(0.4)) mix.cluster.faults.breaks = 0.02;
  mix.nodes = world.Chance(0.4);
  mix.processes = world.Chance(0.6);
  mix.network = world.Chance(0.6);
  mix.drains = world.Chance(0.6);
  if (world.Chance(0.6)) mix.streams.slow = 0.05;
  if (world.Chance(0.2)) mix.streams.slow_delay = milliseconds(800);
  return mix;
}

// A user of a client: acquires one lock after another and performs random operations with it.
class User {
 public:
  User(World& world, ClientProcess& process, std::string name, std::size_t keys, Duration least_ttl,
       double sharing, bool semaphores, MonotonicTime end)
      : world_(world),
        process_(process),
        name_(std::move(name)),
        keys_(keys),
        least_ttl_(least_ttl),
        sharing_(sharing),
        semaphores_(semaphores),
        end_(end) {
    process_.SetOnOutcome([this](client::CallId call, const ClientProcess::Outcome& outcome) {
      OnOutcome(call, outcome);
    });
    process_.SetOnLost([this](const client::LeaseRef& lease) {
      if (lease != lease_) return;
      // While the lost lease is trusted, its token is not used again.
      if (lease->TrustedUntil() > process_.Now()) ++tokens_;
      Later(milliseconds(20), [this] { Next(); });
    });
  }

  void Next() {
    lease_.reset();
    Later(milliseconds(60), [this] { Acquire(); });
  }

 private:
  // Runs in the process if it still exists.
  void Later(Duration most, std::function<void()> what) {
    if (world_.now() >= end_) return;
    world_.Do(world_.Between({}, most), [this, what = std::move(what), turn = ++turn_] {
      process_.scheduler().Run([this, what, turn] {
        if (turn == turn_) what();
      });
    });
  }

  void Acquire() {
    client::AcquireCommand command;
    command.key = AnyKey();
    command.ttl = world_.Between(least_ttl_, milliseconds(800));
    if (world_.Chance(0.3)) {
      command.wait = Duration{};
    } else {
      command.wait = world_.Between(milliseconds(1), milliseconds(900));
    }
    if (world_.Chance(0.2)) {
      if (world_.Chance(0.4)) ++tokens_;
      command.token = name_ + "-" + std::to_string(tokens_);
      constexpr client::Way kWays[] = {client::Way::kAcquire, client::Way::kAcquireOrExtend,
                                       client::Way::kAcquireOrExtend, client::Way::kAdopt};
      command.way = kWays[world_.Below(std::size(kWays))];
    }
    acquiring_ = process_.Acquire(command);
    if (world_.Chance(0.2)) {
      world_.Do(world_.Between({}, milliseconds(100)), [this, call = acquiring_] {
        process_.scheduler().Run([this, call] { process_.GiveUp(call); });
      });
    }
  }

  // One of the keys, or all of them together, exclusively or shared. Or a semaphore, mostly of one
  // limit.
  std::string AnyKey() {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < keys_; ++i) names.push_back("key-" + std::to_string(i));
    if (semaphores_ && !world_.Chance(0.05)) {
      return client::semaphore(names[world_.Below(keys_)], world_.Chance(0.1) ? 3 : 2);
    }
    const std::size_t chosen = world_.Below(keys_ == 1 ? 1 : keys_ + 1);
    const std::string key = chosen < keys_ ? names[chosen] : client::together(std::move(names));
    return world_.Chance(sharing_) ? client::shared(key) : key;
  }

  void OnOutcome(client::CallId call, const ClientProcess::Outcome& outcome) {
    if (outcome.lease) {
      lease_ = outcome.lease;
      Hold();
    } else if (call == acquiring_ || call == releasing_ || call == downgrading_) {
      // A token is not used again after a release or a downgrade that failed.
      if (outcome.error && call != acquiring_) ++tokens_;
      Next();
    }
  }

  void Hold() {
    const Duration longest = world_.Chance(0.5) ? milliseconds(100) : milliseconds(1500);
    Later(longest, [this] {
      switch (world_.Below(5)) {
        case 0:
          (void)process_.Extend(lease_, world_.Between(milliseconds(60), milliseconds(800)));
          Hold();
          return;
        case 1:
          (void)process_.Extend(lease_, milliseconds(300));
          releasing_ = process_.Release(lease_);
          return;
        case 2:
          if (Downgrade()) return;
          [[fallthrough]];
        default:
          releasing_ = process_.Release(lease_);
          return;
      }
    });
  }

  bool Downgrade() {
    if (sharing_ == 0 || client::IsShared(lease_->key()) || client::IsSemaphore(lease_->key())) {
      return false;
    }
    downgrading_ = process_.Downgrade(lease_);
    if (world_.Chance(0.1)) {
      world_.Do(world_.Between({}, milliseconds(20)), [this, call = downgrading_] {
        process_.scheduler().Run([this, call] { process_.GiveUp(call); });
      });
    }
    return true;
  }

  World& world_;
  ClientProcess& process_;
  const std::string name_;
  const std::size_t keys_;
  const Duration least_ttl_;
  const double sharing_;  // which part of the acquisitions share their keys
  const bool semaphores_;
  const MonotonicTime end_;
  int tokens_ = 0;
  int turn_ = 0;
  client::CallId acquiring_ = 0;
  client::CallId releasing_ = 0;
  client::CallId downgrading_ = 0;
  client::LeaseRef lease_;
};

class Trouble {
 public:
  Trouble(World& world, Cluster& cluster, Fleet& fleet,
          std::vector<std::unique_ptr<ClientProcess>>& clients, const Mix& mix, MonotonicTime end)
      : world_(world), cluster_(cluster), fleet_(fleet), clients_(clients), mix_(mix), end_(end) {
    if (mix.nodes) {
      kinds_.emplace_back([this] { NodeDown(); });
      kinds_.emplace_back([this] { NodeStops(); });
    }
    if (mix.processes) {
      kinds_.emplace_back([this] { fleet_.Kill(AnyDaemon(), RandomDuration()); });
      kinds_.emplace_back([this] { SuspendDaemon(); });
      kinds_.emplace_back([this] { SuspendClient(); });
      kinds_.emplace_back([this] { cluster_.StepWallClock(AnyDaemon()); });
    }
    if (mix.network) {
      kinds_.emplace_back([this] { Break(); });
      kinds_.emplace_back([this] { Cut(); });
    }
    if (mix.drains) {
      kinds_.emplace_back([this] {
        const std::size_t several = 1 + world_.Below(cluster_.daemons());
        for (std::size_t i = 0; i < several; ++i) Drain(AnyDaemon());
      });
    }
  }

  void Begin() {
    if (world_.now() >= end_ || kinds_.empty()) return;
    kinds_[world_.Below(kinds_.size())]();
    world_.Do(world_.Between({}, milliseconds(500)), [this] { Begin(); });
  }

 private:
  [[nodiscard]] Duration RandomDuration() {
    return world_.Between(milliseconds(1), milliseconds(900));
  }
  [[nodiscard]] std::size_t AnyDaemon() { return world_.Below(cluster_.daemons()); }
  void Drain(std::size_t daemon) {
    std::size_t others = 0;
    for (std::size_t d = 0; d < cluster_.daemons(); ++d) {
      if (d != daemon && fleet_.Serves(d)) ++others;
    }
    if (others > 0 || !mix_.one_stays) fleet_.Drain(daemon, RandomDuration(), RandomDuration());
  }
  void NodeDown() {
    const std::size_t node = world_.Below(cluster_.nodes());
    cluster_.Down(node);
    world_.Do(RandomDuration(), [this, node] { cluster_.Up(node); });
  }
  void NodeStops() {
    const std::size_t node = world_.Below(cluster_.nodes());
    cluster_.Pause(node);
    world_.Do(RandomDuration(), [this, node] { cluster_.Resume(node); });
  }
  void SuspendDaemon() {
    const std::size_t daemon = AnyDaemon();
    if (!cluster_.is_up(daemon)) return;
    const int process = fleet_.process(daemon);
    cluster_.Suspend(daemon);
    world_.Do(RandomDuration(), [this, daemon, process] {
      if (fleet_.process(daemon) == process) cluster_.Continue(daemon);
    });
  }
  void SuspendClient() {
    ClientProcess& client = *clients_[world_.Below(clients_.size())];
    client.Suspend();
    world_.Do(RandomDuration(), [&client] { client.Continue(); });
  }
  void Break() {
    fleet_.ForEachLink([this](SessionLink& link) {
      if (world_.Chance(0.4)) link.Break();
    });
  }
  // Cuts a stream, or all streams, in one or both directions, as a partition does.
  void Cut() {
    const bool to_daemon = world_.Chance(0.6);
    const bool to_client = !to_daemon || world_.Chance(0.5);
    const double part = world_.Chance(0.3) ? 1 : 0.4;
    fleet_.ForEachLink([&](SessionLink& link) {
      if (!world_.Chance(part)) return;
      if (to_daemon) link.Cut(SessionLink::Direction::kToDaemon);
      if (to_client) link.Cut(SessionLink::Direction::kToClient);
    });
  }

  World& world_;
  Cluster& cluster_;
  Fleet& fleet_;
  std::vector<std::unique_ptr<ClientProcess>>& clients_;
  const Mix mix_;
  const MonotonicTime end_;
  std::vector<std::function<void()>> kinds_;
};

struct Run {
  std::vector<std::string> faults;
  std::size_t leases = 0;
  std::vector<std::string> losses;
};

Run Schedule(std::uint64_t seed, const std::function<Mix(World&)>& make_mix) {
  World world(seed);
  const Mix mix = make_mix(world);
  Cluster cluster(world, mix.cluster);
  Fleet fleet(world, cluster, mix.streams);
  TrustOracle oracle;
  std::vector<std::unique_ptr<ClientProcess>> clients;
  std::vector<std::unique_ptr<User>> users;
  const std::size_t keys = 1 + world.Below(2);
  const double sharing = world.Chance(0.5) ? world.Fraction() : 0;
  const MonotonicTime end = world.now() + kBusy;
  for (std::size_t i = 0; i < kClients; ++i) {
    ClientProcessOptions options;
    options.grace = world.Between(mix.least_grace, milliseconds(1200));
    options.rate = 0.996 + 0.008 * world.Fraction();
    for (std::size_t d = 0; d < cluster.daemons(); ++d) {
      options.daemons.push_back((i + d) % cluster.daemons());
    }
    clients.push_back(std::make_unique<ClientProcess>(world, fleet, oracle, i, options));
    ClientProcess& process = *clients.back();
    oracle.AddClient("client-" + std::to_string(i),
                     [&process](const std::string& key) { return process.Trusts(key); });
    users.push_back(std::make_unique<User>(world, process, "own-" + std::to_string(i), keys,
                                           mix.least_ttl, sharing, seed % 4 == 0, end));
    users.back()->Next();
  }
  Trouble trouble(world, cluster, fleet, clients, mix, end);
  trouble.Begin();
  world.RunUntil(end);
  Run run;
  for (const auto& client : clients) {
    run.losses.insert(run.losses.end(), client->losses().begin(), client->losses().end());
  }
  // Some clients close in an orderly way, others do not.
  for (const auto& client : clients) {
    client->Continue();
    world.Chance(0.5) ? client->Close() : client->Kill();
  }
  world.RunUntil(end + kQuiet);

  run.faults = oracle.violations();
  run.leases = oracle.leases();
  for (const std::string& leftover : cluster.Leftovers()) {
    run.faults.push_back("left behind: " + leftover);
  }
  return run;
}

// A killed daemon frees nothing: its streams, leases and watchdogs refer to one another forever.
// This is not a leak of the daemon; the end-to-end tests look for such leaks.
class LeaksAllowed {
 public:
#if defined(__SANITIZE_ADDRESS__)
  LeaksAllowed() { __lsan_disable(); }
  ~LeaksAllowed() { __lsan_enable(); }
  LeaksAllowed(const LeaksAllowed&) = delete;
  LeaksAllowed& operator=(const LeaksAllowed&) = delete;
#endif
};

void RunSchedules(const std::function<Mix(World&)>& mix, std::uint64_t count, bool may_lose) {
  [[maybe_unused]] const LeaksAllowed leaks_allowed;
  const Seeds seeds = SeedsFor(count);
  std::size_t leases = 0;
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    Run run = Schedule(seed, mix);
    leases += run.leases;
    if (!may_lose) run.faults.insert(run.faults.end(), run.losses.begin(), run.losses.end());
    for (const std::string& fault : run.faults) {
      ADD_FAILURE() << "REDLOCK_SIM_SEED=" << seed << ": " << fault;
    }
    if (testing::Test::HasFailure()) return;
  }
  // A simulation in which nothing succeeds would prove nothing.
  EXPECT_GT(leases, seeds.count * 5);
}

TEST(ClientSimulation, SchedulesKeepTheInvariants) { RunSchedules(AnyMix, 4000, true); }

// Daemons start and stop in an orderly way, and there are no other faults: a client that can reach
// a daemon with a quorum loses nothing.
TEST(ClientSimulation, MovesLoseNothing) {
  RunSchedules(
      [](World& world) {
        Mix mix;
        mix.cluster.daemons = 3;
        if (world.Chance(0.5)) mix.cluster.most_wall_skew = seconds(10);
        mix.drains = true;
        mix.one_stays = true;
        mix.least_ttl = milliseconds(600);
        mix.least_grace = milliseconds(600);
        return mix;
      },
      1000, false);
}

}  // namespace
}  // namespace redlock::sim
