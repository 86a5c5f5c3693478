// Tests of fencing tokens.
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

using Fencing = Scenario;

std::size_t Requests(Cluster& cluster, std::size_t daemon) {
  return cluster.link(daemon, 0).requests();
}

TEST_F(Fencing, GrowsInOneRoundTripWhenClocksAgree) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  FencingToken last;
  for (std::size_t i = 0; i < 20; ++i) {
    const std::size_t daemon = i % 2;
    const std::size_t before = Requests(*cluster, daemon);
    const Lease lease = MustAcquire(Wants("k", seconds(1)), daemon);
    EXPECT_EQ(Requests(*cluster, daemon) - before, 1U);
    EXPECT_GT(lease.fence, last);
    last = lease.fence;
    EXPECT_EQ(Release("k", lease.token.str(), daemon).error, std::nullopt);
  }
}

TEST_F(Fencing, ASkewedDaemonNeedsOneExtraRoundTripOnce) {
  ClusterOptions options;
  options.daemons = 2;
  options.most_wall_skew = seconds(3600);
  SetUpCluster(options);
  FencingToken last;
  std::size_t extra = 0;
  for (std::size_t i = 0; i < 20; ++i) {
    const std::size_t daemon = i % 2;
    const MonotonicTime before = world.now();
    const Lease lease = MustAcquire(Wants("k", seconds(1)), daemon);
    // The round trip takes 0.2 ms and is observed in steps of 0.05 ms.
    if (world.now() - before > microseconds(300)) ++extra;
    EXPECT_LE(world.now() - before, microseconds(500));
    EXPECT_GT(lease.fence, last);
    last = lease.fence;
    EXPECT_EQ(Release("k", lease.token.str(), daemon).error, std::nullopt);
    Pass(milliseconds(1));
  }
  // The slow daemon learns the fast one's time, and falls behind again as the clocks advance.
  EXPECT_GE(extra, 1U);
  EXPECT_LE(extra, 10U);
}

// Nodes forget the fence of a key some time after its lock.
TEST_F(Fencing, GrowsAfterTheNodesHaveForgottenTheKey) {
  ClusterOptions options;
  options.daemons = 2;
  options.most_wall_skew = seconds(3600);
  SetUpCluster(options);
  FencingToken last;
  for (std::size_t i = 0; i < 20; ++i) {
    const std::size_t daemon = i % 2;
    const Lease lease = MustAcquire(Wants("k", seconds(1)), daemon);
    EXPECT_GT(lease.fence, last);
    last = lease.fence;
    EXPECT_EQ(Release("k", lease.token.str(), daemon).error, std::nullopt);
    Pass(options.fence_retention * (1 + i % 3));
  }
}

class Forgetting : public Scenario {
 protected:
  void SetUp() override {
    ClusterOptions options;
    options.nodes = 1;
    options.fence_retention = retention;
    SetUpCluster(options);
  }
  Server& node() { return cluster->server(0); }
  NodeReply Grant(const std::string& key, std::uint64_t fence) {
    return node().Acquire(key, "t", milliseconds(10), {fence}, {fence}, {}, false);
  }
  // How far a proposal may be below a fence that the node granted before.
  static constexpr std::uint64_t kSlack = 10'000'000;
  const Duration retention = seconds(60);
};

TEST_F(Forgetting, AFenceBelowOnesThatTheNodeHasForgottenIsRefused) {
  ASSERT_EQ(Grant("a", kSlack).outcome, Outcome::kGranted);
  Pass(3 * retention);
  ASSERT_EQ(Grant("b", 3 * kSlack).outcome, Outcome::kGranted);
  const NodeReply refused = Grant("a", kSlack / 2);
  EXPECT_EQ(refused.outcome, Outcome::kStaleFence);
  EXPECT_GE(refused.fence.value, kSlack);
  EXPECT_EQ(Grant("a", refused.fence.value + 1).outcome, Outcome::kGranted);
}

