// Tests of acquiring a lock.
#include <algorithm>

#include "tests/sim/listeners.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

using Acquisition = Scenario;

std::size_t Count(const Votes& votes, Outcome outcome) {
  return static_cast<std::size_t>(std::count_if(
      votes.begin(), votes.end(), [&](const Vote& vote) { return vote.outcome == outcome; }));
}

TEST_F(Acquisition, IsDecidedWhenAMajorityHasVoted) {
  SetUpCluster();
  cluster->Pause(2);
  const MonotonicTime start = world.now();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  EXPECT_LT(world.now() - start, milliseconds(1));  // does not wait for node_timeout
  EXPECT_LE(lease.validity, seconds(1) - Drift(seconds(1), {}));
  cluster->Resume(2);
  Pass(milliseconds(10));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, lease.token.str()));
}

// An answer that comes after the decision counts, too: the slowest node would look fast otherwise.
TEST_F(Acquisition, TheTimeOfEachAnswerIsCounted) {
  SetUpCluster();
  const auto times = [this](NodeIndex node) {
    return cluster->shard(0).statistics().nodes[node].answer_times;
  };
  cluster->Pause(1);
  world.Do(milliseconds(40), [this] { cluster->Resume(1); });
  (void)MustAcquire(Wants("k", seconds(1)));
  Pass(milliseconds(50));
  EXPECT_EQ(times(0).count(), 1U);
  EXPECT_NEAR(times(0).QuantileSeconds(1).value(), 0.0002, 1e-6);
  EXPECT_EQ(times(1).count(), 1U);
  EXPECT_GT(times(1).QuantileSeconds(1).value(), 0.02);
  cluster->Down(2);
  (void)MustAcquire(Wants("other", seconds(1)));
  EXPECT_EQ(times(0).count(), 2U);
  EXPECT_EQ(times(2).count(), 1U) << "an error is no answer";
}

TEST_F(Acquisition, ASlowQuorumYieldsNoValidityAndReleasesEveryNode) {
  ClusterOptions options;
  options.lock.node_timeout = milliseconds(500);
  SetUpCluster(options);
  cluster->Pause(0);
  cluster->Pause(1);
  world.Do(milliseconds(40), [this] { cluster->Resume(0); });
  const AcquireResult result = Acquire(Wants("k", milliseconds(40)));
  EXPECT_FALSE(result.lease);
  EXPECT_EQ(result.error.reason, Reason::kValidityExpired);
  cluster->Resume(1);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Acquisition, AMinorityGrantIsRolledBack) {
  SetUpCluster();
  cluster->Down(1);
  cluster->Down(2);
  const MonotonicTime start = world.now();
  const AcquireResult result = Acquire(Wants("k", seconds(60)));
  EXPECT_EQ(result.error.reason, Reason::kQuorumUnavailable);
  EXPECT_EQ(Count(result.votes, Outcome::kError), 2U);
  EXPECT_LT(world.now() - start, milliseconds(1));  // nodes that are down cost no timeout
  Pass(milliseconds(2));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Acquisition, SilentNodesCostOneNodeTimeout) {
  SetUpCluster();
  cluster->Pause(1);
  cluster->Pause(2);
  const MonotonicTime start = world.now();
  const AcquireResult result = Acquire(Wants("k", seconds(60)));
  EXPECT_EQ(result.error.reason, Reason::kQuorumUnavailable);
  EXPECT_EQ(Count(result.votes, Outcome::kTimeout), 2U);
  EXPECT_EQ(world.now() - start, LockOptions{}.node_timeout);
}

TEST_F(Acquisition, AGrantAfterTheNodeTimeoutIsReleased) {
  SetUpCluster();
  cluster->Pause(1);
  cluster->Pause(2);
  EXPECT_FALSE(Acquire(Wants("k", seconds(60))).lease);
  cluster->Resume(1);  // processes the request now
  cluster->Resume(2);
  Pass(milliseconds(2));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Acquisition, AGrantThatArrivesAfterItsRollBackIsReleased) {
  SetUpCluster();
  ASSERT_TRUE(cluster->server(0).SetNx("k", "stranger", seconds(1)));
  ASSERT_TRUE(cluster->server(1).SetNx("k", "stranger", seconds(1)));
  cluster->link(0, 2).ForgetScript();  // sent again, and thus processed after its own roll-back
  EXPECT_EQ(Acquire(Wants("k", seconds(60))).error.reason, Reason::kLockAlreadyHeld);
  Pass(microseconds(150));
  EXPECT_NE(Holders("k")[2], "-");
  Pass(milliseconds(1));
  EXPECT_EQ(Holders("k")[2], "-");
}

