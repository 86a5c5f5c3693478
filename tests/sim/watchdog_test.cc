// Tests of watchdogs.
#include <algorithm>
#include <array>
#include <map>

#include "tests/sim/end_lease.h"
#include "tests/sim/listeners.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

WatchCommand Item(const Lease& lease, Duration ttl) {
  return {.key = lease.key,
          .token = lease.token,
          .ttl = ttl,
          .interval = ttl / 2,
          .keep_watching_after_loss = false,
          .max_lifetime = std::nullopt};
}

class Watching : public Scenario {
 protected:
  struct Seen {
    WatchEvent event;
    MonotonicTime at;
  };

  void Watch(WatchCommand command) {
    watchdog =
        cluster->shard(0).Watch(std::move(command), ListenerOf([this](const WatchEvent& event) {
                                  seen.push_back({event, world.now()});
                                }));
  }

  std::size_t Count(WatchEvent::Type type) const {
    std::size_t count = 0;
    for (const Seen& one : seen) count += one.event.type == type ? 1 : 0;
    return count;
  }

  void StopAllNodes() {
    for (std::size_t node = 0; node < 3; ++node) cluster->Pause(node);
  }

  std::shared_ptr<Watchdog> watchdog;
  std::vector<Seen> seen;
};

TEST_F(Watching, ExtendsAtOnceAndThenAtItsInterval) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  Watch(Item(lease, seconds(1)));
  Pass(milliseconds(2600));
  ASSERT_GE(seen.size(), 6U);  // at 0, at a random time within 0.5 s, and every 0.5 s from then on
  EXPECT_EQ(Count(WatchEvent::Type::kExtended), seen.size());
  for (std::size_t i = 2; i < seen.size(); ++i) {
    EXPECT_LE(seen[i].at - seen[i - 1].at, milliseconds(501));
    EXPECT_GE(seen[i].at - seen[i - 1].at, milliseconds(484));  // timer ticks
  }
  const std::size_t events_at_end = seen.size();
  EndLease(cluster->shard(0), *watchdog);
  Pass(seconds(2));
  EXPECT_EQ(seen.size(), events_at_end);  // no event after the end
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Watching, ExtensionsOfManyLeasesAreSpreadOutAndShareWrites) {
  SetUpCluster();
  constexpr std::size_t kLeases = 1000;
  std::vector<std::shared_ptr<Watchdog>> watchdogs;
  std::vector<MonotonicTime> extended;
  for (std::size_t i = 0; i < kLeases; ++i) {
    const Lease lease = MustAcquire(Wants("k" + std::to_string(i), seconds(10)));
    WatchCommand item = Item(lease, seconds(10));
    item.held = lease;
    watchdogs.push_back(cluster->shard(0).Watch(
        item, ListenerOf([&](const WatchEvent&) { extended.push_back(world.now()); })));
  }
  const MonotonicTime start = world.now();
  Pass(seconds(5));
  ASSERT_GE(extended.size(), kLeases - 5);
  std::map<Duration, std::size_t> by_tick;
  std::array<std::size_t, 5> by_second{};
  for (const MonotonicTime at : extended) {
    ++by_tick[(at - start) / milliseconds(16) * milliseconds(16)];
    const auto second = static_cast<std::size_t>((at - start) / seconds(1));
    ++by_second[std::min<std::size_t>(second, 4)];
  }
  EXPECT_LE(by_tick.size(), 5000U / 16 + 2);
  for (const std::size_t count : by_second) EXPECT_GT(count, kLeases / 10);
  for (const auto& one : watchdogs) EndLease(cluster->shard(0), *one);
}

