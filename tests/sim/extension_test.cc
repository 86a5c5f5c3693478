// Tests of extending and releasing.
#include <algorithm>

#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

using Extending = Scenario;
using Releasing = Scenario;

// Seen in a library: the extension returned true although another owner held the value.
TEST_F(Extending, AnotherOwnersLockIsNeitherExtendedNorTouched) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", milliseconds(500)));
  const ExtendResult result = Extend("k", "thief", seconds(60));
  EXPECT_EQ(result.error.reason, Reason::kLockNotHeld);
  Pass(milliseconds(600));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Extending, ALostLockIsNotRestored) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", milliseconds(100)));
  Pass(milliseconds(200));
  EXPECT_EQ(Extend("k", lease.token.str(), seconds(1)).error.reason, Reason::kLockNotHeld);
  Pass(milliseconds(10));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Extending, RepairsANodeThatLostTheKey) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(2)));
  cluster->server(1).LoseData();
  ASSERT_TRUE(Extend("k", lease.token.str(), seconds(2)).lease);
  Pass(milliseconds(1));
  EXPECT_EQ(cluster->server(1).Holder("k"), lease.token.str());
  EXPECT_EQ(cluster->server(1).Inspect("k").fence, lease.fence);
}

TEST_F(Extending, ARepairedNodeVotesFromTheNextRoundOn) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(2)));
  cluster->server(1).LoseData();
  cluster->server(2).LoseData();
  // Only one node still holds the key: there is no quorum, and nothing is repaired.
  EXPECT_EQ(Extend("k", lease.token.str(), seconds(2)).error.reason, Reason::kLockNotHeld);
  Pass(milliseconds(1));
  EXPECT_EQ(cluster->server(1).Holder("k"), std::nullopt);
}

TEST_F(Extending, NeverShortensTheTtl) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  ASSERT_TRUE(Extend("k", lease.token.str(), milliseconds(20)).lease);
  Pass(seconds(1));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, lease.token.str()));
}

TEST_F(Extending, AnUndecidedRoundIsNotADenial) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  cluster->Down(0);
  cluster->Down(1);
  EXPECT_EQ(Extend("k", lease.token.str(), seconds(10)).error.reason, Reason::kQuorumUnavailable);
}

TEST_F(Releasing, FreesEveryNodeAndSucceedsOnlyOnce) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  EXPECT_EQ(Release("k", lease.token.str()).error, std::nullopt);
  EXPECT_EQ(Release("k", lease.token.str()).error->reason, Reason::kLockNotHeld);
  Pass(milliseconds(1));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Releasing, LeavesAnotherOwnersLockAlone) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", milliseconds(500)));
  EXPECT_EQ(Release("k", "thief").error->reason, Reason::kLockNotHeld);
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, lease.token.str()));
}

// A client that releases many locks at once must not fill the nodes' queues ahead of others.
TEST_F(Releasing, ManyReleasesDoNotDelayOtherOperations) {
  ClusterOptions options;
  options.lock.max_concurrent_rounds = 2;
  SetUpCluster(options);
  Shard& shard = cluster->shard(0);
  std::vector<Lease> leases;
  for (int i = 0; i < 100; ++i) {
    leases.push_back(MustAcquire(Wants(std::to_string(i), seconds(10))));
  }
  std::size_t released = 0;
  for (const Lease& lease : leases) {
    if (lease.key == leases.back().key) break;
    shard.Release(lease.key, lease.token, [&](const ReleaseResult& result) {
      EXPECT_FALSE(result.error);
      ++released;
    });
  }
  std::optional<std::size_t> before_wanted;
  shard.Acquire(Wants("wanted", seconds(10)), [&](const AcquireResult& result) {
    EXPECT_TRUE(result.lease);
    before_wanted = released;
  });
  EXPECT_TRUE(Extend("99", leases.back().token.str(), seconds(10)).lease);
  EXPECT_LE(released, 4U);
  Pass(seconds(1));
  EXPECT_EQ(released, 99U);
  EXPECT_LE(before_wanted, 6U);
}

