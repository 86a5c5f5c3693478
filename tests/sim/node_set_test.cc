// Tests of the node set: who votes, whatever the daemons are configured with.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core/rounds/round.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

constexpr Duration kLongestTtl = seconds(10);

class NodeSets : public Scenario {
 protected:
  // Daemons with these lists of nodes.
  void SetUpLists(std::vector<std::vector<std::size_t>> lists, GuardMode guard = GuardMode::kOn) {
    ClusterOptions options;
    for (const auto& list : lists) {
      for (const std::size_t node : list) options.nodes = std::max(options.nodes, node + 1);
    }
    options.daemons = lists.size();
    options.lists = std::move(lists);
    options.guard = guard;
    options.node_sets = true;
    options.lock.guard.quarantine = kLongestTtl;
    SetUpCluster(options);
  }
  void Detach(std::size_t daemon) {
    for (std::size_t node = 0; node < cluster->nodes(); ++node) {
      if (cluster->has_link(daemon, node)) cluster->link(daemon, node).Break(true);
    }
  }
  void Attach(std::size_t daemon) {
    for (std::size_t node = 0; node < cluster->nodes(); ++node) {
      if (cluster->has_link(daemon, node)) cluster->link(daemon, node).ComeUp();
    }
  }
  const Membership& membership(std::size_t daemon = 0) {
    return *cluster->shard(daemon).membership();
  }
  SetRecord Record(std::size_t daemon = 0) { return membership(daemon).set()->record(); }
  std::string IdOf(std::size_t node) { return cluster->server(node).Facts().set.member; }

  // Puts a record with the next epoch in force on the nodes, as a completed change does, and
  // without any daemon.
  SetRecord Decide(const SetRecord& base, std::vector<std::size_t> members) {
    SetRecord next = base;
    ++next.epoch;
    next.members.clear();
    next.before = base.members;
    for (const std::size_t node : members) {
      next.members.push_back({IdOf(node), "node-" + std::to_string(node)});
    }
    std::ranges::sort(next.members, {}, &Member::id);
    return next;
  }
  bool Learn(std::size_t node, const SetRecord& record) {
    return cluster->server(node)
        .AskSet({.kind = SetStep::Kind::kLearn, .member = IdOf(node), .record = record})
        .done;
  }
};

TEST_F(NodeSets, DaemonsThatStartTogetherCreateOneSet) {
  SetUpLists({{0, 1, 2}, {2, 1, 0}, {1, 0, 2}});
  Pass(milliseconds(20));
  for (std::size_t daemon = 0; daemon < 3; ++daemon) {
    EXPECT_EQ(Record(daemon), Record(0)) << daemon;
    EXPECT_TRUE(Acquire(Wants("k" + std::to_string(daemon), seconds(1)), daemon).lease);
  }
  EXPECT_EQ(Record().members.size(), 3U);
}

// Without the record, {0,1,2} and {0,1,2,3,4} could both find a quorum: {0,1} and {2,3,4}.
TEST_F(NodeSets, ADaemonWithMoreNodesCountsOnlyTheMembers) {
  SetUpLists({{0, 1, 2}, {0, 1, 2, 3, 4}});
  Detach(1);
  Pass(milliseconds(20));
  Attach(1);
  Pass(milliseconds(20));
  EXPECT_EQ(Record(1), Record(0));
  cluster->Down(2);
  const Lease lease = MustAcquire(Wants("k", seconds(5)), 0);
  cluster->Up(2);
  cluster->Down(0);
  cluster->Down(1);
  Pass(milliseconds(20));
  const AcquireResult second = Acquire(Wants("k", seconds(5)), 1);
  EXPECT_FALSE(second.lease);
  EXPECT_TRUE(membership(1).Refusal(3));
  EXPECT_NE(membership(1).Refusal(3)->why.find("not a member"), std::string::npos);
}

