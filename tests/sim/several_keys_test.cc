// Tests of leases of several keys: all or nothing, one fence, queues, hand-over, extension, loss.
#include <algorithm>

#include "tests/sim/listeners.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

class SeveralKeys : public Scenario {
 protected:
  static AcquireCommand WantsAll(std::vector<std::string> keys, Duration ttl,
                                 RetryPolicy retry = kTry) {
    return Wants(Key::Of(std::move(keys)).str(), ttl, retry);
  }
  std::shared_ptr<Waiter> Wait(std::vector<std::string> keys, Duration ttl = seconds(20),
                               std::size_t daemon = 0) {
    return Start(WantsAll(std::move(keys), ttl, {}), daemon);
  }
  ReleaseResult ReleaseLease(const Lease& lease, std::size_t daemon = 0) {
    return Release(lease.key.str(), lease.token.str(), daemon);
  }

  // Each worker acquires its keys again and again, through its daemon, until `end`.
  struct Worker {
    std::vector<std::string> keys;
    std::size_t daemon = 0;
    int rounds = 0;
  };
  void Fight(MonotonicTime end) {
    for (Worker& worker : workers) FightOn(worker, end);
  }
  void FightOn(Worker& worker, MonotonicTime end) {
    if (world.now() >= end) return;
    cluster->shard(worker.daemon)
        .Acquire(WantsAll(worker.keys, seconds(2), {}), [=, this, &worker](const auto& result) {
          ASSERT_TRUE(result.lease);
          for (const std::string& key : worker.keys) {
            EXPECT_TRUE(held.insert(key).second) << "two holders of " << key;
            EXPECT_GT(result.lease->fence, fences[key]);
            fences[key] = result.lease->fence;
          }
          ++worker.rounds;
          world.Do(milliseconds(1), [=, this, &worker, lease = *result.lease] {
            for (const std::string& key : worker.keys) held.erase(key);
            cluster->shard(worker.daemon)
                .Release(lease.key, lease.token,
                         [=, this, &worker](const auto&) { FightOn(worker, end); });
          });
        });
  }

  std::vector<Worker> workers;
  std::set<std::string> held;
  std::map<std::string, FencingToken> fences;
};

TEST(Keys, TheOrderOfTheNamesDoesNotMatter) {
  EXPECT_EQ(Key::Of({"b", "a"}), Key::Of({"a", "b"}));
  EXPECT_NE(Key::Of({"a", "b"}), Key("ab"));
  EXPECT_EQ(Key::Of({"a"}), Key("a"));
  EXPECT_FALSE(Key("a").IsSeveral());
  EXPECT_EQ(Key::Of({"b", "a"}).InWords(), "a, b");
  EXPECT_TRUE(Key::Of({"b", "a"}).Contains(Key("b")));
  EXPECT_FALSE(Key::Of({"b", "a"}).Contains(Key("c")));
}

TEST_F(SeveralKeys, AreGrantedTogetherOrNotAtAll) {
  SetUpCluster();
  const Lease other = MustAcquire(Wants("b", seconds(20)));
  const AcquireResult refused = Acquire(WantsAll({"a", "b", "c"}, seconds(20)));
  EXPECT_EQ(refused.error.reason, Reason::kLockAlreadyHeld);
  EXPECT_EQ(Holders("a"), NoHolders());
  EXPECT_EQ(Holders("c"), NoHolders());
  (void)ReleaseLease(other);
  const Lease lease = MustAcquire(WantsAll({"c", "a", "b"}, seconds(20)));
  for (const char* key : {"a", "b", "c"}) {
    EXPECT_EQ(Holders(key), std::vector<std::string>(3, lease.token.str()));
    EXPECT_EQ(Acquire(Wants(key, seconds(1))).error.reason, Reason::kLockAlreadyHeld);
  }
  EXPECT_FALSE(ReleaseLease(lease).error);
  for (const char* key : {"a", "b", "c"}) EXPECT_EQ(Holders(key), NoHolders());
}

// The fence is above those of all keys, whichever daemon granted them, and counts for all.
TEST_F(SeveralKeys, HaveOneFenceAboveAll) {
  ClusterOptions options;
  options.daemons = 2;
  options.most_wall_skew = seconds(30);
  SetUpCluster(options);
  for (std::size_t daemon = 0; daemon < 2; ++daemon) {
    const Lease a = MustAcquire(Wants("a", seconds(20)), daemon);
    const Lease b = MustAcquire(Wants("b", seconds(20)), 1 - daemon);
    (void)ReleaseLease(a);
    (void)ReleaseLease(b);
    const Lease both = MustAcquire(WantsAll({"a", "b"}, seconds(20)), daemon);
    EXPECT_GT(both.fence, std::max(a.fence, b.fence));
    (void)ReleaseLease(both);
    for (const char* key : {"a", "b"}) {
      const Lease next = MustAcquire(Wants(key, seconds(20)), 1 - daemon);
      EXPECT_GT(next.fence, both.fence);
      (void)ReleaseLease(next);
    }
  }
}

