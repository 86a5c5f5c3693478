// Tests of changes of the node set.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

constexpr Duration kLongestTtl = seconds(2);

std::string Name(std::size_t node) { return "node-" + std::to_string(node); }

class NodeSetChanges : public Scenario {
 protected:
  // A set of nodes 0 to 2, and daemons that are configured with all `nodes`.
  void SetUpSpares(std::size_t nodes = 5, std::size_t daemons = 1, Duration longest = kLongestTtl,
                   GuardMode guard = GuardMode::kOn) {
    ClusterOptions options;
    options.nodes = nodes;
    options.daemons = daemons;
    options.guard = guard;
    options.lock.guard.quarantine = longest;
    options.lists.assign(daemons, {0, 1, 2});
    SetUpCluster(options);
    Pass(milliseconds(50));
    for (std::size_t daemon = 0; daemon < daemons; ++daemon) Reconfigure(daemon, {});
    Pass(seconds(1));
    if (guard == GuardMode::kStrict) Pass(longest + seconds(3));
  }
  // Restarts the daemon with these nodes; empty: all.
  void Reconfigure(std::size_t daemon, std::vector<std::size_t> nodes) {
    cluster->Kill(daemon);
    cluster->Configure(daemon, std::move(nodes));
    cluster->Start(daemon);
  }
  void TearDown() override {
    if (cluster) {
      EXPECT_EQ(cluster->set_oracle().violations(), std::vector<std::string>());
    }
    Scenario::TearDown();
  }

  struct Change {
    std::optional<std::string> refusal;
    std::vector<ChangeProgress> told;
    std::shared_ptr<void> handle;

    [[nodiscard]] bool complete() const { return !told.empty() && told.back().complete; }
    [[nodiscard]] std::string failure() const {
      return told.empty() ? "" : told.back().failure.value_or("");
    }
  };
  std::shared_ptr<Change> Begin(ChangeRequest request, std::size_t daemon = 0) {
    auto change = std::make_shared<Change>();
    auto started = cluster->shard(daemon).ChangeNodeSet(
        std::move(request),
        // The change owns the handle, which owns this.
        [weak = std::weak_ptr(change)](const ChangeProgress& progress) {
          if (const auto open = weak.lock()) open->told.push_back(progress);
        });
    change->refusal = started.refusal;
    change->handle = started.handle;
    return change;
  }
  std::string Refusal(ChangeRequest request, std::size_t daemon = 0) {
    const SetRecord before = Record(daemon);
    const auto change = Begin(std::move(request), daemon);
    Pass(seconds(1));
    EXPECT_EQ(Record(daemon), before);
    return change->refusal.value_or("");
  }

  const Membership& membership(std::size_t daemon = 0) {
    return *cluster->shard(daemon).membership();
  }
  SetRecord Record(std::size_t daemon = 0) { return membership(daemon).set()->record(); }
  // The members' names, sorted.
  std::vector<std::string> Members(std::size_t daemon = 0) {
    std::vector<std::string> names;
    for (const Member& member : Record(daemon).members) names.push_back(member.name);
    std::ranges::sort(names);
    return names;
  }
  using Names = std::vector<std::string>;
};

TEST_F(NodeSetChanges, ANodeIsAddedAndVotes) {
  SetUpSpares();
  const auto change = Begin({.add = {Name(3)}});
  Pass(milliseconds(50));
  ASSERT_TRUE(change->complete()) << change->refusal.value_or(change->failure());
  EXPECT_EQ(Members(), (Names{Name(0), Name(1), Name(2), Name(3)}));
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  EXPECT_EQ(cluster->server(3).Holder("k"), lease.token.str());
  EXPECT_FALSE(cluster->shard(0).guard()->Barred(3));
  (void)Release("k", lease.token.str());
}