TEST(NodeSetSchedules, DaemonsWithOtherNodesThatStartTogetherNeverHaveTwoSets) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    World world(seed);
    ClusterOptions options;
    options.nodes = 5;
    options.daemons = 2;
    options.lists = {{0, 1, 2}, {2, 3, 4}};
    options.guard = GuardMode::kOn;
    Cluster cluster(world, options);
    world.RunUntil(world.now() + seconds(5));
    const Membership& one = *cluster.shard(0).membership();
    const Membership& two = *cluster.shard(1).membership();
    const bool both = one.known() && two.known();
    EXPECT_TRUE(!both || one.set()->record() == two.set()->record()) << seed;
    EXPECT_NE(one.Trouble() + two.Trouble(), "") << "an operator must see it";
  }
}

TEST_F(NodeSets, ASetIsNotCreatedWhileANodeThatMayHaveARecordIsMissing) {
  SetUpLists({{0, 1, 2}, {0, 1, 2}});
  Detach(1);
  Pass(milliseconds(20));
  Detach(0);
  // Two of three nodes come back empty, and the third, which has the record, cannot be reached.
  cluster->server(0).LoseData();
  cluster->server(1).LoseData();
  cluster->link(1, 0).ComeUp();
  cluster->link(1, 1).ComeUp();
  Pass(seconds(30));
  EXPECT_FALSE(membership(1).known());
  EXPECT_FALSE(Acquire(Wants("k", seconds(1)), 1).lease);
}

// The record that was offered to the other nodes can never be in force.
TEST_F(NodeSets, ASetCanBeCreatedThoughANodeLostItsDataWhileItWas) {
  SetUpLists({{0, 1, 2}});
  const auto accepted = [this](std::size_t node) {
    return cluster->server(node).Facts().set.accepted.has_value();
  };
  for (int i = 0; i < 100 && !accepted(0) && !accepted(1) && !accepted(2); ++i) {
    Pass(microseconds(20));
  }
  cluster->Kill(0);
  Pass(milliseconds(5));
  std::size_t offered = 0;
  for (const std::size_t node : {0U, 1U, 2U}) {
    if (accepted(node)) {
      ++offered;
    } else {
      cluster->Restart(node, Cluster::Data::kLost);
    }
  }
  ASSERT_TRUE(offered > 0 && offered < 3);
  cluster->Start(0);
  Pass(milliseconds(50));
  EXPECT_TRUE(membership().known()) << membership().Trouble();
  EXPECT_TRUE(Acquire(Wants("k", seconds(1))).lease);
}

TEST_F(NodeSets, OneServerUnderTwoAddressesHasOneVote) {
  SetUpLists({{0, 1, 2}, {0, 0, 1}});
  Detach(1);
  Pass(milliseconds(20));
  Attach(1);

  Pass(milliseconds(20));
  // Daemon 1 reaches node 0 twice, and node 1: two of three members.
  ASSERT_TRUE(membership(1).known());
  EXPECT_EQ(membership(1).set()->nodes().size(), 2U);
}

TEST_F(NodeSets, ANewSetWithOneServerTwiceIsRefused) {
  SetUpLists({{0, 0, 1}});
  Pass(seconds(2));
  EXPECT_FALSE(membership().known());
  EXPECT_NE(membership().Trouble().find("are the same server"), std::string::npos)
      << membership().Trouble();
}

TEST_F(NodeSets, AnotherServerBehindAnAddressHasNoVote) {
  SetUpLists({{0, 1, 2}, {0, 1, 3}});
  Pass(seconds(2));
  const bool both = membership(0).known() && membership(1).known();
  EXPECT_TRUE(!both || Record(0) == Record(1)) << "no two sets that share a node are in force";
}

// The decided record {0,1} replaces {0,1,2}. A daemon that has not heard of it finds no vote, by
// whichever step it asks.
TEST_F(NodeSets, ADaemonWithAnOldRecordFindsNoVote) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  const Lease lease = MustAcquire(Wants("held", seconds(8)));
  const SetRecord next = Decide(Record(), {0, 1});
  for (const std::size_t node : {0U, 1U}) ASSERT_TRUE(Learn(node, next));
  const AcquireResult refused = Acquire(Wants("k", seconds(1)));
  EXPECT_FALSE(refused.lease);
  EXPECT_EQ(refused.error.reason, Reason::kNodeSetMismatch);
  // It learns of the record by this, and goes on.
  Pass(milliseconds(20));
  EXPECT_EQ(Record(), next);
  EXPECT_TRUE(Acquire(Wants("k", seconds(1))).lease);
}