TEST_F(Forgetting, ADaemonWhoseClockIsSecondsBehindIsNotRefused) {
  std::uint64_t fence = 100 * kSlack;
  for (int i = 0; i < 40; ++i) {
    ASSERT_EQ(Grant("a" + std::to_string(i), fence).outcome, Outcome::kGranted);
    ASSERT_EQ(Grant("b" + std::to_string(i), fence - kSlack).outcome, Outcome::kGranted);
    Pass(seconds(7));
    fence += 7'000'000;
  }
}

TEST_F(Forgetting, ASealIsRememberedToo) {
  ASSERT_EQ(Grant("a", 10).outcome, Outcome::kGranted);
  ASSERT_EQ(node().Release("a", "t", {}, {5 * kSlack}, false).outcome, Outcome::kGranted);
  Pass(3 * retention);
  EXPECT_EQ(Grant("a", 4 * kSlack).outcome, Outcome::kStaleFence);
  EXPECT_EQ(Grant("a", 7 * kSlack).outcome, Outcome::kGranted);
}

TEST_F(Forgetting, ALeaseThatIsHeldForLongKeepsItsFence) {
  ASSERT_EQ(Grant("a", 10).outcome, Outcome::kGranted);
  for (int i = 0; i < 50; ++i) {
    const NodeReply extended = node().Extend("a", "t", seconds(20), {});
    ASSERT_EQ(extended.outcome, Outcome::kGranted);
    EXPECT_EQ(extended.fence.value, 10U);
    EXPECT_FALSE(extended.fence_of_earlier_holder);
    Pass(seconds(15));
  }
}

TEST_F(Forgetting, AClockThatGoesBackChangesNothing) {
  Pass(5 * retention);
  ASSERT_EQ(Grant("a", kSlack).outcome, Outcome::kGranted);
  ASSERT_EQ(node().Release("a", "t", {}, {}, false).outcome, Outcome::kGranted);
  node().StepClock(-4 * retention);
  ASSERT_EQ(Grant("b", 3 * kSlack).outcome, Outcome::kGranted);
  EXPECT_EQ(Grant("a", kSlack).outcome, Outcome::kStaleFence) << "it stores the fence itself";
  Pass(6 * retention);
  EXPECT_EQ(Grant("a", 2 * kSlack).outcome, Outcome::kStaleFence);
}

// No request sees the clock between the jumps.
TEST_F(Forgetting, TwoJumpsOfTheClockThatTheGuardNoticesForgetNothing) {
  Pass(5 * retention);
  ASSERT_EQ(Grant("a", 3 * kSlack).outcome, Outcome::kGranted);
  node().StepClock(2 * retention);
  EXPECT_FALSE(node().Holder("a"));
  EXPECT_EQ(node().Inspect("a").fence.value, 0U) << "forgotten";
  node().StepClock(-2 * retention);
  (void)node().Mark("", "new");
  EXPECT_EQ(Grant("a", 2 * kSlack).outcome, Outcome::kStaleFence);
  EXPECT_EQ(Grant("a", 5 * kSlack).outcome, Outcome::kGranted);
}

// Seen in libraries that take the maximum of per-node counters without writing it back: with
// A=10, B=1, C=1 the next holder over A and B got 11, and the one after over B and C got 3.
TEST_F(Fencing, TheMaximumIsWrittenBack) {
  ClusterOptions options;
  options.daemons = 3;
  options.most_wall_skew = seconds(3600);
  SetUpCluster(options);
  FencingToken last;
  for (std::size_t i = 0; i < 60; ++i) {
    const std::size_t down = i % 3;
    cluster->Down(down);
    const std::size_t daemon = world.Below(3);
    const Lease lease = MustAcquire(Wants("k", milliseconds(100)), daemon);
    EXPECT_GT(lease.fence, last) << i;
    last = lease.fence;
    EXPECT_EQ(Release("k", lease.token.str(), daemon).error, std::nullopt);
    cluster->Up(down);
    Pass(milliseconds(150));  // ends what the node that was down still holds
  }
}