// The reply to a read can have 1 MiB.
TEST_F(Releasing, ManyReadsDoNotDelayOtherOperations) {
  ClusterOptions options;
  options.lock.max_concurrent_rounds = 2;
  SetUpCluster(options);
  Shard& shard = cluster->shard(0);
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  std::size_t read = 0;
  for (int i = 0; i < 100; ++i) {
    shard.Inspect(Key("k"), [&](const InspectResult& result) {
      EXPECT_TRUE(result.held);
      ++read;
    });
  }
  EXPECT_TRUE(Extend("k", lease.token.str(), seconds(10)).lease);
  EXPECT_LE(read, 6U);
  Pass(seconds(1));
  EXPECT_EQ(read, 100U);
}

// Otherwise, the reads of clients that have gone would delay the others.
TEST_F(Releasing, ACancelledReadEndsAtOnce) {
  ClusterOptions options;
  options.lock.max_concurrent_rounds = 1;
  SetUpCluster(options);
  Shard& shard = cluster->shard(0);
  std::vector<std::string> ended;
  std::vector<std::shared_ptr<Cancellable>> reads;
  for (const std::string name : {"sent", "queued", "next"}) {
    reads.push_back(shard.Inspect(Key("k"), [&ended, name](const InspectResult& result) {
      ended.push_back(name + (result.undecided ? " undecided" : ""));
    }));
  }
  reads[1]->Cancel(Reason::kCancelled);
  EXPECT_EQ(ended, std::vector<std::string>({"queued undecided"}));
  EXPECT_EQ(shard.operations(), 2U);
  reads[0]->Cancel(Reason::kCancelled);
  EXPECT_EQ(ended.back(), "sent undecided");
  EXPECT_EQ(shard.operations(), 2U) << "the nodes are busy with it";
  Pass(seconds(1));
  EXPECT_EQ(ended, std::vector<std::string>({"queued undecided", "sent undecided", "next"}));
  EXPECT_EQ(shard.operations(), 0U);
  for (const auto& read : reads) read->Cancel(Reason::kCancelled);
  EXPECT_EQ(ended.size(), 3U);
}

TEST_F(Releasing, NodesThatWereDownAreFreedWhenTheyReconnect) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(60)));
  cluster->Down(2);
  EXPECT_EQ(Release("k", lease.token.str()).error, std::nullopt);
  EXPECT_EQ(cluster->server(2).Holder("k"), lease.token.str());
  cluster->Up(2);
  Pass(seconds(1));
  EXPECT_EQ(Holders("k"), NoHolders());
}

// The first hold's release is still under way to a silent node when the second hold begins.
TEST_F(Releasing, ALateReleaseDoesNotEndALaterHoldOfTheSameToken) {
  SetUpCluster();
  AcquireCommand command = Wants("k", seconds(10));
  command.token = OwnerToken("mine");
  command.extend_if_held = true;
  MustAcquire(command);
  cluster->Pause(2);
  EXPECT_EQ(Release("k", "mine").error, std::nullopt);
  cluster->Down(1);
  cluster->Pause(0);
  std::optional<AcquireResult> second;
  AcquireCommand again = command;
  again.retry = RetryPolicy{};
  cluster->shard(0).Acquire(again, [&](AcquireResult result) { second = std::move(result); });
  cluster->Resume(0);
  cluster->Resume(2);
  Pass(seconds(2));
  ASSERT_TRUE(second && second->lease);
  EXPECT_EQ(cluster->server(0).Holder("k"), "mine");
  EXPECT_EQ(cluster->server(2).Holder("k"), "mine");
}

TEST_F(Releasing, ASlowNodeIsNotRepairedAfterTheRelease) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(20)));
  cluster->server(2).LoseData();
  cluster->Pause(2);
  ASSERT_TRUE(Extend("k", lease.token.str(), seconds(20)).lease);
  EXPECT_EQ(Release("k", lease.token.str()).error, std::nullopt);
  cluster->Resume(2);  // answers the extension only now: it does not have the key
  Pass(milliseconds(10));
  EXPECT_EQ(Holders("k"), NoHolders());
}

