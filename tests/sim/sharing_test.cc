// Tests of keys that holders share: who may hold them together, fences, expiry, queues, extension.
#include <algorithm>

#include "tests/sim/listeners.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

class Sharing : public Scenario {
 protected:
  void SetUp() override {
    ClusterOptions options;
    options.daemons = 2;
    SetUpCluster(options);
  }
  static AcquireCommand WantsShare(Duration ttl, RetryPolicy retry = kTry) {
    return Wants(Key("k").Shared().str(), ttl, retry);
  }
  Lease Share(Duration ttl = seconds(20), std::size_t daemon = 0) {
    return MustAcquire(WantsShare(ttl), daemon);
  }
  Reason Refused(const AcquireCommand& command, std::size_t daemon = 0) {
    const AcquireResult result = Acquire(command, daemon);
    EXPECT_FALSE(result.lease);
    return result.error.reason;
  }
  ReleaseResult ReleaseLease(const Lease& lease, std::size_t daemon = 0) {
    return Release("k", lease.token.str(), daemon);
  }
  static std::vector<std::string> AllShared() {
    return std::vector<std::string>(3, std::string(kSharedMarker));
  }
  std::vector<OwnerLabel> Labels(const std::string& key) {
    std::optional<InspectResult> answer;
    cluster->shard(0).Inspect(Key(key), [&](InspectResult result) { answer = std::move(result); });
    Pass(milliseconds(5));
    EXPECT_TRUE(answer);
    std::vector<OwnerLabel> labels;
    for (const auto& holder : answer.value_or(InspectResult{}).held_by) {
      labels.push_back(holder.owner.label);
    }
    return labels;
  }

  // Holders that share the key through one daemon, so that at any time at least one does.
  void KeepSharing(std::size_t daemon, MonotonicTime end) {
    if (world.now() >= end) return;
    cluster->shard(daemon).Acquire(
        WantsShare(seconds(5), {}), [=, this](const AcquireResult& result) {
          if (!result.lease) return;
          ++shares;
          world.Do(milliseconds(20), [=, this] { KeepSharing(daemon, end); });
          world.Do(milliseconds(30), [=, this, lease = *result.lease] {
            cluster->shard(daemon).Release(lease.key, lease.token, [](const auto&) {});
          });
        });
  }
  int shares = 0;
};

TEST(SharedKeys, DifferInTheirModeOnly) {
  const Key key = Key::Of({"b", "a"});
  EXPECT_NE(key, key.Shared());
  EXPECT_EQ(key, key.Shared().Exclusive());
  EXPECT_EQ(key.Shared(), key.Shared().Shared());
  EXPECT_EQ(key.names(), key.Shared().names());
  EXPECT_EQ(key.Shared().InWords(), "a, b");
  EXPECT_TRUE(key.Shared().Contains(Key("a")));
}

TEST_F(Sharing, ManyHoldTheKeyTogetherAndNobodyElse) {
  const Lease first = Share();
  const Lease second = Share(seconds(20), 1);
  EXPECT_EQ(Holders("k"), AllShared());
  EXPECT_EQ(Refused(Wants("k", seconds(20))), Reason::kLockAlreadyHeld);
  EXPECT_FALSE(cluster->server(0).SetNx("k", "stranger", seconds(20)));
  EXPECT_EQ(ReleaseLease(first).error, std::nullopt);
  EXPECT_EQ(Holders("k"), AllShared());
  EXPECT_EQ(Refused(Wants("k", seconds(20))), Reason::kLockAlreadyHeld);
  EXPECT_EQ(ReleaseLease(first).error->reason, Reason::kLockNotHeld);
  EXPECT_EQ(ReleaseLease(second).error, std::nullopt);
  EXPECT_EQ(Holders("k"), NoHolders());
  EXPECT_EQ(ReleaseLease(MustAcquire(Wants("k", seconds(20)))).error, std::nullopt);
}

TEST_F(Sharing, AnExclusiveHolderKeepsOthersOut) {
  const Lease lease = MustAcquire(Wants("k", seconds(20)));
  EXPECT_EQ(Refused(WantsShare(seconds(20))), Reason::kLockAlreadyHeld);
  (void)ReleaseLease(lease);
  ASSERT_TRUE(cluster->server(0).SetNx("k", "stranger", milliseconds(100)));
  ASSERT_TRUE(cluster->server(1).SetNx("k", "stranger", milliseconds(100)));
  EXPECT_EQ(Refused(WantsShare(seconds(20))), Reason::kLockAlreadyHeld);
  Pass(milliseconds(150));
  (void)ReleaseLease(Share());
}