TEST_F(Fencing, IsUnchangedByExtensions) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  const ExtendResult extended = Extend("k", lease.token.str(), seconds(1));
  ASSERT_TRUE(extended.lease);
  EXPECT_EQ(extended.lease->fence, lease.fence);
}

// Two nodes lost the token, another holder came and went, and then the two nodes got the token
// back: its lease is a new hold.
class FencingAfterALoss : public Scenario {
 protected:
  void LoseAndTakeElsewhere() {
    SetUpCluster();
    first = MustAcquire(Wants("k", seconds(10)));
    token = first.token.str();
    for (const std::size_t node : {1U, 2U}) {
      (void)cluster->server(node).Release("k", token, std::nullopt, {}, false);
    }
    other = MustAcquire(Wants("k", seconds(10)));
    EXPECT_FALSE(Release("k", other.token.str()).error);
    Pass(milliseconds(5));
  }
  std::string token;
  Lease first;
  Lease other;
};

TEST_F(FencingAfterALoss, IsAboveTheInterveningHoldersFenceIfNodesDisagree) {
  LoseAndTakeElsewhere();
  ASSERT_TRUE(cluster->server(1).SetNx("k", token, seconds(10)));
  cluster->Down(2);
  const ExtendResult extended = Extend("k", token, seconds(1));
  ASSERT_TRUE(extended.lease);
  EXPECT_GT(extended.lease->fence, other.fence);
  EXPECT_FALSE(Release("k", token).error);
}

TEST_F(FencingAfterALoss, IsAboveTheInterveningHoldersFenceIfNodesAgree) {
  LoseAndTakeElsewhere();
  for (const std::size_t node : {1U, 2U}) {
    (void)cluster->server(node).Repair("k", token, seconds(10), first.fence, {}, false, {});
  }
  cluster->Down(0);
  const ExtendResult extended = Extend("k", token, seconds(1));
  ASSERT_TRUE(extended.lease);
  EXPECT_GT(extended.lease->fence, other.fence);
  EXPECT_FALSE(Release("k", token).error);
}

TEST_F(Fencing, AForeignLockGetsAFenceWhenItIsExtended) {
  SetUpCluster();
  for (std::size_t node = 0; node < 3; ++node) {
    ASSERT_TRUE(cluster->server(node).SetNx("k", "stranger", seconds(3)));
  }
  const ExtendResult extended = Extend("k", "stranger", seconds(3));
  ASSERT_TRUE(extended.lease);
  EXPECT_GT(extended.lease->fence, FencingToken{});
  EXPECT_EQ(Release("k", "stranger").error, std::nullopt);
  EXPECT_GT(MustAcquire(Wants("k", seconds(1))).fence, extended.lease->fence);
}

// A redlockd holder is followed by a holder of another library: the nodes still store the former's
// fence.
TEST_F(Fencing, AForeignHoldersFenceIsAboveThePreviousHoldersFence) {
  SetUpCluster();
  const Lease first = MustAcquire(Wants("k", milliseconds(500)));
  EXPECT_FALSE(Release("k", first.token.str()).error);
  for (std::size_t node = 0; node < 3; ++node) {
    ASSERT_TRUE(cluster->server(node).SetNx("k", "foreign", seconds(5)));
  }
  const ExtendResult extended = Extend("k", "foreign", seconds(5));
  ASSERT_TRUE(extended.lease);
  EXPECT_GT(extended.lease->fence, first.fence);
  AcquireCommand adopts = Wants("k", seconds(5));
  adopts.token = OwnerToken("foreign");
  adopts.extend_if_held = true;
  EXPECT_EQ(MustAcquire(adopts).fence, extended.lease->fence);
}

// A node that stores another holder's fence is repaired above it, so that the nodes do not agree.
TEST_F(FencingAfterALoss, ARepairedNodeDoesNotAgreeOnAnotherHoldersFence) {
  LoseAndTakeElsewhere();
  (void)cluster->server(1).Repair("k", token, seconds(10), first.fence, {}, false, {});
  EXPECT_GT(cluster->server(1).Inspect("k").fence, other.fence);
}

}  // namespace
}  // namespace redlock::sim