TEST_F(Acquisition, RollBackIsRepeatedUntilTheNodeReconnects) {
  SetUpCluster();
  cluster->Down(2);
  cluster->Pause(1);
  EXPECT_FALSE(Acquire(Wants("k", seconds(60))).lease);
  // The connection breaks while the request is in the node's buffer. The daemon cannot know whether
  // the node still processes it, and only a new connection can clean up.
  cluster->link(0, 1).Break(false);
  cluster->Resume(1);
  Pass(seconds(1));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Acquisition, CancellingDuringTheRoundLeavesNoLock) {
  SetUpCluster();
  std::optional<AcquireResult> answer;
  const auto operation = cluster->shard(0).Acquire(
      Wants("k", seconds(60)), [&](AcquireResult result) { answer = std::move(result); });
  Pass(microseconds(50));
  operation->Cancel(Reason::kCancelled);
  ASSERT_TRUE(answer);  // answered at once
  EXPECT_EQ(answer->error.reason, Reason::kCancelled);
  Pass(milliseconds(1));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Acquisition, ADeadlineEndsTheWait) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(10)));
  AcquireCommand command = Wants("k", seconds(1), RetryPolicy{});
  command.deadline = world.now() + milliseconds(700);
  const AcquireResult result = Acquire(std::move(command));
  EXPECT_EQ(result.error.reason, Reason::kDeadlineExceeded);
  EXPECT_GT(result.attempts, 1);
  EXPECT_EQ(result.waited, milliseconds(700));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, holder.token.str()));
}

TEST_F(Acquisition, WaitsUntilTheHolderReleases) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(10)));
  world.Do(milliseconds(500),
           [&] { cluster->shard(0).Release(holder.key, holder.token, [](const auto&) {}); });
  const AcquireResult result = Acquire(Wants("k", seconds(1), RetryPolicy{}));
  ASSERT_TRUE(result.lease);
  EXPECT_GT(result.lease->fence, holder.fence);
  EXPECT_GE(result.waited, milliseconds(500));
}

TEST_F(Acquisition, AForeignLockOnAMajorityIsRespected) {
  SetUpCluster();
  ASSERT_TRUE(cluster->server(0).SetNx("k", "stranger", seconds(3)));
  ASSERT_TRUE(cluster->server(1).SetNx("k", "stranger", seconds(2)));
  const AcquireResult result = Acquire(Wants("k", seconds(1)));
  EXPECT_EQ(result.error.reason, Reason::kLockAlreadyHeld);
  // A quorum is free when the first of the two locks expires.
  EXPECT_GT(result.error.retry_after, milliseconds(1990));
  EXPECT_LE(result.error.retry_after, seconds(2));
  Pass(milliseconds(1));
  EXPECT_EQ(Holders("k"), (std::vector<std::string>{"stranger", "stranger", "-"}));
}

TEST_F(Acquisition, HeldIsDistinguishedFromUnavailableWhenANodeIsDown) {
  SetUpCluster();
  ASSERT_TRUE(cluster->server(0).SetNx("k", "stranger", seconds(3)));
  ASSERT_TRUE(cluster->server(1).SetNx("k", "stranger", seconds(3)));
  cluster->Down(2);
  EXPECT_EQ(Acquire(Wants("k", seconds(1))).error.reason, Reason::kLockAlreadyHeld);
}

TEST_F(Acquisition, RetriesAreCounted) {
  SetUpCluster();
  MustAcquire(Wants("k", seconds(10)));
  const AcquireResult result = Acquire(
      Wants("k", seconds(1), {.max_retries = 3, .min_delay = milliseconds(10), .max_jitter = {}}));
  EXPECT_EQ(result.error.reason, Reason::kMaxRetriesExceeded);
  EXPECT_GE(result.attempts, 4);
  EXPECT_GE(result.waited, milliseconds(30));
  EXPECT_LT(result.waited, milliseconds(40));
}

TEST_F(Acquisition, ARepeatedTokenIsRefusedUnlessExtendIfHeldIsSet) {
  SetUpCluster();
  AcquireCommand command = Wants("k", seconds(1));
  command.token = OwnerToken("mine");
  const Lease first = MustAcquire(command);
  EXPECT_EQ(Acquire(command).error.reason, Reason::kLockAlreadyHeld);
  command.extend_if_held = true;
  command.ttl = seconds(5);
  const AcquireResult again = Acquire(command);
  ASSERT_TRUE(again.lease);
  EXPECT_EQ(again.lease->fence, first.fence);  // the same hold
  EXPECT_GT(again.lease->validity, seconds(4));
  EXPECT_EQ(Release("k", "mine").error, std::nullopt);
  EXPECT_TRUE(Acquire(command).lease);  // acquires the lock if it is not held
}