TEST_F(Sharing, FencesGrowBetweenExclusiveHoldersAndShares) {
  const Lease before = MustAcquire(Wants("k", seconds(20)));
  (void)ReleaseLease(before);
  const Lease one = Share();
  const Lease two = Share(seconds(20), 1);
  EXPECT_GT(one.fence, before.fence);
  EXPECT_GT(two.fence, before.fence);
  (void)ReleaseLease(two);
  (void)ReleaseLease(one);
  const Lease after = MustAcquire(Wants("k", seconds(20)));
  EXPECT_GT(after.fence, std::max(one.fence, two.fence));
  (void)ReleaseLease(after);
}

// The daemons' clocks differ widely, so only the nodes can keep the fences in order.
TEST_F(Sharing, FencesGrowIfTheClocksOfTheDaemonsDiffer) {
  ClusterOptions options;
  options.daemons = 2;
  options.most_wall_skew = seconds(30);
  SetUpCluster(options);
  FencingToken exclusive;
  FencingToken highest;
  for (int i = 0; i < 40; ++i) {
    for (const std::size_t daemon : {0U, 1U}) cluster->StepWallClock(daemon);
    std::vector<Lease> leases;
    for (const std::size_t daemon : {0U, 1U}) {
      leases.push_back(Share(seconds(20), daemon));
      EXPECT_GT(leases.back().fence, exclusive);
      highest = std::max(highest, leases.back().fence);
    }
    for (const Lease& lease : leases) (void)ReleaseLease(lease);
    const Lease lease = MustAcquire(Wants("k", seconds(20)), world.Below(2));
    EXPECT_GT(lease.fence, highest);
    exclusive = highest = lease.fence;
    (void)ReleaseLease(lease);
  }
}

TEST_F(Sharing, EachShareExpiresByItself) {
  (void)Share(milliseconds(200));
  const Lease longer = Share(seconds(1));
  (void)Share(milliseconds(400));
  Pass(milliseconds(600));
  EXPECT_EQ(Holders("k"), AllShared());
  EXPECT_EQ(Labels("k").size(), 1U);
  EXPECT_EQ(Refused(Wants("k", seconds(1))), Reason::kLockAlreadyHeld);
  EXPECT_TRUE(Extend(longer.key.str(), longer.token.str(), seconds(1)).lease);
  Pass(milliseconds(800));
  EXPECT_EQ(Holders("k"), AllShared());
  Pass(milliseconds(300));
  EXPECT_EQ(Holders("k"), NoHolders());
}

// The TTL of the one that is released does not keep the key.
TEST_F(Sharing, AReleaseLeavesTheKeyUntilTheLastOfTheOthersExpires) {
  const Lease longest = Share(seconds(20));
  (void)Share(milliseconds(300));
  (void)ReleaseLease(longest);
  EXPECT_EQ(Holders("k"), AllShared());
  Pass(milliseconds(400));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Sharing, AnExtensionComparesTheMode) {
  const Lease share = Share();
  EXPECT_EQ(Extend("k", share.token.str(), seconds(20)).error.reason, Reason::kLockNotHeld);
  (void)ReleaseLease(share);
  const Lease exclusive = MustAcquire(Wants("k", seconds(20)));
  const std::string shared = Key("k").Shared().str();
  EXPECT_EQ(Extend(shared, exclusive.token.str(), seconds(20)).error.reason, Reason::kLockNotHeld);
  (void)ReleaseLease(exclusive);
}

TEST_F(Sharing, AnExtensionHealsANodeThatLostTheShare) {
  const Lease share = Share();
  cluster->server(2).Evict("k");
  EXPECT_TRUE(Extend(share.key.str(), share.token.str(), seconds(20)).lease);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("k"), AllShared());
  cluster->Down(0);
  EXPECT_TRUE(Extend(share.key.str(), share.token.str(), seconds(20)).lease);
  cluster->Up(0);
  (void)ReleaseLease(share);
}

TEST_F(Sharing, AWaiterGetsTheKeyWhenTheLastShareEnds) {
  const Lease first = Share();
  const Lease second = Share();
  const auto waiter = Start(Wants("k", seconds(20), {}));
  const auto elsewhere = Start(Wants("k", seconds(20), {}), 1);
  Pass(milliseconds(700));
  (void)ReleaseLease(first);
  Pass(milliseconds(700));
  EXPECT_FALSE(waiter->result || elsewhere->result);
  const MonotonicTime released = world.now();
  (void)ReleaseLease(second);
  Pass(milliseconds(50));
  ASSERT_NE(Has(waiter), Has(elsewhere));
  const auto winner = Has(waiter) ? waiter : elsewhere;
  EXPECT_LT(winner->at - released, milliseconds(20));
  (void)ReleaseLease(*winner->result->lease);
  Pass(milliseconds(500));
  ASSERT_TRUE(Has(waiter) && Has(elsewhere));
  (void)ReleaseLease(*(winner == waiter ? elsewhere : waiter)->result->lease);
}