TEST_F(SeveralKeys, AreHandedOverToAWaiterForTheSameKeys) {
  SetUpCluster();
  const Lease holder = MustAcquire(WantsAll({"a", "b"}, seconds(20)));
  const auto next = Wait({"b", "a"});
  Pass(milliseconds(10));
  const MonotonicTime start = world.now();
  cluster->shard(0).Release(holder.key, holder.token, [](const auto&) {});
  Pass(microseconds(200));  // 0.1 ms in each direction
  ASSERT_TRUE(Has(next));
  EXPECT_EQ(next->at - start, microseconds(200));
  EXPECT_GT(next->result->lease->fence, holder.fence);
  (void)ReleaseLease(*next->result->lease);
}

TEST_F(SeveralKeys, AReleaseServesTheWaitersOfEachKey) {
  SetUpCluster();
  const Lease holder = MustAcquire(WantsAll({"a", "b"}, seconds(20)));
  const auto a = Wait({"a"});
  const auto b = Wait({"b"});
  const auto other = Wait({"b", "c"});
  Pass(milliseconds(10));
  (void)ReleaseLease(holder);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(a) && Has(b));
  EXPECT_FALSE(Has(other));
  (void)ReleaseLease(*b->result->lease);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(other));
  (void)ReleaseLease(*a->result->lease);
  (void)ReleaseLease(*other->result->lease);
}

TEST_F(SeveralKeys, AreNotOvertakenWhileTheyWait) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("a", seconds(20)));
  const auto both = Wait({"a", "b"});
  Pass(milliseconds(10));
  const auto later = Wait({"b"});  // free, but promised
  EXPECT_EQ(Acquire(Wants("b", seconds(1))).error.reason, Reason::kLockAlreadyHeld);
  Pass(milliseconds(10));
  EXPECT_FALSE(Has(later));
  (void)ReleaseLease(holder);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(both));
  EXPECT_FALSE(Has(later));
  (void)ReleaseLease(*both->result->lease);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(later));
  (void)ReleaseLease(*later->result->lease);
}

TEST_F(SeveralKeys, AWaiterThatGivesUpLetsTheOthersPass) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("a", seconds(20)));
  const auto both = Wait({"a", "b"});
  Pass(milliseconds(10));
  const auto later = Wait({"b"});
  const auto also = Wait({"b", "c"});
  Pass(milliseconds(10));
  both->operation->Cancel(Reason::kCancelled);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(later));
  (void)ReleaseLease(*later->result->lease);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(also));
  (void)ReleaseLease(*also->result->lease);
  (void)ReleaseLease(holder);
}

TEST_F(SeveralKeys, AReleaseAtAnotherDaemonWakesTheWaiter) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const Lease a = MustAcquire(Wants("a", seconds(20)), 0);
  const Lease b = MustAcquire(Wants("b", seconds(20)), 0);
  const auto both = Wait({"a", "b"}, seconds(20), 1);
  Pass(milliseconds(100));
  (void)ReleaseLease(a, 0);
  Pass(milliseconds(5));
  EXPECT_FALSE(Has(both));
  const MonotonicTime start = world.now();
  (void)ReleaseLease(b, 0);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(both));
  EXPECT_LT(both->at - start, milliseconds(5));
  (void)ReleaseLease(*both->result->lease, 1);
}

TEST_F(SeveralKeys, AWaiterAcquiresWhenDeadHoldersLocksExpire) {
  SetUpCluster();
  (void)MustAcquire(Wants("a", seconds(3)));
  (void)MustAcquire(Wants("b", seconds(2)));
  const MonotonicTime start = world.now();
  const auto both = Wait({"a", "b"}, seconds(1));
  Pass(seconds(4));
  ASSERT_TRUE(Has(both));
  EXPECT_GE(both->at - start, milliseconds(2990));
  EXPECT_LE(both->at - start, milliseconds(3010));
}

TEST_F(SeveralKeys, TheLongestQueueCountsAsThePosition) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("a", seconds(20)));
  const auto first = Wait({"a"});
  const auto both = Wait({"a", "b"});
  Pass(milliseconds(10));
  EXPECT_EQ(both->positions, std::vector<std::size_t>{1});
  EXPECT_EQ(cluster->shard(0).Groups()[0].waiters, 2U);
  EXPECT_EQ(cluster->shard(0).waiters(Key("b")), 1U);
  EXPECT_EQ(cluster->shard(0).ListLeases().size(), 2U);
  (void)ReleaseLease(holder);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(first));
  EXPECT_EQ(both->positions.back(), 0U);
  (void)ReleaseLease(*first->result->lease);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(both));
  (void)ReleaseLease(*both->result->lease);
}