TEST_F(Watching, SurvivesAnOutageOfTwoNodes) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(3)));
  WatchCommand item = Item(lease, seconds(3));
  item.interval = milliseconds(500);
  Watch(item);
  Pass(milliseconds(1400));
  cluster->Down(0);
  cluster->Down(1);
  Pass(seconds(1));
  cluster->Up(0);
  cluster->Up(1);
  Pass(seconds(5));
  EXPECT_EQ(Count(WatchEvent::Type::kLost), 0U);
  EXPECT_GE(Count(WatchEvent::Type::kExtendFailed), 1U);
  EXPECT_EQ(seen.back().event.type, WatchEvent::Type::kExtended);
  EXPECT_EQ(seen.back().event.consecutive_failures, 0);
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, lease.token.str()));
  EndLease(cluster->shard(0), *watchdog);
}

TEST_F(Watching, LossIsReportedInTimeIfNoNodeAnswers) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  Watch(Item(lease, seconds(1)));
  Pass(milliseconds(100));
  ASSERT_EQ(Count(WatchEvent::Type::kExtended), 1U);
  const MonotonicTime valid_until = seen[0].event.lease.valid_until;
  StopAllNodes();
  Pass(seconds(2));
  ASSERT_EQ(Count(WatchEvent::Type::kLost), 1U);
  EXPECT_EQ(seen.back().event.type, WatchEvent::Type::kLost);
  EXPECT_EQ(seen.back().event.error.reason, Reason::kValidityExpired);
  EXPECT_EQ(seen.back().at, valid_until);
  EXPECT_FALSE(seen.back().event.goes_on);
  EXPECT_GE(seen.back().event.consecutive_failures, 2);
}

TEST_F(Watching, LossIsReportedIfAnotherOwnerHoldsTheKey) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  Watch(Item(lease, seconds(1)));
  Pass(milliseconds(100));
  for (std::size_t node = 0; node < 3; ++node) {
    cluster->server(node).LoseData();
    ASSERT_TRUE(cluster->server(node).SetNx("k", "stranger", seconds(5)));
  }
  Pass(milliseconds(500));
  ASSERT_EQ(Count(WatchEvent::Type::kLost), 1U);
  EXPECT_EQ(seen.back().event.error.reason, Reason::kLockNotHeld);
}

TEST_F(Watching, CanBeStartedBeforeTheLockIsAcquired) {
  SetUpCluster();
  WatchCommand item = Item({.key = Key("k"), .token = OwnerToken("mine")}, seconds(1));
  item.keep_watching_after_loss = true;
  Watch(item);
  Pass(milliseconds(700));
  EXPECT_EQ(Count(WatchEvent::Type::kLost), 1U);
  EXPECT_TRUE(seen[0].event.goes_on);
  AcquireCommand command = Wants("k", seconds(1));
  command.token = OwnerToken("mine");
  MustAcquire(command);
  Pass(seconds(2));
  EXPECT_GE(Count(WatchEvent::Type::kExtended), 2U);
  for (std::size_t node = 0; node < 3; ++node) cluster->server(node).LoseData();
  Pass(seconds(1));
  EXPECT_EQ(Count(WatchEvent::Type::kLost), 2U);  // and once for the second loss
  EndLease(cluster->shard(0), *watchdog);
}

TEST_F(Watching, AnEndDuringAnExtensionLeavesTheLockToExpire) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(2)));
  Watch(Item(lease, seconds(2)));
  Pass(microseconds(50));  // the first extension is in flight
  EndLease(cluster->shard(0), *watchdog);
  Pass(milliseconds(10));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, lease.token.str()));
  Pass(seconds(3));
  EXPECT_EQ(Holders("k"), NoHolders());  // the TTL ends the lock
}

TEST_F(Watching, AfterALossTheRemainingKeysAreLeftToExpire) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  Watch(Item(lease, seconds(10)));
  Pass(milliseconds(10));
  for (std::size_t node = 0; node < 2; ++node) {
    cluster->server(node).LoseData();
    ASSERT_TRUE(cluster->server(node).SetNx("k", "stranger", seconds(20)));
  }
  Pass(seconds(5));
  ASSERT_EQ(seen.back().event.type, WatchEvent::Type::kLost);
  EXPECT_EQ(seen.back().event.lease.token, lease.token);
  Pass(milliseconds(10));
  EXPECT_EQ(Holders("k")[2], lease.token.str());
}