TEST_F(Acquisition, ALeaseExtendedOnSomeNodesAndAcquiredOnOthersGetsOneFence) {
  SetUpCluster();
  AcquireCommand command = Wants("k", seconds(1));
  command.token = OwnerToken("mine");
  const Lease first = MustAcquire(command);
  cluster->server(1).LoseData();
  cluster->server(2).LoseData();
  command.extend_if_held = true;
  cluster->Down(1);  // one node that held it, and one that lost it
  const AcquireResult again = Acquire(command);
  ASSERT_TRUE(again.lease);
  EXPECT_GT(again.lease->fence, first.fence);
  for (std::size_t node : {0U, 2U}) {
    EXPECT_EQ(cluster->server(node).Inspect("k").fence, again.lease->fence) << node;
  }
}

TEST_F(Acquisition, ASingleNodeIsAValidNodeSet) {
  ClusterOptions options;
  options.nodes = 1;
  SetUpCluster(options);
  MustAcquire(Wants("k", seconds(1)));
  EXPECT_EQ(Acquire(Wants("k", seconds(1))).error.reason, Reason::kLockAlreadyHeld);
}

TEST_F(Acquisition, TheOperationLimitRefusesOnlyNewOperations) {
  ClusterOptions options;
  options.lock.max_operations = 1;
  SetUpCluster(options);
  cluster->Pause(0);
  cluster->Pause(1);
  const auto waiting = cluster->shard(0).Acquire(Wants("a", seconds(1)), [](const auto&) {});
  EXPECT_EQ(Acquire(Wants("b", seconds(1))).error.reason, Reason::kOverloaded);
  waiting->Cancel(Reason::kCancelled);
}

// Ten times the nodes' capacity, for ten seconds.
TEST_F(Acquisition, OverloadRefusesEarlyAndLosesNoLease) {
  ClusterOptions options;
  options.lock.max_concurrent_rounds = 2;
  options.lock.max_queue_time = milliseconds(100);
  SetUpCluster(options);
  Shard& shard = cluster->shard(0);
  int lost = 0;
  for (int i = 0; i < 50; ++i) {
    const Lease lease = MustAcquire(Wants("held" + std::to_string(i), milliseconds(500)));
    shard.Watch({.key = lease.key,
                 .token = lease.token,
                 .ttl = milliseconds(500),
                 .interval = milliseconds(250),
                 .max_lifetime = seconds(12)},
                ListenerOf([&](const WatchEvent& event) {
                  lost += event.type == WatchEvent::Type::kLost ? 1 : 0;
                }));
  }
  int granted = 0;
  int refused = 0;
  Duration longest{};
  for (int tick = 0; tick < 10'000; ++tick) {
    for (int i = 0; i < 100; ++i) {
      const std::string key = std::to_string(tick) + "." + std::to_string(i);
      shard.Acquire(Wants(key, milliseconds(50)), [&](const AcquireResult& result) {
        if (result.lease) {
          ++granted;
          longest = std::max(longest, result.waited);
        } else {
          EXPECT_EQ(result.error.reason, Reason::kOverloaded);
          EXPECT_GT(result.error.retry_after, milliseconds(100));
          ++refused;
        }
      });
    }
    Pass(milliseconds(1));
  }
  Pass(seconds(10));  // until the watchdogs' lifetime ends
  EXPECT_EQ(lost, 0);
  EXPECT_GT(granted, 50'000);
  EXPECT_GT(refused, 500'000);
  EXPECT_LT(longest, milliseconds(200));  // a prediction, not a guarantee
}

TEST_F(Acquisition, AnAcquisitionThatCannotMeetItsDeadlineIsRefusedAtOnce) {
  ClusterOptions options;
  options.lock.max_concurrent_rounds = 2;
  SetUpCluster(options);
  for (int i = 0; i < 2'000; ++i) {
    cluster->shard(0).Acquire(Wants(std::to_string(i), seconds(1)), [](const auto&) {});
  }
  Pass(milliseconds(20));
  AcquireCommand hurried = Wants("hurried", seconds(1));
  hurried.deadline = world.now() + milliseconds(10);
  EXPECT_EQ(Acquire(hurried).error.reason, Reason::kOverloaded);
  hurried.deadline = world.now() + seconds(1);
  EXPECT_TRUE(Acquire(hurried).lease);
}

TEST_F(Acquisition, DrainingRefusesAcquisitionsAndEndsWaits) {
  SetUpCluster();
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  std::optional<AcquireResult> waiter;
  cluster->shard(0).Acquire(Wants("k", seconds(1), RetryPolicy{}),
                            [&](AcquireResult result) { waiter = std::move(result); });
  Pass(milliseconds(10));
  cluster->shard(0).Drain();
  ASSERT_TRUE(waiter);
  EXPECT_EQ(waiter->error.reason, Reason::kDraining);
  EXPECT_EQ(Acquire(Wants("x", seconds(1))).error.reason, Reason::kDraining);
  EXPECT_TRUE(Extend("k", lease.token.str(), seconds(1)).lease);  // continues
}

}  // namespace
}  // namespace redlock::sim
