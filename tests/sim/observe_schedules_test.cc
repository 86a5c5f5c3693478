// Random schedules with observers: what they are told is never wrong, and in the end it is what the
// nodes store. Announcements are lost, nodes restart and lose their data, daemons are suspended.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/client.h"
#include "tests/sim/cluster.h"
#include "tests/sim/listeners.h"
#include "tests/sim/observer_oracle.h"
#include "tests/sim/oracle.h"
#include "tests/sim/seeds.h"
#include "tests/sim/world.h"

namespace redlock::sim {
namespace {

constexpr Duration kBusy = seconds(3);
// After this time every TTL, watchdog, roll-back and quarantine has ended.
constexpr Duration kQuiet = seconds(8);
// How late an observer may learn of a change if announcements are lost.
constexpr Duration kNoticed = seconds(3);
constexpr Duration kLongestTtl = milliseconds(600);

class Schedule {
 public:
  explicit Schedule(std::uint64_t seed)
      : world_(seed),
        options_(Options(world_)),
        cluster_(world_, options_),
        reads_(world_, cluster_),
        end_(world_.now() + kBusy),
        keys_(1 + world_.Below(2)) {}

  void Run() {
    const double sharing = world_.Chance(0.5) ? world_.Fraction() : 0;
    const bool semaphores = world_.Chance(0.2);
    for (std::size_t i = 0; i < 3; ++i) {
      clients_.push_back(std::make_unique<Client>(
          world_, cluster_, oracle_, calls_, "client-" + std::to_string(i), keys_,
          cluster_.daemons(), sharing, semaphores, milliseconds(400)));
      clients_.back()->Run(end_);
    }
    for (std::size_t daemon = 0; daemon < cluster_.daemons(); ++daemon) {
      for (std::size_t key = 0; key < keys_; ++key) Join(daemon, key);
    }
    ComeAndGo();
    if (world_.Chance(0.7)) Disturb();
    world_.RunUntil(end_);
    cluster_.CalmNetwork();
    world_.RunUntil(end_ + kQuiet);
    ExpectAll("after the busy time", Observed::State::kVacant, {});
    Lead();
  }

  [[nodiscard]] const std::vector<std::string>& Faults() {
    for (const auto& observer : observers_) {
      for (const std::string& fault : observer->oracle.violations()) faults_.push_back(fault);
      told_ += observer->oracle.told();
      observer->handle.reset();
    }
    world_.RunUntil(world_.now() + seconds(2));
    for (const std::string& leftover : cluster_.Leftovers()) {
      faults_.push_back("left behind: " + leftover);
    }
    return faults_;
  }
  [[nodiscard]] std::size_t told() const { return told_; }

 private:
  struct Observer {
    ObserverOracle oracle;
    std::size_t daemon = 0;
    std::size_t key = 0;
    std::shared_ptr<void> handle = {};
  };

  static ClusterOptions Options(World& world) {
    constexpr std::size_t kNodes[] = {1, 3, 3, 4, 5};
    ClusterOptions options;
    options.nodes = kNodes[world.Below(std::size(kNodes))];
    options.daemons = 2 + world.Below(2);
    if (world.Chance(0.6)) {
      options.guard = GuardMode::kOn;
      options.lock.guard.quarantine = kLongestTtl;
      options.lock.guard.inspect_interval = milliseconds(100);
    }
    options.most_node_rate = 0.004;
    if (world.Chance(0.5)) options.most_wall_skew = kLongestTtl / 3;
    if (world.Chance(0.7)) options.faults.slow = 0.05;
    if (world.Chance(0.7)) options.faults.breaks = 0.02;
    if (world.Chance(0.5)) options.faults.mutes = world.Fraction();
    return options;
  }

  void Join(std::size_t daemon, std::size_t key) {
    const std::string name = "key-" + std::to_string(key);
    observers_.push_back(std::make_unique<Observer>(
        Observer{{name, oracle_, reads_, QuorumOf(options_.nodes)}, daemon, key}));
    Observer* const observer = observers_.back().get();
    observer->handle = cluster_.shard(daemon).Observe(
        Key(name), [observer](const ObservedPtr& state) { observer->oracle.Told(*state); });
  }

  void ComeAndGo() {
    if (world_.now() >= end_) return;
    const std::size_t daemon = world_.Below(cluster_.daemons());
    if (!cluster_.suspended(daemon)) {
      Observer& leaves = *observers_[world_.Below(observers_.size())];
      if (leaves.daemon == daemon) leaves.handle.reset();
      Join(daemon, world_.Below(keys_));
    }
    world_.Do(world_.Between({}, milliseconds(400)), [this] { ComeAndGo(); });
  }