TEST_F(Watching, AReleaseOfTheTokenEndsTheWatch) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  Watch(Item(lease, seconds(10)));
  Pass(milliseconds(10));
  EXPECT_TRUE(Release("k", "somebody-elses").error);
  EXPECT_TRUE(seen.back().event.goes_on);
  EXPECT_FALSE(Release("k", lease.token.str()).error);
  EXPECT_EQ(seen.back().event.type, WatchEvent::Type::kReleased);
  EXPECT_FALSE(seen.back().event.goes_on);
}

TEST_F(Watching, AForcedReleaseIsReportedAsALoss) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  Watch(Item(lease, seconds(10)));
  Pass(milliseconds(10));
  bool done = false;
  cluster->shard(0).ForceRelease(Key("k"), [&](const InspectResult& before, const auto& failure) {
    EXPECT_TRUE(before.held);
    EXPECT_FALSE(failure);
    done = true;
  });
  Pass(milliseconds(10));
  EXPECT_TRUE(done);
  EXPECT_EQ(seen.back().event.type, WatchEvent::Type::kLost);
  EXPECT_EQ(Holders("k"), NoHolders());
}

class Holding : public Scenario {
 protected:
  std::shared_ptr<HoldOperation> Hold(const std::string& key, Duration ttl,
                                      RetryPolicy retry = {}) {
    return cluster->shard(0).Hold(
        {.acquire = Wants(key, ttl, retry), .interval = ttl / 2, .max_lifetime = std::nullopt},
        ListenerOf([this](const AcquireResult& result) { decided = result; },
                   [this](const WatchEvent& event) { seen.push_back(event); }));
  }
  std::optional<AcquireResult> decided;
  std::vector<WatchEvent> seen;
};

TEST_F(Holding, KeepsTheLockUntilTheHoldEnds) {
  SetUpCluster();
  const auto hold = Hold("k", seconds(1));
  Pass(seconds(5));
  ASSERT_TRUE(decided && decided->lease);
  EXPECT_GE(seen.size(), 9U);
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, decided->lease->token.str()));
  EndHold(cluster->shard(0), *hold);
  Pass(milliseconds(1));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Holding, EndingDuringTheAcquisitionLeavesNoLock) {
  for (int step = 0; step <= 12; ++step) {  // at every moment of the round and after it
    SetUpCluster();
    const auto hold = Hold("k", seconds(60));
    Pass(microseconds(25 * step));
    EndHold(cluster->shard(0), *hold);
    Pass(milliseconds(2));
    EXPECT_EQ(Holders("k"), NoHolders()) << step;
    Pass(seconds(1));
  }
}

TEST_F(Holding, EndingDuringAnExtensionLeavesNoLock) {
  for (int step = 0; step <= 12; ++step) {
    SetUpCluster();
    const auto hold = Hold("k", seconds(2));
    Pass(milliseconds(1));
    ASSERT_TRUE(decided && decided->lease);
    const std::size_t sent = cluster->link(0, 0).requests();
    while (cluster->link(0, 0).requests() == sent) Pass(microseconds(10));
    Pass(microseconds(25 * step));
    EndHold(cluster->shard(0), *hold);
    Pass(milliseconds(2));
    EXPECT_EQ(Holders("k"), NoHolders()) << step;
    Pass(seconds(1));
  }
}

TEST_F(Holding, EndingWhileWaitingLeavesTheQueue) {
  SetUpCluster();
  MustAcquire(Wants("k", seconds(20)));
  const auto hold = Hold("k", seconds(1));
  Pass(seconds(1));
  EXPECT_EQ(cluster->shard(0).waiters(Key("k")), 1U);
  EndHold(cluster->shard(0), *hold);
  EXPECT_EQ(cluster->shard(0).waiters(Key("k")), 0U);
  EXPECT_FALSE(decided);
}