TEST_F(NodeSetChanges, ANodeIsRemovedAndHasNoVote) {
  SetUpSpares();
  const auto change = Begin({.remove = {Name(2)}});
  Pass(milliseconds(50));
  ASSERT_TRUE(change->complete());
  EXPECT_EQ(Members(), (Names{Name(0), Name(1)}));
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  EXPECT_FALSE(cluster->server(2).Holder("k"));
  (void)Release("k", lease.token.str());
}

// Leases that were granted by {0,1,2} must have expired before {0,1,3} votes.
TEST_F(NodeSetChanges, AReplacementWaitsBetweenItsSteps) {
  SetUpSpares();
  const auto change = Begin({.add = {Name(3)}, .remove = {Name(2)}});
  Pass(milliseconds(50));
  EXPECT_EQ(Members().size(), 4U);
  ASSERT_FALSE(change->told.empty());
  EXPECT_EQ(change->told.back().steps_done, 1U);
  EXPECT_EQ(change->told.back().steps, 2U);
  EXPECT_GT(membership().WaitLeft().value_or(Duration{}), kLongestTtl / 2);
  Pass(kLongestTtl - milliseconds(100));
  EXPECT_EQ(Members().size(), 4U);
  Pass(milliseconds(300));
  ASSERT_TRUE(change->complete());
  EXPECT_EQ(Members(), (Names{Name(0), Name(1), Name(3)}));
  EXPECT_EQ(Record().epoch, 3U);
}

TEST_F(NodeSetChanges, ADeadNodeIsRemovedBeforeItsReplacementIsAdded) {
  SetUpSpares();
  cluster->Down(2);
  Pass(milliseconds(50));
  const auto change = Begin({.add = {Name(3)}, .remove = {Name(2)}});
  Pass(milliseconds(50));
  EXPECT_EQ(Members(), (Names{Name(0), Name(1)}));
  Pass(kLongestTtl + milliseconds(200));
  ASSERT_TRUE(change->complete());
  EXPECT_EQ(Members(), (Names{Name(0), Name(1), Name(3)}));
}

TEST_F(NodeSetChanges, ASetGrowsToFiveAndShrinksToThree) {
  SetUpSpares();
  const auto grow = Begin({.add = {Name(3), Name(4)}});
  Pass(kLongestTtl + milliseconds(200));
  ASSERT_TRUE(grow->complete());
  EXPECT_EQ(Members().size(), 5U);
  Pass(kLongestTtl);
  const auto shrink = Begin({.remove = {Name(0), Name(1)}});
  Pass(kLongestTtl + milliseconds(200));
  ASSERT_TRUE(shrink->complete());
  EXPECT_EQ(Members(), (Names{Name(2), Name(3), Name(4)}));
}

// Health probes must not see a change.
TEST_F(NodeSetChanges, DaemonsKeepTheirQuorumWhileStepsSpread) {
  SetUpSpares(5, 2);
  int lost = 0;
  for (const std::size_t daemon : {0U, 1U}) {
    cluster->shard(daemon).WatchQuorum([&lost](bool quorum) { lost += quorum ? 0 : 1; });
  }
  EXPECT_EQ(lost, 0);
  const auto change = Begin({.add = {Name(3), Name(4)}});
  const MonotonicTime end = world.now() + 2 * kLongestTtl;
  for (int i = 0; world.now() < end; ++i) {  // daemon 1 hears of a step by its own operations
    (void)Acquire(Wants("k" + std::to_string(i), milliseconds(20)), 1);
  }
  ASSERT_TRUE(change->complete());
  EXPECT_EQ(lost, 0);
}

TEST_F(NodeSetChanges, TheLongestTtlChanges) {
  SetUpSpares();
  const auto change = Begin({.max_ttl = seconds(5)});
  Pass(milliseconds(50));
  ASSERT_TRUE(change->complete());
  EXPECT_EQ(Record().max_ttl, Duration(seconds(5)));
  const Lease lease = MustAcquire(Wants("k", seconds(60)));
  EXPECT_GT(lease.validity, Duration(seconds(4)));
  (void)Release("k", lease.token.str());
}