  void Disturb() {
    if (world_.now() >= end_) return;
    const std::size_t node = world_.Below(cluster_.nodes());
    const std::size_t daemon = world_.Below(cluster_.daemons());
    const Duration time = world_.Between(milliseconds(1), milliseconds(900));
    switch (world_.Below(options_.guard == GuardMode::kOff ? 5 : 7)) {
      case 0:
        cluster_.Down(node);
        world_.Do(time, [this, node] { cluster_.Up(node); });
        break;
      case 1:
        cluster_.Pause(node);
        world_.Do(time, [this, node] { cluster_.Resume(node); });
        break;
      case 2:
        cluster_.Cut(daemon, node,
                     world_.Chance(0.5) ? Link::Direction::kRequests : Link::Direction::kReplies);
        world_.Do(time, [this, node] { cluster_.Up(node); });
        break;
      case 3:
        cluster_.Suspend(daemon);
        world_.Do(time, [this, daemon] { cluster_.Continue(daemon); });
        break;
      case 4:
        cluster_.link(daemon, node).Break(false);
        break;
      default:
        if (cluster_.decided()) LoseData(node);
        break;
    }
    world_.Do(world_.Between({}, milliseconds(600)), [this] { Disturb(); });
  }
  void LoseData(std::size_t node) {
    Server& server = cluster_.server(node);
    if (world_.Chance(0.4)) {
      server.LoseData();
    } else {
      cluster_.Restart(node, Cluster::Data::kLost);
    }
  }

  void ExpectAll(const std::string& when, Observed::State state, FencingToken fence) {
    for (const auto& observer : observers_) {
      if (!observer->handle || (fence.value != 0 && observer->key != 0)) continue;
      const Observed& last = observer->oracle.last();
      if (observer->oracle.told() > 0 && last.state == state && last.fence == fence) continue;
      faults_.push_back("an observer at daemon " + std::to_string(observer->daemon) +
                        " has not been told the present state " + when + ": fence " +
                        std::to_string(last.fence.value) + " in state " +
                        std::to_string(static_cast<int>(last.state)) + ", not " +
                        std::to_string(fence.value) + " in state " +
                        std::to_string(static_cast<int>(state)));
    }
  }

  // Somebody holds a key, and is gone.
  void Lead() {
    Lease lease;
    const std::size_t daemon = world_.Below(cluster_.daemons());
    AcquireCommand command{.key = Key("key-0"), .ttl = kLongestTtl, .deadline = std::nullopt};
    auto hold = cluster_.shard(daemon).Hold(
        {.acquire = std::move(command), .interval = kLongestTtl / 2, .max_lifetime = std::nullopt},
        ListenerOf(
            [&lease](const AcquireResult& result) { lease = result.lease.value_or(Lease{}); },
            [&lease](const WatchEvent& event) {
              if (!event.goes_on) lease = {};
            }));
    world_.RunUntil(world_.now() + kNoticed + milliseconds(200));
    if (lease.token.empty()) faults_.push_back("nobody can hold a key in quiet times");
    ExpectAll("of a leader", Observed::State::kHeld, lease.fence);
    // By its end or by that of its TTL.
    if (world_.Chance(0.5)) {
      cluster_.shard(daemon).Release(lease.key, lease.token, [](const ReleaseResult&) {});
    } else {
      hold->Detach();
    }
    world_.RunUntil(world_.now() + kNoticed + kLongestTtl);
    ExpectAll("after a leader", Observed::State::kVacant, {});
  }

  World world_;
  const ClusterOptions options_;
  Cluster cluster_;
  ReadLog reads_;
  const MonotonicTime end_;
  const std::size_t keys_;
  Oracle oracle_;
  Calls calls_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<Observer>> observers_;
  std::vector<std::string> faults_;
  std::size_t told_ = 0;
};

TEST(ObserveSimulation, SchedulesKeepTheInvariants) {
  const Seeds seeds = SeedsFor(800);
  std::size_t told = 0;
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    Schedule schedule(seed);
    schedule.Run();
    for (const std::string& fault : schedule.Faults()) {
      ADD_FAILURE() << "REDLOCK_SIM_SEED=" << seed << ": " << fault;
    }
    told += schedule.told();
    if (HasFailure()) return;
  }
  // Observers that are told nothing would prove nothing.
  EXPECT_GT(told, seeds.count * 50);
}

}  // namespace
}  // namespace redlock::sim