TEST_F(Holding, EndingHandsTheLockToTheNextWaiter) {
  SetUpCluster();
  const auto first = Hold("k", seconds(2));
  Pass(milliseconds(1));
  std::optional<AcquireResult> next;
  cluster->shard(0).Acquire(Wants("k", seconds(1), {}),
                            [&](AcquireResult result) { next = std::move(result); });
  Pass(milliseconds(5));
  EndHold(cluster->shard(0), *first);
  Pass(milliseconds(1));
  ASSERT_TRUE(next);
  EXPECT_TRUE(next->lease);
}

TEST_F(Holding, AnExtensionByAnotherCallCounts) {
  SetUpCluster();
  const auto hold = Hold("k", seconds(1));
  Pass(milliseconds(1));
  const ExtendResult longer = Extend("k", decided->lease->token.str(), seconds(10));
  ASSERT_TRUE(longer.lease);
  const auto watchdog = hold->TakeWatchdog();
  watchdog->Confirmed(*longer.lease);
  for (std::size_t node = 0; node < 3; ++node) cluster->Pause(node);
  Pass(seconds(3));
  for (const WatchEvent& event : seen) EXPECT_NE(event.type, WatchEvent::Type::kLost);
  Pass(seconds(8));
  EXPECT_EQ(seen.back().type, WatchEvent::Type::kLost);
}

TEST_F(Holding, MovesToAnotherDaemonWithoutAGap) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const auto hold = Hold("k", seconds(1));
  Pass(milliseconds(700));
  std::vector<WatchEvent> moved;
  const auto watchdog =
      cluster->shard(1).Watch({.key = Key("k"),
                               .token = decided->lease->token,
                               .ttl = seconds(1),
                               .interval = milliseconds(500)},
                              ListenerOf([&](const WatchEvent& event) { moved.push_back(event); }));
  Pass(milliseconds(5));
  hold->Detach();
  Pass(seconds(5));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, decided->lease->token.str()));
  for (const WatchEvent& event : moved) {
    ASSERT_EQ(event.type, WatchEvent::Type::kExtended);
    EXPECT_EQ(event.lease.fence, decided->lease->fence);
  }
  EndLease(cluster->shard(0), *watchdog);
}

// The client's connection broke, and the client moved to another daemon before the first daemon
// noticed.
TEST_F(Holding, ALateEndDoesNotReleaseWhatAnotherDaemonAdopted) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const auto old_stream = Hold("k", seconds(1));
  Pass(milliseconds(700));
  const Lease lease = *decided->lease;
  AcquireCommand again = Wants("k", seconds(1));
  again.token = lease.token;
  again.extend_if_held = true;
  std::optional<AcquireResult> adopted;
  std::vector<WatchEvent> moved;
  const auto new_stream =
      cluster->shard(1).Hold({.acquire = again, .interval = milliseconds(500), .max_lifetime = {}},
                             ListenerOf([&](const AcquireResult& result) { adopted = result; },
                                        [&](const WatchEvent& event) { moved.push_back(event); }));
  Pass(milliseconds(5));
  ASSERT_TRUE(adopted && adopted->lease);
  EXPECT_EQ(adopted->lease->fence, lease.fence);
  EndHold(cluster->shard(0), *old_stream);
  Pass(seconds(5));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, lease.token.str()));
  for (const WatchEvent& event : moved) EXPECT_EQ(event.type, WatchEvent::Type::kExtended);
  EndHold(cluster->shard(1), *new_stream);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("k"), NoHolders());
}

// A lease that a watchdog of another daemon extends does not end with the stream.
TEST_F(Holding, ItsEndDoesNotReleaseWhatIsWatchedElsewhere) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const auto stream = Hold("k", seconds(1));
  Pass(milliseconds(700));
  const Lease lease = *decided->lease;
  const auto watch =
      cluster->shard(1).Watch(Item(lease, seconds(1)), ListenerOf([](const WatchEvent&) {}));
  Pass(milliseconds(5));
  EndHold(cluster->shard(0), *stream);
  Pass(seconds(3));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, lease.token.str()));
  EndLease(cluster->shard(1), *watch);
  Pass(seconds(2));
  EXPECT_EQ(Holders("k"), NoHolders());
}