TEST_F(NodeSetChanges, AnAbortUndoesTheStepWithoutWaiting) {
  SetUpSpares();
  const auto change = Begin({.add = {Name(3)}, .remove = {Name(2)}});
  Pass(milliseconds(50));
  ASSERT_EQ(Members().size(), 4U);
  const auto abort = Begin({.abort = true});
  Pass(milliseconds(50));
  EXPECT_TRUE(abort->complete());
  EXPECT_NE(change->failure(), "");
  EXPECT_EQ(Members(), (Names{Name(0), Name(1), Name(2)}));
  EXPECT_FALSE(Record().IsChanging());
}

TEST_F(NodeSetChanges, AnotherDaemonGoesOnWhenTheCoordinatorHasDied) {
  SetUpSpares(5, 2);
  const auto change = Begin({.add = {Name(3)}, .remove = {Name(2)}}, 0);
  Pass(milliseconds(50));
  ASSERT_EQ(Members(0).size(), 4U);
  cluster->Kill(0);
  Pass(kLongestTtl + seconds(10));
  EXPECT_EQ(Members(1), (Names{Name(0), Name(1), Name(3)}));
}

// The coordinator dies at any moment of the first step. Whatever it has done, the others serve
// again soon, and with one set.
class NodeSetCoordinatorDies : public NodeSetChanges, public testing::WithParamInterface<int> {};

TEST_P(NodeSetCoordinatorDies, AndNothingStaysUndecided) {
  SetUpSpares(4, 2);
  const auto change = Begin({.add = {Name(3)}}, 0);
  Pass(microseconds(25) * GetParam());
  cluster->Kill(0);
  Pass(seconds(3));
  EXPECT_TRUE(Acquire(Wants("k", milliseconds(100)), 1).lease);
  const std::size_t size = Members(1).size();
  EXPECT_TRUE(size == 3 || size == 4) << size;
  for (const std::size_t node : {0U, 1U, 2U}) {
    const SetState state = cluster->server(node).Facts().set;
    EXPECT_EQ(state.record, Record(1));
    EXPECT_FALSE(state.accepted);
  }
}
INSTANTIATE_TEST_SUITE_P(At, NodeSetCoordinatorDies, testing::Range(0, 60));

TEST_F(NodeSetChanges, AStepWhoseNodeIsGoneIsUndone) {
  SetUpSpares();
  const auto change = Begin({.add = {Name(3)}, .remove = {Name(2)}});
  Pass(milliseconds(50));
  ASSERT_EQ(Members().size(), 4U);
  cluster->Down(3);
  Pass(kLongestTtl + seconds(10));
  EXPECT_EQ(Members().size(), 4U) << "it may come back";
  Pass(seconds(30));
  EXPECT_EQ(Members(), (Names{Name(0), Name(1), Name(2)}));
  EXPECT_NE(change->failure(), "");
}

TEST_F(NodeSetChanges, AnAddedNodeThatLosesItsDataIsQuarantined) {
  SetUpSpares();
  const auto change = Begin({.add = {Name(3)}});
  Pass(milliseconds(50));
  ASSERT_TRUE(change->complete());
  cluster->server(3).LoseData();
  (void)Acquire(Wants("k", milliseconds(100)));
  Pass(milliseconds(50));
  EXPECT_TRUE(cluster->shard(0).guard()->Barred(3));
  EXPECT_EQ(cluster->server(3).Facts().set.record, Record());
  Pass(kLongestTtl + seconds(2));
  EXPECT_FALSE(cluster->shard(0).guard()->Barred(3));
}

TEST_F(NodeSetChanges, ARemovedNodeCanBeAddedAgain) {
  SetUpSpares();
  const auto removed = Begin({.remove = {Name(2)}});
  Pass(kLongestTtl + milliseconds(100));
  ASSERT_TRUE(removed->complete());
  cluster->server(2).Snapshot();
  cluster->Restart(2, Cluster::Data::kOld);
  Pass(milliseconds(100));
  const auto added = Begin({.add = {Name(2)}});
  Pass(milliseconds(50));
  ASSERT_TRUE(added->complete()) << added->refusal.value_or(added->failure());
  Pass(kLongestTtl + seconds(2));
  EXPECT_FALSE(cluster->shard(0).guard()->Barred(2)) << *cluster->shard(0).guard()->Barred(2);
}