TEST_F(NodeSets, AnExtensionByAnOldRecordIsNotConfirmed) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  const Lease lease = MustAcquire(Wants("k", seconds(8)));
  const SetRecord next = Decide(Record(), {0, 1});
  for (const std::size_t node : {0U, 1U}) ASSERT_TRUE(Learn(node, next));
  EXPECT_FALSE(Extend("k", lease.token.str(), seconds(8)).lease);
  Pass(milliseconds(20));
  EXPECT_TRUE(Extend("k", lease.token.str(), seconds(8)).lease);
  EXPECT_FALSE(Release("k", lease.token.str()).error);
}

TEST_F(NodeSets, AReadByAnOldRecordIsUndecided) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  const SetRecord next = Decide(Record(), {0, 1});
  for (const std::size_t node : {0U, 1U}) ASSERT_TRUE(Learn(node, next));
  std::optional<InspectResult> seen;
  cluster->shard(0).Inspect(Key("k"), [&](InspectResult result) { seen = std::move(result); });
  Pass(seconds(1));
  ASSERT_TRUE(seen);
  EXPECT_TRUE(seen->undecided) << "it must not read as vacant";
}

TEST_F(NodeSets, ARepairByAnOldRecordHasNoEffect) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  const Lease lease = MustAcquire(Wants("k", seconds(8)));
  const SetRecord next = Decide(Record(), {0, 1, 2});
  (void)cluster->server(2).Release("k", lease.token.str(), std::nullopt, {}, false);
  // The extension is decided by nodes 0 and 1. Node 2 changes its record before the repair arrives.
  std::optional<ExtendResult> extended;
  cluster->shard(0).Extend({.key = Key("k"),
                            .token = lease.token,
                            .ttl = seconds(8),
                            .retry = kTry,
                            .deadline = std::nullopt,
                            .raise_to = {}},
                           [&](ExtendResult result) { extended = std::move(result); });
  Pass(microseconds(230));
  ASSERT_TRUE(Learn(2, next));
  Pass(milliseconds(5));
  ASSERT_TRUE(extended && extended->lease);
  EXPECT_FALSE(cluster->server(2).Holder("k"));
  (void)Release("k", lease.token.str());
}

// One node is asked first. Before the others are asked, the set changes: votes under two records
// must not be added up.
TEST(NodeSetRound, IsNotContinuedUnderAnotherRecord) {
  World world(1);
  const auto scheduler = std::make_shared<WorldScheduler>(world, Duration{});
  const NetworkFaults faults;
  std::vector<std::unique_ptr<Server>> servers;
  std::vector<std::unique_ptr<Link>> links;
  std::vector<Node*> nodes;
  for (NodeIndex i = 0; i < 3; ++i) {
    servers.push_back(std::make_unique<Server>(world, 1.0));
    links.push_back(std::make_unique<Link>(world, *scheduler, i, *servers.back(), faults));
    nodes.push_back(links.back().get());
  }
  NodeSetPtr set = std::make_shared<NodeSet>(3);
  WorldRandom random(world);
  HybridClock fences;
  OperationRegistry operations;
  ConcurrencyLimiter limiter(*scheduler, 8);
  Statistics statistics(3);
  ReleasingTokens releasing;
  LossLog losses;
  const LockOptions options;
  const Environment env{*scheduler,
                        random,
                        [] { return OwnerToken(); },
                        nodes,
                        set,
                        fences,
                        operations,
                        limiter,
                        statistics,
                        releasing,
                        losses,
                        options,
                        [] { return std::optional<Error>(); }};
  struct Listener final : Round::Listener {
    void OnDecided(Round& round) override { verdict = round.verdict(); }
    void OnLate(Round& /*round*/, NodeIndex /*node*/, const NodeReply& /*reply*/) override {}
    std::optional<Verdict> verdict;
  };
  const auto listener = std::make_shared<Listener>();
  const Key key("k");
  const auto round = Round::StartOneFirst(
      env, [](Outcome outcome) { return Round::CountVote(outcome, Round::Counts::kAsUnknown); },
      [&key](Node& node, std::shared_ptr<ReplySink> sink) {
        node.Acquire({key, OwnerToken("t"), seconds(5), seconds(5), {1}, {1}, Owner()},
                     std::move(sink));
      },
      listener, {}, 0);
  set = std::make_shared<NodeSet>(3);  // another record
  world.RunUntil(world.now() + seconds(1));
  EXPECT_EQ(listener->verdict, Verdict::kUnreachable);
  EXPECT_TRUE(Any(round->votes(), Outcome::kOtherSet));
  EXPECT_EQ(links[1]->requests() + links[2]->requests(), 0U);
  scheduler->Stop();
}