// First come, first served; those that share and wait one after the other get the key together.
TEST_F(Sharing, NobodyOvertakesAWaiterAtTheSameDaemon) {
  const Lease share = Share();
  const auto exclusive = Start(Wants("k", seconds(20), {}));
  Pass(milliseconds(5));
  const auto one = Start(WantsShare(seconds(20), {}));
  const auto two = Start(WantsShare(seconds(20), {}));
  const auto last = Start(Wants("k", seconds(20), {}));
  EXPECT_EQ(Refused(WantsShare(seconds(20))), Reason::kLockAlreadyHeld);
  Pass(seconds(1));
  EXPECT_FALSE(one->result || two->result);
  (void)ReleaseLease(share);
  Pass(milliseconds(50));
  ASSERT_TRUE(Has(exclusive));
  EXPECT_FALSE(one->result || two->result);
  (void)ReleaseLease(*exclusive->result->lease);
  Pass(milliseconds(50));
  ASSERT_TRUE(Has(one) && Has(two));
  EXPECT_FALSE(last->result);
  (void)ReleaseLease(*one->result->lease);
  (void)ReleaseLease(*two->result->lease);
  Pass(milliseconds(50));
  ASSERT_TRUE(Has(last));
  (void)ReleaseLease(*last->result->lease);
}

// At another daemon, shares come and go all the time.
TEST_F(Sharing, AnExclusiveWaiterIsNotOvertakenForEver) {
  const MonotonicTime end = world.now() + seconds(6);
  KeepSharing(1, end);
  Pass(milliseconds(10));
  AcquireCommand command = Wants("k", seconds(20), {});
  command.deadline = world.now() + seconds(5);
  const auto waiter = Start(command);
  Pass(seconds(2));
  ASSERT_TRUE(Has(waiter));
  const int before = shares;
  Pass(milliseconds(500));
  EXPECT_EQ(shares, before);
  (void)ReleaseLease(*waiter->result->lease);
  Pass(seconds(1));
  EXPECT_GT(shares, before) << "the intent has ended";
}

TEST_F(Sharing, AnExclusiveWaiterThatGivesUpLetsOthersShareAgain) {
  const Lease share = Share();
  AcquireCommand command = Wants("k", seconds(1), {});
  command.deadline = world.now() + milliseconds(100);
  const auto waiter = Start(command);
  Pass(milliseconds(50));
  EXPECT_EQ(Refused(WantsShare(seconds(20)), 1), Reason::kLockAlreadyHeld);
  EXPECT_TRUE(Extend(share.key.str(), share.token.str(), seconds(20)).lease);
  Pass(milliseconds(100));
  EXPECT_FALSE(Has(waiter));
  (void)ReleaseLease(Share(seconds(20), 1), 1);
  (void)ReleaseLease(share);
}

// The next in the queue shares the key with those that have it, and does not wait for their TTL.
TEST_F(Sharing, AWaiterBehindAnExclusiveOneThatGivesUpSharesAtOnce) {
  const Lease share = Share();
  AcquireCommand command = Wants("k", seconds(1), {});
  command.deadline = world.now() + milliseconds(100);
  const auto exclusive = Start(command);
  Pass(milliseconds(5));
  const auto behind = Start(WantsShare(seconds(20), {}));
  Pass(milliseconds(120));
  EXPECT_FALSE(Has(exclusive));
  ASSERT_TRUE(Has(behind));
  (void)ReleaseLease(*behind->result->lease);
  (void)ReleaseLease(share);
}

// One of two keys is shared at another daemon all the time.
TEST_F(Sharing, AnExclusiveWaiterForSeveralKeysIsNotOvertakenForEver) {
  KeepSharing(1, world.now() + seconds(10));
  Pass(milliseconds(10));
  AcquireCommand command = Wants(Key::Of({"a", "k"}).str(), seconds(20), {});
  command.deadline = world.now() + seconds(8);
  const auto waiter = Start(command);
  Pass(seconds(9));
  ASSERT_TRUE(Has(waiter));
  (void)Release(waiter->result->lease->key.str(), waiter->result->lease->token.str());
}