TEST_F(NodeSetChanges, ASpareThatWasEmptiedCanBeAdded) {
  SetUpSpares();
  cluster->server(3).LoseData();
  Pass(seconds(2));
  const auto added = Begin({.add = {Name(3)}});
  Pass(milliseconds(50));
  ASSERT_TRUE(added->complete()) << added->refusal.value_or(added->failure());
  Pass(milliseconds(50));
  EXPECT_FALSE(cluster->shard(0).guard()->Barred(3));
}

// The process of a spare that has no record restarts: it has a mark of an earlier run.
TEST_F(NodeSetChanges, ASpareThatRestartedCanReplaceANode) {
  SetUpSpares(4);
  cluster->Restart(3, Cluster::Data::kKept);
  Pass(seconds(1));
  const auto change = Begin({.add = {Name(3)}, .remove = {Name(2)}});
  Pass(seconds(10));
  EXPECT_TRUE(change->complete()) << change->refusal.value_or(change->failure());
  EXPECT_FALSE(cluster->shard(0).guard()->Barred(3));
}

// The added node is quarantined for longer than the time after which a step is undone.
TEST_F(NodeSetChanges, AStrictGuardDelaysAReplacement) {
  SetUpSpares(4, 1, seconds(60), GuardMode::kStrict);
  const auto change = Begin({.add = {Name(3)}, .remove = {Name(2)}});
  Pass(seconds(200));
  EXPECT_TRUE(change->complete()) << change->refusal.value_or(change->failure());
}

TEST_F(NodeSetChanges, ADaemonThatIsNotConfiguredWithTheAddedNodeDoesNotUndoTheStep) {
  SetUpSpares(4, 2, seconds(60));
  Reconfigure(1, {0, 1, 2});
  Pass(seconds(1));
  const auto change = Begin({.add = {Name(3)}, .remove = {Name(2)}});
  Pass(seconds(100));
  EXPECT_TRUE(change->complete()) << change->refusal.value_or(change->failure());
}

TEST_F(NodeSetChanges, ADaemonThatAloneCannotReachTheAddedNodeDoesNotUndoTheStep) {
  SetUpSpares(4, 2, seconds(60));
  const auto change = Begin({.add = {Name(3)}, .remove = {Name(2)}});
  Pass(milliseconds(50));
  cluster->link(1, 3).Break(true);
  Pass(seconds(100));
  EXPECT_TRUE(change->complete()) << change->refusal.value_or(change->failure());
}

TEST_F(NodeSetChanges, AMemberThatRefusesWritesIsNotAskedWithoutAPause) {
  SetUpSpares(5);
  cluster->server(0).SetFull(true);
  const auto change = Begin({.add = {Name(3)}});
  Pass(seconds(10));
  EXPECT_TRUE(change->complete()) << change->refusal.value_or(change->failure());
  EXPECT_LT(cluster->server(0).refused(), 100);
}

TEST_F(NodeSetChanges, AMemberThatRefusesWritesDoesNotPreventAReadmission) {
  ClusterOptions options;
  options.nodes = 5;
  options.guard = GuardMode::kOn;
  options.lock.guard.quarantine = kLongestTtl;
  SetUpCluster(options);
  Pass(seconds(1));
  cluster->server(0).SetFull(true);
  cluster->server(4).LoseData();
  Pass(seconds(10));
  EXPECT_FALSE(cluster->shard(0).guard()->Barred(4));
  EXPECT_LT(cluster->server(0).refused(), 100);
}

// Daemon 1 trusted node 2 before it was removed, emptied and added again.
class NodeSetAddedAgain : public NodeSetChanges, public testing::WithParamInterface<int> {};