// No validity reaches beyond the lifetime, and the lock expires at its end.
TEST_F(Holding, NoValidityExceedsTheLifetime) {
  SetUpCluster();
  const MonotonicTime start = world.now();
  const auto hold = cluster->shard(0).Hold(
      {.acquire = Wants("k", seconds(10)), .interval = seconds(5), .max_lifetime = seconds(1)},
      ListenerOf([this](const AcquireResult& result) { decided = result; },
                 [this](const WatchEvent& event) { seen.push_back(event); }));
  Pass(milliseconds(990));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, decided->lease->token.str()));
  const MonotonicTime end = start + seconds(1) + milliseconds(1);
  EXPECT_LE(decided->lease->valid_until, end);
  for (const WatchEvent& event : seen) {
    EXPECT_EQ(event.type, WatchEvent::Type::kExtended);
    EXPECT_LE(event.lease.valid_until, end);
  }
  Pass(milliseconds(40));
  EXPECT_EQ(seen.back().type, WatchEvent::Type::kLifetimeEnded);
  EXPECT_EQ(Holders("k"), NoHolders());
}

// After a suspension, both are due. What was due first is reported, and nothing after it.
TEST_F(Watching, ASuspensionDoesNotSwapTheEndOfTheLifetimeAndTheLoss) {
  struct Case {
    Duration lifetime;
    WatchEvent::Type expected;
  };
  for (const Case& one : {Case{milliseconds(500), WatchEvent::Type::kLifetimeEnded},
                          Case{seconds(5), WatchEvent::Type::kLost}}) {
    SetUpCluster();
    seen.clear();
    const Lease lease = MustAcquire(Wants("k", seconds(1)));
    StopAllNodes();
    WatchCommand item = Item(lease, seconds(1));
    item.max_lifetime = one.lifetime;
    Watch(item);
    Pass(milliseconds(5));
    cluster->Suspend(0);
    Pass(seconds(10));
    cluster->Continue(0);
    Pass(milliseconds(5));
    EXPECT_EQ(Count(one.expected), 1U);
    EXPECT_EQ(Count(WatchEvent::Type::kLifetimeEnded) + Count(WatchEvent::Type::kLost), 1U);
    EXPECT_EQ(cluster->shard(0).watchdogs(), 0U);
  }
}

TEST_F(Watching, EndsAtMaxLifetimeAlthoughNoNodeAnswers) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  StopAllNodes();
  WatchCommand item = Item(lease, seconds(1));
  item.max_lifetime = milliseconds(500);
  Watch(item);
  Pass(milliseconds(499));
  EXPECT_EQ(Count(WatchEvent::Type::kLifetimeEnded), 0U);
  Pass(milliseconds(2));
  EXPECT_EQ(seen.back().event.type, WatchEvent::Type::kLifetimeEnded);
}

TEST_F(Watching, EndsAtMaxLifetime) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  WatchCommand item = Item(lease, seconds(1));
  item.max_lifetime = milliseconds(1700);
  Watch(item);
  Pass(milliseconds(1701));
  EXPECT_EQ(seen.back().event.type, WatchEvent::Type::kLifetimeEnded);
  EXPECT_FALSE(seen.back().event.goes_on);
  for (const Seen& one : seen) {
    if (one.event.type != WatchEvent::Type::kExtended) continue;
    EXPECT_LE(one.event.lease.valid_until, seen.back().at);
  }
  Pass(milliseconds(30));  // the drift that validities subtract
  EXPECT_EQ(Holders("k"), NoHolders());
}

}  // namespace
}  // namespace redlock::sim