// Another key of the same lease is still shared.
TEST_F(Sharing, AReleaseOfSeveralKeysWakesTheWaiterOfTheOneThatIsFree) {
  const Key both = Key::Of({"k", "l"}).Shared();
  const Lease first = MustAcquire(Wants(both.str(), seconds(20)));
  const Lease second = Share();
  const auto waiter = Start(Wants("l", seconds(20), {}));
  Pass(milliseconds(50));
  const MonotonicTime released = world.now();
  (void)Release(both.str(), first.token.str());
  Pass(seconds(1));
  ASSERT_TRUE(Has(waiter));
  EXPECT_LT(waiter->at - released, milliseconds(20));
  (void)Release("l", waiter->result->lease->token.str());
  (void)ReleaseLease(second);
}

// A single try does not wait, so it stops nobody.
TEST_F(Sharing, ASingleTryStopsNoShare) {
  const Lease share = Share();
  EXPECT_EQ(Refused(Wants("k", seconds(20))), Reason::kLockAlreadyHeld);
  (void)ReleaseLease(Share(seconds(20), 1));
  (void)ReleaseLease(share);
}

TEST_F(Sharing, SeveralKeysAreSharedTogether) {
  const Key both = Key::Of({"k", "l"}).Shared();
  const Lease first = MustAcquire(Wants(both.str(), seconds(20)));
  const Lease second = MustAcquire(Wants(both.str(), seconds(20)), 1);
  const Lease one = Share();
  EXPECT_EQ(Refused(Wants("l", seconds(20))), Reason::kLockAlreadyHeld);
  EXPECT_TRUE(Extend(both.str(), first.token.str(), seconds(20)).lease);
  EXPECT_EQ(Release(both.str(), first.token.str()).error, std::nullopt);
  EXPECT_EQ(Release(both.str(), second.token.str()).error, std::nullopt);
  EXPECT_EQ(Holders("l"), NoHolders());
  EXPECT_EQ(Holders("k"), AllShared());
  const Lease taken = MustAcquire(Wants("l", seconds(20)));
  EXPECT_EQ(Refused(Wants(both.str(), seconds(20))), Reason::kLockAlreadyHeld);
  (void)Release("l", taken.token.str());
  (void)ReleaseLease(one);
}

TEST_F(Sharing, AForcedReleaseFindsMoreHoldersThanANodeLists) {
  constexpr std::size_t kHolders = kMostListedShares * 2 + 10;
  for (std::size_t i = 0; i < kHolders; ++i) (void)Share();
  bool done = false;
  cluster->shard(0).ForceRelease(Key("k"), [&](const InspectResult&, auto error) {
    EXPECT_FALSE(error);
    done = true;
  });
  Pass(seconds(2));
  EXPECT_TRUE(done);
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Sharing, InspectAndForceReleaseFindEveryHolder) {
  AcquireCommand labelled = WantsShare(seconds(20));
  labelled.owner.label = OwnerLabel("reader");
  (void)MustAcquire(labelled);
  (void)Share();
  const auto labels = Labels("k");
  EXPECT_EQ(labels.size(), 2U);
  EXPECT_EQ(std::ranges::count(labels, OwnerLabel("reader")), 1);
  bool done = false;
  cluster->shard(0).ForceRelease(Key("k"), [&](const InspectResult& before, auto error) {
    EXPECT_TRUE(before.held);
    EXPECT_FALSE(error);
    done = true;
  });
  Pass(milliseconds(50));
  EXPECT_TRUE(done);
  EXPECT_EQ(Holders("k"), NoHolders());
}

// Daemons keep shares alive for streams, as they keep locks.
TEST_F(Sharing, AWatchdogKeepsAShare) {
  const Lease share = Share(milliseconds(200));
  const auto watchdog = cluster->shard(0).Watch({.key = share.key,
                                                 .token = share.token,
                                                 .ttl = milliseconds(200),
                                                 .interval = milliseconds(100),
                                                 .max_lifetime = std::nullopt},
                                                ListenerOf([](const WatchEvent&) {}));
  Pass(seconds(2));
  EXPECT_EQ(Holders("k"), AllShared());
  (void)ReleaseLease(share);
  EXPECT_EQ(Holders("k"), NoHolders());
  EXPECT_EQ(cluster->shard(0).watchdogs(), 0U);
}

class Downgrades : public Sharing {
 protected:
  ExtendResult Downgrade(const Lease& exclusive, FencingToken from, std::size_t daemon = 0) {
    std::optional<ExtendResult> answer;
    cluster->shard(daemon).Extend({.key = exclusive.key.Shared(),
                                   .token = exclusive.token,
                                   .ttl = seconds(20),
                                   .retry = kTry,
                                   .deadline = std::nullopt,
                                   .raise_to = {},
                                   .downgrade_from = from},
                                  [&](ExtendResult result) { answer = std::move(result); });
    Pass(milliseconds(500));
    EXPECT_TRUE(answer);
    return answer.value_or(ExtendResult{});
  }
};