TEST_P(NodeSetAddedAgain, IsTrustedByADaemonThatKnewItBefore) {
  SetUpSpares(4, 2);
  const auto removed = Begin({.remove = {Name(2)}});
  Pass(seconds(4));
  ASSERT_EQ(Members(1).size(), 2U);
  cluster->link(1, 2).Break(true);
  cluster->server(2).LoseData();
  Pass(seconds(3));
  const auto added = Begin({.add = {Name(2)}});
  Pass(microseconds(50) * GetParam());
  cluster->Kill(0);
  cluster->link(1, 2).ComeUp();
  Pass(seconds(60));
  if (Members(1).size() != 3) return;
  EXPECT_FALSE(cluster->shard(1).guard()->Barred(2)) << *cluster->shard(1).guard()->Barred(2);
}
INSTANTIATE_TEST_SUITE_P(KilledAt, NodeSetAddedAgain, testing::Range(0, 30));

class NodeSetAbort : public NodeSetChanges, public testing::WithParamInterface<int> {};

TEST_P(NodeSetAbort, OfTheFirstStepUndoesIt) {
  SetUpSpares(4);
  const auto added = Begin({.add = {Name(3)}});
  Pass(microseconds(50) * GetParam());
  const auto abort = Begin({.abort = true});
  if (abort->refusal) return;  // the step is complete
  Pass(seconds(10));
  EXPECT_TRUE(abort->complete()) << abort->failure();
  EXPECT_EQ(Members(), (Names{Name(0), Name(1), Name(2)}));
  EXPECT_NE(added->failure(), "");
}
INSTANTIATE_TEST_SUITE_P(At, NodeSetAbort, testing::Range(0, 30));

// Members 0 and 1 hold the lease, and answer after node 3, which was added, and after node 2, which
// is down.
TEST_F(NodeSetChanges, ALeaseSurvivesAnAddedNodeThatAnswersFirst) {
  SetUpSpares(4);
  cluster->Down(2);
  const Lease lease = MustAcquire(Wants("k", seconds(2)));
  const auto change = Begin({.add = {Name(3)}});
  Pass(milliseconds(20));
  ASSERT_TRUE(change->complete());
  cluster->Pause(0);
  cluster->Pause(1);
  std::optional<ExtendResult> extended;
  cluster->shard(0).Extend({.key = Key("k"),
                            .token = lease.token,
                            .ttl = seconds(2),
                            .retry = kTry,
                            .deadline = std::nullopt,
                            .raise_to = {}},
                           [&](ExtendResult result) { extended = std::move(result); });
  Pass(milliseconds(10));
  EXPECT_FALSE(extended);
  cluster->Resume(0);
  cluster->Resume(1);
  Pass(milliseconds(10));
  ASSERT_TRUE(extended);
  EXPECT_TRUE(extended->lease) << extended->error.message;
  (void)Release("k", lease.token.str());
}

// The lease is held by nodes 0 and 1 only: a quorum of three, but not of four.
TEST_F(NodeSetChanges, ALeaseSurvivesAnAddedNode) {
  SetUpSpares();
  cluster->Down(2);
  const Lease lease = MustAcquire(Wants("k", seconds(2)));
  cluster->Up(2);
  Pass(milliseconds(20));
  const auto change = Begin({.add = {Name(3)}});
  Pass(milliseconds(20));
  ASSERT_TRUE(change->complete());
  const ExtendResult extended = Extend("k", lease.token.str(), seconds(2));
  EXPECT_TRUE(extended.lease) << extended.error.message;
  EXPECT_EQ(extended.lease ? extended.lease->fence : FencingToken{}, lease.fence);
  Pass(milliseconds(20));
  EXPECT_GE(std::ranges::count(Holders("k"), lease.token.str()), 3);
  (void)Release("k", lease.token.str());
}