// {a b}, {b c}, {c a}: each pair has a key in common, and no order of the pairs suits all.
TEST_F(SeveralKeys, ACycleOfClaimsMakesProgress) {
  for (const std::size_t daemons : {std::size_t{1}, std::size_t{3}}) {
    ClusterOptions options;
    options.daemons = daemons;
    SetUpCluster(options, microseconds(400));
    workers = {{{"a", "b"}, 0}, {{"b", "c"}, 1 % daemons}, {{"c", "a"}, 2 % daemons}};
    Fight(world.now() + seconds(4));
    Pass(seconds(8));
    for (const Worker& worker : workers) EXPECT_GE(worker.rounds, 50) << daemons << " daemons";
    cluster.reset();
    fences.clear();
  }
}

// Single keys that are always wanted do not keep a claim of both waiting.
TEST_F(SeveralKeys, AreNotStarvedBySingleKeys) {
  SetUpCluster();
  workers = {{{"a"}}, {{"a"}}, {{"b"}}, {{"b"}}, {{"a", "b"}}};
  Fight(world.now() + seconds(2));
  Pass(seconds(5));
  for (const Worker& worker : workers) EXPECT_GE(worker.rounds, 100);
}

// The shards of one daemon compete in the same way.
TEST_F(SeveralKeys, AreNotStarvedBySingleKeysAtOtherDaemons) {
  for (const std::size_t daemons : {std::size_t{2}, std::size_t{3}}) {
    ClusterOptions options;
    options.daemons = daemons;
    SetUpCluster(options);
    workers = {{{"a", "b"}, 0}};
    for (int i = 0; i < 4; ++i) {
      workers.push_back({{"a"}, 1});
      workers.push_back({{"b"}, daemons - 1});
    }
    Fight(world.now() + seconds(10));
    Pass(seconds(15));
    for (const Worker& worker : workers) EXPECT_GE(worker.rounds, 100) << daemons << " daemons";
    cluster.reset();
    fences.clear();
  }
}

TEST_F(SeveralKeys, AnExtensionRestoresAMissingKey) {
  SetUpCluster();
  const Lease lease = MustAcquire(WantsAll({"a", "b"}, seconds(20)));
  cluster->server(1).Evict("b");
  const ExtendResult extended = Extend(lease.key.str(), lease.token.str(), seconds(20));
  ASSERT_TRUE(extended.lease);
  EXPECT_EQ(extended.lease->fence, lease.fence);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("b"), std::vector<std::string>(3, lease.token.str()));
  (void)ReleaseLease(lease);
}

TEST_F(SeveralKeys, TheLossOfOneKeyIsTheLossOfAll) {
  SetUpCluster();
  const Lease lease = MustAcquire(WantsAll({"a", "b"}, seconds(20)));
  cluster->server(0).Evict("b");
  cluster->server(1).Evict("b");
  EXPECT_EQ(Extend(lease.key.str(), lease.token.str(), seconds(20)).error.reason,
            Reason::kLockNotHeld);
  (void)ReleaseLease(lease);
  EXPECT_EQ(Holders("a"), NoHolders());
}

TEST_F(SeveralKeys, AnotherHolderOfOneKeyOnAMinorityIsNotOverwritten) {
  SetUpCluster();
  const Lease lease = MustAcquire(WantsAll({"a", "b"}, seconds(20)));
  cluster->server(1).Evict("b");
  ASSERT_TRUE(cluster->server(1).SetNx("b", "a stranger", seconds(10)));
  ASSERT_TRUE(Extend(lease.key.str(), lease.token.str(), seconds(20)).lease);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("b")[1], "a stranger");
  (void)ReleaseLease(lease);
}

TEST_F(SeveralKeys, AnAcquisitionExtendsWhatItsTokenHolds) {
  SetUpCluster();
  AcquireCommand command = WantsAll({"a", "b"}, seconds(20));
  command.token = OwnerToken("t");
  command.extend_if_held = true;
  const Lease lease = MustAcquire(command);
  const AcquireResult again = Acquire(command);
  ASSERT_TRUE(again.lease);
  EXPECT_TRUE(again.extended);
  EXPECT_EQ(again.lease->fence, lease.fence);
  (void)ReleaseLease(lease);
}