TEST_F(Downgrades, AnExclusiveLeaseBecomesAShareAtOnce) {
  for (const Key& key : {Key("k"), Key::Of({"k", "l"})}) {
    const Lease lease = MustAcquire(Wants(key.str(), seconds(20)));
    const auto reader = Start(Wants(key.Shared().str(), seconds(20), {}));
    const auto writer = Start(Wants(key.str(), seconds(20), {}), 1);
    const ExtendResult result = Downgrade(lease, lease.fence);
    ASSERT_TRUE(result.lease);
    EXPECT_EQ(result.lease->key, key.Shared());
    EXPECT_EQ(result.lease->fence, lease.fence);
    EXPECT_EQ(Holders("k"), AllShared());
    EXPECT_EQ(Extend(key.str(), lease.token.str(), seconds(20)).error.reason, Reason::kLockNotHeld);
    EXPECT_TRUE(Extend(key.Shared().str(), lease.token.str(), seconds(20)).lease);
    EXPECT_TRUE(Downgrade(lease, lease.fence).lease) << "again";
    Pass(seconds(1));
    EXPECT_FALSE(Has(writer));
    EXPECT_EQ(Release(key.str(), lease.token.str()).error, std::nullopt);
    Pass(seconds(1));
    // The reader waited at the daemon of the downgrade, the writer at another one.
    ASSERT_NE(Has(reader), Has(writer));
    const auto first = Has(reader) ? reader : writer;
    const auto second = Has(reader) ? writer : reader;
    EXPECT_GT(first->result->lease->fence, lease.fence);
    (void)Release(key.str(), first->result->lease->token.str());
    Pass(seconds(1));
    ASSERT_TRUE(Has(second));
    (void)Release(key.str(), second->result->lease->token.str());
  }
}

TEST_F(Downgrades, ADowngradeIsDoneOnAllKeysOfANodeOrOnNone) {
  const Key key = Key::Of({"k", "l"});
  const Lease lease = MustAcquire(Wants(key.str(), seconds(20)));
  cluster->server(0).Evict("l");
  cluster->server(1).Evict("k");
  EXPECT_FALSE(Downgrade(lease, lease.fence).lease);
  EXPECT_EQ(cluster->server(0).Holder("k"), lease.token.str());
  EXPECT_EQ(cluster->server(1).Holder("l"), lease.token.str());
  EXPECT_EQ(cluster->server(2).Holder("k"), std::string(kSharedMarker));
  (void)Release(key.str(), lease.token.str());
}

TEST_F(Downgrades, ANodeThatWasDownIsDowngradedByTheNextRequestOrHealed) {
  const Lease lease = MustAcquire(Wants("k", seconds(20)));
  cluster->Down(2);
  ASSERT_TRUE(Downgrade(lease, lease.fence).lease);
  cluster->Up(2);
  Pass(milliseconds(500));
  EXPECT_EQ(cluster->server(2).Holder("k"), lease.token.str());
  ASSERT_TRUE(Downgrade(lease, lease.fence).lease);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("k"), AllShared());
  (void)ReleaseLease(lease);
}

TEST_F(Downgrades, ALateDowngradeLeavesALaterExclusiveHoldAlone) {
  AcquireCommand command = Wants("k", seconds(20));
  command.token = OwnerToken("mine");
  const Lease first = MustAcquire(command);
  (void)ReleaseLease(first);
  const Lease second = MustAcquire(command, 1);
  EXPECT_EQ(Downgrade(second, first.fence).error.reason, Reason::kLockNotHeld);
  EXPECT_EQ(Downgrade(second, {}).error.reason, Reason::kLockNotHeld);
  EXPECT_TRUE(Extend("k", "mine", seconds(20)).lease);
  EXPECT_TRUE(Downgrade(second, second.fence).lease);
  (void)ReleaseLease(second);
}

TEST_F(Downgrades, AWriterThatComesLaterHasAHigherFence) {
  const Lease lease = MustAcquire(Wants("k", seconds(20)));
  ASSERT_TRUE(Downgrade(lease, lease.fence).lease);
  const Lease reader = Share(seconds(20), 1);
  EXPECT_GT(reader.fence, lease.fence);
  (void)ReleaseLease(lease);
  (void)ReleaseLease(reader);
  const Lease writer = MustAcquire(Wants("k", seconds(20)));
  EXPECT_GT(writer.fence, reader.fence);
  (void)ReleaseLease(writer);
}

}  // namespace
}  // namespace redlock::sim
