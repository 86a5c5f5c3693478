// Claims about watchdogs.
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

class Watching : public Scenario {
 protected:
  struct Seen {
    WatchEvent event;
    MonotonicTime at;
  };

  static WatchCommand Item(const Lease& lease, Duration ttl) {
    return {.key = lease.key,
            .token = lease.token,
            .ttl = ttl,
            .interval = ttl / 2,
            .release_on_close = false,
            .keep_watching_after_loss = false,
            .max_lifetime = std::nullopt};
  }

  void Watch(WatchCommand command) {
    watchdog = cluster->shard(0).Watch(std::move(command), [this](WatchEvent event) {
      seen.push_back({std::move(event), world.now()});
    });
  }

  std::size_t Count(WatchEvent::Type type) const {
    std::size_t count = 0;
    for (const Seen& one : seen) count += one.event.type == type ? 1 : 0;
    return count;
  }

  void StopAllNodes() {
    for (std::size_t node = 0; node < 3; ++node) cluster->Pause(node);
  }

  std::shared_ptr<Operation> watchdog;
  std::vector<Seen> seen;
};

TEST_F(Watching, ExtendsAtOnceAndThenAtItsInterval) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  Watch(Item(lease, seconds(1)));
  Pass(milliseconds(2600));
  EXPECT_EQ(Count(WatchEvent::Type::kExtended), 6U);  // at 0, 0.5, ... 2.5 s
  EXPECT_EQ(seen.size(), 6U);
  watchdog->Cancel(Reason::kCancelled);
  Pass(seconds(2));
  EXPECT_EQ(seen.size(), 6U);  // silence after the end
  EXPECT_EQ(Holders("k"), Nobody());
}

TEST_F(Watching, SurvivesAnOutageOfTwoNodes) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(3)));
  Watch(Item(lease, seconds(3)));
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
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, lease.token.value()));
  watchdog->Cancel(Reason::kCancelled);
}

TEST_F(Watching, LostIsToldInTimeThoughNoNodeAnswers) {
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

TEST_F(Watching, LostIsToldWhenAnotherHasTheKey) {
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
  watchdog->Cancel(Reason::kCancelled);
}

TEST_F(Watching, ReleasesOnCloseWhenAskedTo) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(60)));
  WatchCommand item = Item(lease, seconds(60));
  item.release_on_close = true;
  Watch(item);
  Pass(microseconds(50));  // the first extension is in flight
  watchdog->Cancel(Reason::kCancelled);
  Pass(milliseconds(1));
  EXPECT_EQ(Holders("k"), Nobody());
}

TEST_F(Watching, EndsAtMaxLifetime) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  WatchCommand item = Item(lease, seconds(1));
  item.max_lifetime = milliseconds(1700);
  item.release_on_close = true;
  Watch(item);
  Pass(milliseconds(1701));
  EXPECT_EQ(seen.back().event.type, WatchEvent::Type::kLifetimeEnded);
  EXPECT_FALSE(seen.back().event.goes_on);
  EXPECT_EQ(Holders("k"), Nobody());
}

}  // namespace
}  // namespace redlock::sim