TEST_F(NodeSets, AnEmptiedNodeIsReadmittedWithItsIdAndRecord) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  const std::string id = IdOf(0);
  cluster->server(0).LoseData();
  (void)Acquire(Wants("k", milliseconds(100)));
  Pass(milliseconds(20));
  EXPECT_EQ(IdOf(0), id);
  EXPECT_EQ(cluster->server(0).Facts().set.record, Record());
  EXPECT_TRUE(cluster->shard(0).guard()->Barred(0)) << "it still may have forgotten locks";
  Pass(kLongestTtl + seconds(2));
  EXPECT_FALSE(cluster->shard(0).guard()->Barred(0));
}

// The node had accepted a change that is not decided yet. Its acceptance must not be forgotten with
// its data: the others' promises must be newer than every earlier proposal.
TEST_F(NodeSets, AReadmissionTakesOverPromisesAndProposals) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  const SetRecord next = Decide(Record(), {0, 1});
  const Ballot ballot{7, 7};
  const SetState one = cluster->server(1).Facts().set;
  ASSERT_TRUE(cluster->server(1)
                  .AskSet({.kind = SetStep::Kind::kAccept,
                           .mark = one.mark,
                           .epoch = 1,
                           .ballot = ballot,
                           .record = next})
                  .done);
  cluster->server(0).LoseData();
  (void)Acquire(Wants("k", milliseconds(100)));
  Pass(milliseconds(30));
  const SetState readmitted = cluster->server(0).Facts().set;
  EXPECT_GT(readmitted.promised, ballot);
  ASSERT_TRUE(readmitted.accepted);
  EXPECT_EQ(readmitted.accepted->record, next);
  EXPECT_EQ(cluster->server(2).Facts().set.promised, readmitted.promised);
}

TEST_F(NodeSets, AMajorityThatLostItsDataIsReadmittedAfterTheLongestTtlOnceAllAreBack) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  const std::string set_id = Record().set_id;
  cluster->Restart(0, Cluster::Data::kLost);
  cluster->Restart(1, Cluster::Data::kLost);
  Pass(kLongestTtl - seconds(1));
  EXPECT_FALSE(Acquire(Wants("k", seconds(1))).lease);
  Pass(seconds(4));
  EXPECT_TRUE(Acquire(Wants("k", seconds(1))).lease);
  EXPECT_EQ(Record().set_id, set_id);
}

// The set's longest TTL is 10 s, and the daemon's own is 1 s: the quarantine that it ends is the
// set's.
TEST_F(NodeSets, AQuarantineTakesTheLongestTtlOfTheSet) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  const Lease lease = MustAcquire(Wants("k", seconds(9)));
  cluster->Kill(0);
  cluster->server(0).Snapshot();
  cluster->Restart(0, Cluster::Data::kOld);
  cluster->SetLongestTtl(seconds(1));
  cluster->Start(0);  // it judges the node before it knows the set
  Pass(seconds(5));
  EXPECT_TRUE(cluster->shard(0).guard()->Barred(0));
  Pass(seconds(8));
  EXPECT_FALSE(cluster->shard(0).guard()->Barred(0));
}