// A failed acquisition must not end a lease that its token has of one of the keys.
TEST_F(SeveralKeys, AnAcquisitionLeavesAnotherLeaseOfItsTokenAlone) {
  SetUpCluster();
  AcquireCommand one = Wants("a", seconds(20));
  one.token = OwnerToken("t");
  const Lease lease = MustAcquire(one);
  AcquireCommand both = WantsAll({"a", "b"}, seconds(20));
  both.token = OwnerToken("t");
  both.extend_if_held = true;
  EXPECT_EQ(Acquire(both).error.reason, Reason::kLockAlreadyHeld);
  EXPECT_EQ(Holders("a"), std::vector<std::string>(3, "t"));
  EXPECT_EQ(Holders("b"), NoHolders());
  (void)ReleaseLease(lease);
}

TEST_F(SeveralKeys, AForcedReleaseOfOneKeyIsToldAtOnce) {
  SetUpCluster();
  const Lease lease = MustAcquire(WantsAll({"a", "b"}, seconds(20)));
  std::optional<WatchEvent> last;
  const auto watchdog =
      cluster->shard(0).Watch({.key = lease.key,
                               .token = lease.token,
                               .ttl = seconds(20),
                               .interval = seconds(10),
                               .max_lifetime = std::nullopt},
                              ListenerOf([&](const WatchEvent& event) { last = event; }));
  Pass(milliseconds(5));
  cluster->shard(0).ForceRelease(Key("b"), [](const auto&, const auto&) {});
  Pass(milliseconds(5));
  ASSERT_TRUE(last);
  EXPECT_EQ(last->type, WatchEvent::Type::kLost);
  EXPECT_EQ(Holders("b"), NoHolders());
  (void)ReleaseLease(lease);
}

// The holder has lost a key to another one, so nothing is handed over. The rest must not stay
// locked.
TEST_F(SeveralKeys, AReleaseFreesTheRestWhenOneKeyHasAnotherHolder) {
  SetUpCluster();
  for (const char* token : {"rl-once", "used again"}) {
    AcquireCommand command = WantsAll({"a", "b"}, seconds(20));
    command.token = OwnerToken(token);
    const Lease lease = MustAcquire(command);
    for (std::size_t node = 0; node < 3; ++node) {
      cluster->server(node).Evict("b");
      ASSERT_TRUE(cluster->server(node).SetNx("b", "a stranger", seconds(2)));
    }
    const auto next = Wait({"a", "b"});
    Pass(milliseconds(10));
    EXPECT_FALSE(ReleaseLease(lease).error) << token;
    Pass(milliseconds(10));
    EXPECT_EQ(Holders("a"), NoHolders()) << token;
    Pass(seconds(3));
    ASSERT_TRUE(Has(next));
    (void)ReleaseLease(*next->result->lease);
  }
}

// The key is free, but promised to a waiter that has not asked for it yet.
TEST_F(SeveralKeys, AKeyThatIsPromisedIsNotAnOutage) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("b", seconds(20)));
  const auto first = Wait({"b"});
  Pass(milliseconds(10));
  const auto both = Wait({"a", "b"});
  EXPECT_EQ(Acquire(Wants("a", seconds(1))).error.reason, Reason::kLockAlreadyHeld);
  AcquireCommand command = Wants("a", seconds(1), {});
  command.deadline = world.now() + milliseconds(20);
  const AcquireResult late = Acquire(command);
  EXPECT_EQ(late.error.reason, Reason::kDeadlineExceeded);
  EXPECT_EQ(late.error.last_reason, Reason::kLockAlreadyHeld);
  (void)ReleaseLease(holder);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(first));
  (void)ReleaseLease(*first->result->lease);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(both));
  (void)ReleaseLease(*both->result->lease);
}

// Pairs of many keys: hardly anybody waits, and nobody until a probe.
TEST_F(SeveralKeys, NobodySleepsWhileTheKeysAreFree) {
  SetUpCluster({}, milliseconds(1));
  const MonotonicTime end = world.now() + seconds(2);
  Duration longest{};
  int acquired = 0;
  std::function<void()> work = [&] {
    if (world.now() >= end) return;
    const std::uint64_t one = world.Below(1000);
    const std::uint64_t other = (one + 1 + world.Below(999)) % 1000;
    const MonotonicTime asked = world.now();
    cluster->shard(0).Acquire(
        WantsAll({std::to_string(one), std::to_string(other)}, seconds(10), {}),
        [&, asked](const AcquireResult& result) {
          ASSERT_TRUE(result.lease);
          ++acquired;
          longest = std::max(longest, world.now() - asked);
          cluster->shard(0).Release(result.lease->key, result.lease->token,
                                    [&](const auto&) { world.Do(microseconds(10), work); });
        });
  };
  for (int i = 0; i < 64; ++i) world.Do(microseconds(i), work);
  world.RunUntil(end + seconds(1));
  EXPECT_GT(acquired, 5'000);
  EXPECT_LT(longest, milliseconds(120)) << "longer than a key is left to other daemons";
}

}  // namespace
}  // namespace redlock::sim