// Daemons whose wall clocks differ: daemon `ahead` proposes higher fences than the other.
class ReleasingBySkewedDaemons : public Scenario {
 protected:
  void SetUpSkewed() {
    ClusterOptions options;
    options.daemons = 2;
    options.most_wall_skew = seconds(1);
    SetUpCluster(options);
    for (int i = 0; i < 100; ++i) {
      const auto a = MustAcquire(Wants("a" + std::to_string(i), milliseconds(20)), 0).fence.value;
      const auto b = MustAcquire(Wants("b" + std::to_string(i), milliseconds(20)), 1).fence.value;
      if (std::max(a, b) - std::min(a, b) > 100'000) {  // µs
        ahead = a > b ? 0 : 1;
        return;
      }
      cluster->StepWallClock(0);
      cluster->StepWallClock(1);
    }
    FAIL() << "the clocks do not differ";
  }
  Lease AcquireOwn(const std::string& token, std::size_t daemon) {
    AcquireCommand own = Wants("k", seconds(20));
    own.token = OwnerToken(token);
    return MustAcquire(own, daemon);
  }
  std::size_t ahead = 0;
};

TEST_F(ReleasingBySkewedDaemons, TheDaemonThatIsBehindReleasesACallersToken) {
  SetUpSkewed();
  (void)AcquireOwn("own", ahead);
  Pass(milliseconds(5));
  EXPECT_EQ(Release("k", "own", 1 - ahead).error, std::nullopt);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("k"), NoHolders());
  EXPECT_TRUE(Acquire(Wants("k", seconds(1)), 1 - ahead).lease);
}

// A node that releases only some of several keys has sealed only those. A hold of another one that
// begins at the daemon that is behind could be ended by a copy of the release that arrives later.
TEST_F(ReleasingBySkewedDaemons, AReleaseOfSomeOfSeveralKeysWaitsForAllNodes) {
  for (const bool somebody_waits : {false, true}) {
    SetUpSkewed();
    const std::string both = Key::Of({"a", "b"}).str();
    AcquireCommand command = Wants(both, seconds(20));
    command.token = OwnerToken("own");
    MustAcquire(command, 1 - ahead);
    for (std::size_t node = 0; node < 2; ++node) {
      cluster->server(node).Evict("b");
      ASSERT_TRUE(cluster->server(node).SetNx("b", "a stranger", seconds(1)));
    }
    std::optional<AcquireResult> next;
    if (somebody_waits) {
      cluster->shard(ahead).Acquire(Wants(both, milliseconds(20), {}),
                                    [&](AcquireResult result) { next = std::move(result); });
    }
    Pass(milliseconds(10));
    cluster->link(ahead, 2).Pause();
    const auto error = Release(both, "own", ahead).error;
    ASSERT_TRUE(error) << somebody_waits;
    EXPECT_EQ(error->reason, Reason::kQuorumUnavailable);
    cluster->link(ahead, 2).Resume();
    Pass(milliseconds(10));
    EXPECT_EQ(Holders("a"), NoHolders());
    Pass(seconds(2));
    EXPECT_EQ(next && next->lease, somebody_waits);
  }
}

TEST_F(Releasing, ANonHoldersReleaseLeavesTheHoldersFenceAlone) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(5)));
  EXPECT_EQ(Release("k", "stranger").error->reason, Reason::kLockNotHeld);
  const ExtendResult extended = Extend("k", lease.token.str(), seconds(5));
  ASSERT_TRUE(extended.lease);
  EXPECT_EQ(extended.lease->fence, lease.fence);
}

// A key that is not held has no seal, so a copy of the release that is still under way could end a
// later hold.
TEST_F(Releasing, IsNotDeniedWhileANodeMayStillExecuteIt) {
  SetUpCluster();
  cluster->Pause(2);
  EXPECT_EQ(Release("k", "own").error->reason, Reason::kQuorumUnavailable);
  cluster->Resume(2);
  EXPECT_EQ(Release("k", "own").error->reason, Reason::kLockNotHeld);
  cluster->Down(2);  // nothing is sent to this node
  EXPECT_EQ(Release("k", "own").error->reason, Reason::kLockNotHeld);
  // A release with a token that is never reused is denied at once.
  cluster->Up(2);
  Pass(milliseconds(5));
  cluster->Pause(2);
  EXPECT_EQ(Release("k", "rl-never-again").error->reason, Reason::kLockNotHeld);
}

}  // namespace
}  // namespace redlock::sim