// Nodes 0 and 2 hold the lease, and 2 is removed.
TEST_F(NodeSetChanges, ALeaseSurvivesARemovedNode) {
  SetUpSpares();
  cluster->Down(1);
  const Lease lease = MustAcquire(Wants("k", seconds(2)));
  cluster->Up(1);
  Pass(milliseconds(20));
  const auto change = Begin({.remove = {Name(2)}});
  Pass(milliseconds(20));
  ASSERT_TRUE(change->complete());
  EXPECT_TRUE(Extend("k", lease.token.str(), seconds(2)).lease);
  (void)Release("k", lease.token.str());
}

TEST_F(NodeSetChanges, AReleasedLeaseIsNotPutBack) {
  SetUpSpares();
  const Lease lease = MustAcquire(Wants("k", seconds(2)));
  const auto change = Begin({.add = {Name(3)}});
  Pass(milliseconds(20));
  ASSERT_TRUE(change->complete());
  ASSERT_FALSE(Release("k", lease.token.str()).error);
  const ExtendResult extended = Extend("k", lease.token.str(), seconds(2));
  EXPECT_FALSE(extended.lease);
  EXPECT_EQ(extended.error.reason, Reason::kLockNotHeld);
  EXPECT_EQ(Holders("k"), (Names{"-", "-", "-", "-", "-"}));
}

TEST_F(NodeSetChanges, OneRemainingHolderIsNotEnoughToPutAKeyBack) {
  SetUpSpares();
  const Lease lease = MustAcquire(Wants("k", seconds(2)));
  const auto change = Begin({.add = {Name(3)}});
  Pass(milliseconds(20));
  ASSERT_TRUE(change->complete());
  for (const std::size_t node : {1U, 2U}) {
    (void)cluster->server(node).Release("k", lease.token.str(), std::nullopt, {}, false);
  }
  EXPECT_FALSE(Extend("k", lease.token.str(), seconds(2)).lease);
  EXPECT_FALSE(cluster->server(1).Holder("k"));
  (void)Release("k", lease.token.str());
}

// Node 0 missed that the lease ended, and that another one followed. After node 2 is removed, it
// alone keeps others from a quorum.
TEST_F(NodeSetChanges, ALeaseThatAnotherOneHasFollowedIsNotPutBack) {
  SetUpSpares();
  const Lease old = MustAcquire(Wants("k", seconds(2)));
  for (const std::size_t node : {1U, 2U}) {
    (void)cluster->server(node).Release("k", old.token.str(), std::nullopt, {}, false);
  }
  const Lease later = MustAcquire(Wants("k", seconds(2)));
  for (const std::size_t node : {1U, 2U}) {
    (void)cluster->server(node).Release("k", later.token.str(), std::nullopt, {}, false);
  }
  const auto change = Begin({.remove = {Name(2)}});
  Pass(milliseconds(20));
  ASSERT_TRUE(change->complete());
  EXPECT_FALSE(Extend("k", old.token.str(), seconds(2)).lease);
  EXPECT_FALSE(cluster->server(1).Holder("k"));
  (void)Release("k", old.token.str());
}

TEST_F(NodeSetChanges, AMemberThatForgotItsPromiseAcceptsNothing) {
  SetUpSpares();
  Server& server = cluster->server(0);
  const SetState before = server.Facts().set;
  const Ballot ballot{9, 9};
  ASSERT_TRUE(server
                  .AskSet({.kind = SetStep::Kind::kPrepare,
                           .mark = before.mark,
                           .epoch = Record().epoch,
                           .ballot = ballot})
                  .done);
  server.LoseData();
  (void)Acquire(Wants("k", milliseconds(100)));
  Pass(milliseconds(50));
  ASSERT_EQ(server.Facts().set.record, Record()) << "it is readmitted";
  EXPECT_FALSE(server
                   .AskSet({.kind = SetStep::Kind::kAccept,
                            .mark = before.mark,
                            .epoch = Record().epoch,
                            .ballot = {99, 9},
                            .record = Record(),
                            .back = true})
                   .done);
}

// A node is quarantined for the longest TTL, which becomes longer shortly before the end of the
// quarantine. A daemon that has not heard of it must not end the quarantine.
class NodeSetLongerTtl : public NodeSetChanges, public testing::WithParamInterface<int> {};