// The guard was off, or its daemon died before it could mark the nodes, and then they restarted.
TEST_F(NodeSets, NodesThatRestartWithAFreshMarkAreTrustedAgain) {
  SetUpLists({{0, 1, 2}, {0, 1, 2}});
  Detach(1);
  Pass(milliseconds(20));
  cluster->Kill(0);
  for (const std::size_t node : {0U, 1U, 2U}) {
    const std::string mark = cluster->server(node).Facts().mark;
    (void)cluster->server(node).Mark(mark, "*run-1:7");
    cluster->Restart(node, Cluster::Data::kKept);
  }
  Attach(1);
  Pass(kLongestTtl + seconds(3));
  EXPECT_TRUE(Acquire(Wants("k", seconds(1)), 1).lease);
}

TEST_F(NodeSets, ANodeIsReadmittedOnlyOnceForALoss) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  cluster->server(0).Snapshot();
  cluster->Restart(0, Cluster::Data::kOld);
  Pass(milliseconds(50));
  const SetState now = cluster->server(0).Facts().set;
  ASSERT_EQ(now.readmitted, now.mark);
  EXPECT_FALSE(cluster->server(0)
                   .AskSet({.kind = SetStep::Kind::kReadmit,
                            .member = now.member,
                            .mark = now.mark,
                            .new_mark = now.mark,
                            .ballot = {1, 1},
                            .record = Record()})
                   .done);
  EXPECT_EQ(cluster->server(0).Facts().set.promised, now.promised);
}

TEST_F(NodeSets, ALateFirstMarkDoesNotHideALoss) {
  SetUpLists({{0, 1, 2}, {0, 1, 2}});
  Pass(milliseconds(20));
  const Lease lease = MustAcquire(Wants("k", seconds(5)), 0);
  cluster->server(0).LoseData();
  // Messages of a daemon that believed the set to be new, sent before the loss.
  (void)cluster->server(0).Mark("*run-1:5", "run-1");
  (void)cluster->server(0).Mark("", "run-1");
  EXPECT_FALSE(cluster->server(0).Facts().set.stamp == membership().set()->stamp());
  cluster->Down(2);
  EXPECT_FALSE(Acquire(Wants("k", seconds(1)), 1).lease);
}

// Nodes 0 and 1 come back after the set was given up and created anew with node 2.
TEST_F(NodeSets, WhatIsLeftOfASetThatWasGivenUpDoesNotGrantBesideTheNewOne) {
  SetUpLists({{0, 1, 2}, {2, 3, 4}, {0, 1, 2, 3, 4}});
  for (const std::size_t daemon : {1U, 2U}) cluster->Kill(daemon);
  Pass(seconds(1));
  cluster->Kill(0);
  for (const std::size_t node : {2U, 3U, 4U}) cluster->server(node).LoseData();
  cluster->Start(1);
  Pass(seconds(1));
  ASSERT_TRUE(membership(1).known()) << membership(1).Trouble();
  cluster->Start(2);
  Pass(seconds(2));
  EXPECT_FALSE(Acquire(Wants("k", seconds(1)), 2).lease);
  EXPECT_NE(membership(2).Trouble().find("node sets"), std::string::npos);
  EXPECT_TRUE(Acquire(Wants("k", milliseconds(100)), 1).lease);
}

TEST_F(NodeSets, TheRecordIsComparedWithoutAGuardToo) {
  SetUpLists({{0, 1, 2}}, GuardMode::kOff);
  Pass(milliseconds(20));
  EXPECT_TRUE(Acquire(Wants("a", seconds(1))).lease);
  const SetRecord next = Decide(Record(), {0, 1});
  for (const std::size_t node : {0U, 1U}) ASSERT_TRUE(Learn(node, next));
  EXPECT_EQ(Acquire(Wants("k", seconds(1))).error.reason, Reason::kNodeSetMismatch);
}

TEST_F(NodeSets, NoLeaseIsLongerThanTheSetAllows) {
  SetUpLists({{0, 1, 2}});
  Pass(milliseconds(20));
  const Lease lease = MustAcquire(Wants("k", seconds(60)));
  EXPECT_LE(lease.validity, kLongestTtl);
  (void)Release("k", lease.token.str());
}

}  // namespace
}  // namespace redlock::sim