TEST_P(NodeSetLongerTtl, KeepsANodeInQuarantine) {
  SetUpSpares(3, 2);
  Pass(milliseconds(300));  // the quarantine does not end at one of the daemons' regular checks
  cluster->Restart(2, Cluster::Data::kLost);
  Pass(kLongestTtl - milliseconds(200) + milliseconds(10) * GetParam());
  const auto change = Begin({.max_ttl = seconds(20)}, 0);
  Pass(milliseconds(2));
  if (!change->complete() || !cluster->shard(0).guard()->Barred(2)) return;
  Pass(seconds(10));
  EXPECT_TRUE(cluster->shard(0).guard()->Barred(2));
  Pass(seconds(20));
  EXPECT_FALSE(cluster->shard(0).guard()->Barred(2));
}
INSTANTIATE_TEST_SUITE_P(At, NodeSetLongerTtl, testing::Range(0, 40));

TEST_F(NodeSetChanges, BadRequestsAreRefusedAndChangeNothing) {
  SetUpSpares(6);
  const auto names = [](std::vector<std::size_t> nodes) {
    Names all;
    for (const std::size_t node : nodes) all.push_back(Name(node));
    return all;
  };
  const auto expect = [this](ChangeRequest request, const std::string& words) {
    const std::string why = Refusal(std::move(request));
    EXPECT_NE(why.find(words), std::string::npos) << '"' << why << "\" should say: " << words;
  };
  expect({.add = names({9})}, "not configured");
  expect({.add = names({1})}, "is a member already");
  expect({.add = names({3, 3})}, "twice");
  expect({.remove = names({3})}, "not a member");
  expect({.remove = names({1, 1})}, "twice");
  expect({.remove = names({0, 1, 2})}, "at least one member");
  expect({.max_ttl = milliseconds(1)}, "must be from 100 ms to 86400 s");
  expect({.max_ttl = std::chrono::hours(24) + seconds(1)}, "must be from 100 ms to 86400 s");
  expect({.max_ttl = kLongestTtl}, "already");
  expect({.abort = true}, "no change");
  cluster->Down(3);
  Pass(milliseconds(20));
  expect({.add = names({3})}, "not connected");
  cluster->Up(3);
  cluster->Down(2);
  cluster->Down(1);
  Pass(milliseconds(20));
  expect({.remove = names({2})}, "a quorum must decide");
  cluster->Up(1);
  Pass(milliseconds(20));
  expect({.remove = names({1})}, "no quorum");
  cluster->Up(2);
  Pass(milliseconds(20));
  const auto running = Begin({.add = names({3, 4})});
  Pass(milliseconds(50));
  expect({.add = names({5})}, "under way");
  Pass(kLongestTtl);
}

TEST_F(NodeSetChanges, TwoServersOfOneNameHaveOneVote) {
  SetUpSpares(3);
  cluster->Kill(0);
  cluster->Configure(0, {0, 1, 2, 2});
  cluster->Start(0);
  Pass(milliseconds(50));
  EXPECT_NE(Refusal({.add = {Name(2)}}).find("is a member already"), std::string::npos);
}

TEST_F(NodeSetChanges, ASetIsCreatedOnDemandOnly) {
  ClusterOptions options;
  options.guard = GuardMode::kOn;
  options.lock.guard.quarantine = kLongestTtl;
  options.lock.node_set.create = false;
  SetUpCluster(options);
  Pass(seconds(3));
  EXPECT_FALSE(membership().known());
  EXPECT_NE(membership().Trouble().find("nodes init"), std::string::npos);
  std::vector<ChangeProgress> told;
  const auto handle = cluster->shard(0).CreateNodeSet(
      [&told](const ChangeProgress& progress) { told.push_back(progress); });
  Pass(milliseconds(20));
  EXPECT_TRUE(membership().known());
  ASSERT_FALSE(told.empty());
  EXPECT_TRUE(told.back().complete);
}

}  // namespace
}  // namespace redlock::sim
