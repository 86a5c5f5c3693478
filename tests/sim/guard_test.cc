// Tests of the guard: what nodes may do after they lose their data or their clock jumps.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

constexpr Duration kQuarantine = seconds(2);

class Guard : public Scenario {
 protected:
  void SetUpGuarded(GuardMode mode = GuardMode::kOn, std::size_t daemons = 1,
                    std::size_t nodes = 3) {
    ClusterOptions options;
    options.nodes = nodes;
    options.daemons = daemons;
    options.guard = mode;
    options.lock.guard.quarantine = kQuarantine;
    SetUpCluster(options);
  }
  void SetUpSettled(std::size_t daemons = 1, std::size_t nodes = 3) {
    SetUpGuarded(GuardMode::kOn, daemons, nodes);
    Pass(milliseconds(50));
  }

  // How each node votes on a key that is not held.
  std::vector<std::string> Votes(std::size_t daemon = 0) {
    const std::string key = "probe-" + std::to_string(++probes_);
    std::vector<std::string> outcomes(cluster->nodes(), "-");
    why.clear();
    std::optional<AcquireResult> answer;
    cluster->shard(daemon).Acquire(Wants(key, milliseconds(100)),
                                   [&](const AcquireResult& result) { answer = result; });
    Pass(milliseconds(20));
    EXPECT_TRUE(answer);
    if (!answer) return outcomes;
    won = answer->lease.has_value();
    for (const Vote& vote : answer->votes) {
      outcomes[vote.node] = ToString(vote.outcome);
      if (vote.outcome == Outcome::kQuarantined) why = vote.message;
    }
    // The majority may have decided before a refused step was answered.
    for (std::size_t node = 0; node < outcomes.size(); ++node) {
      const auto reason = cluster->shard(daemon).guard()->Barred(node);
      if (outcomes[node] != "-" || !reason) continue;
      outcomes[node] = kQuarantined;
      if (why.empty()) why = *reason;
    }
    return outcomes;
  }
  int CountQuarantined(std::size_t daemon = 0) {
    const auto votes = Votes(daemon);
    return static_cast<int>(std::count(votes.begin(), votes.end(), kQuarantined));
  }
  // Without asking the nodes.
  int CountOut(std::size_t daemon = 0) {
    int out = 0;
    for (std::size_t node = 0; node < cluster->nodes(); ++node) {
      if (const auto reason = cluster->shard(daemon).guard()->Barred(node)) {
        why = *reason;
        ++out;
      }
    }
    return out;
  }
  static constexpr const char* kGranted = "granted";
  static constexpr const char* kQuarantined = "quarantined";

  bool won = false;
  std::string why;

 private:
  int probes_ = 0;
};

TEST_F(Guard, ANewNodeSetStartsAtOnce) {
  SetUpGuarded();
  Pass(milliseconds(3));
  EXPECT_EQ(CountQuarantined(), 0);
  EXPECT_TRUE(won);
}

TEST_F(Guard, ANewNodeSetWaitsForANodeThatIsDownAndNamesIt) {
  SetUpGuarded();
  cluster->Down(1);
  Pass(seconds(10));
  (void)Votes();
  EXPECT_FALSE(won);
  EXPECT_NE(why.find("node node-1 is not connected"), std::string::npos) << why;
  cluster->Up(1);
  Pass(milliseconds(10));
  EXPECT_EQ(CountQuarantined(), 0) << "it has not lost anything";
  EXPECT_TRUE(won);
}

TEST_F(Guard, ANewNodeSetWaitsForASilentNode) {
  SetUpGuarded();
  cluster->Pause(1);
  Pass(seconds(10));
  (void)Votes();
  EXPECT_FALSE(won);
  cluster->Resume(1);
  Pass(milliseconds(10));
  (void)Votes();
  EXPECT_TRUE(won);
}

TEST_F(Guard, ReportsWhenTheQuorumIsLostAndRegained) {
  SetUpSettled();
  std::vector<bool> reported;
  cluster->shard(0).WatchQuorum([&reported](bool quorum) { reported.push_back(quorum); });
  EXPECT_EQ(reported, std::vector<bool>{true});
  cluster->Down(0);
  Pass(seconds(2));
  EXPECT_EQ(reported.size(), 1U) << "two of three are a quorum";
  cluster->Down(1);
  Pass(seconds(2));
  EXPECT_EQ(reported, (std::vector<bool>{true, false}));
  cluster->Up(1);
  Pass(seconds(2));
  EXPECT_EQ(reported, (std::vector<bool>{true, false, true}));
  // The node can be reached, but is quarantined.
  cluster->Restart(1, sim::Cluster::Data::kLost);
  Pass(seconds(2));
  EXPECT_EQ(reported.back(), false);
  cluster->shard(0).WatchQuorum({});
}

TEST_F(Guard, StrictModeQuarantinesANewNodeSetForTheLongestTtl) {
  SetUpGuarded(GuardMode::kStrict);
  Pass(kQuarantine - milliseconds(100));
  EXPECT_GE(CountQuarantined(), 2) << "two votes decide";
  EXPECT_FALSE(won);
  Pass(milliseconds(200));
  (void)Votes();
  EXPECT_TRUE(won);
}

TEST_F(Guard, SeveralDaemonsCanStartANewNodeSetTogether) {
  SetUpSettled(3);
  for (std::size_t daemon = 0; daemon < 3; ++daemon) {
    (void)Votes(daemon);
    EXPECT_TRUE(won) << daemon;
  }
}

TEST_F(Guard, AGrantDetectsThatANodeLostItsData) {
  SetUpSettled();
  const Lease lease = MustAcquire(Wants("k", milliseconds(500)));
  cluster->server(0).LoseData();
  (void)Votes();
  EXPECT_TRUE(won);
  const std::string barred = cluster->shard(0).guard()->Barred(0).value_or("");
  EXPECT_NE(barred.find("its mark vanished"), std::string::npos) << barred;
  EXPECT_FALSE(cluster->server(0).Holder("probe-1"));
}

// The node has its record again, so that only its mark shows the loss.
TEST_F(Guard, ADaemonThatMissedALossDetectsItOnANodeThatAnotherDaemonReadmitted) {
  SetUpSettled(2);
  cluster->server(0).LoseData();
  (void)Extend("any", "any", milliseconds(100), 0);  // detects the loss
  Pass(milliseconds(10));
  ASSERT_EQ(cluster->server(0).Facts().set.stamp, cluster->shard(0).membership()->set()->stamp());
  (void)Votes(1);
  EXPECT_TRUE(cluster->shard(1).guard()->Barred(0));
  EXPECT_FALSE(cluster->server(0).Holder("probe-1"));
}

TEST_F(Guard, TwoNodesThatLostTheirDataGrantNothing) {
  SetUpSettled();
  const Lease lease = MustAcquire(Wants("k", milliseconds(1000)));
  cluster->server(0).LoseData();
  cluster->server(1).LoseData();
  const AcquireResult second = Acquire(Wants("k", milliseconds(1000)));
  EXPECT_FALSE(second.lease);
  EXPECT_EQ(second.error.reason, Reason::kQuorumUnavailable);
}

TEST_F(Guard, ANodeVotesAgainAfterItsQuarantine) {
  SetUpSettled(2);
  cluster->server(0).LoseData();
  EXPECT_EQ(Votes()[0], kQuarantined);
  Pass(kQuarantine - milliseconds(100));
  EXPECT_EQ(Votes(0)[0], kQuarantined);
  EXPECT_EQ(Votes(1)[0], kQuarantined);
  Pass(milliseconds(1200));  // the other daemon may have seen the loss one check later
  for (std::size_t daemon = 0; daemon < 2; ++daemon) {
    EXPECT_EQ(CountQuarantined(daemon), 0) << daemon;
  }
}

TEST_F(Guard, ALossIsDetectedWithoutAnyGrant) {
  SetUpSettled();
  cluster->server(0).LoseData();
  Pass(milliseconds(1100));
  EXPECT_TRUE(cluster->shard(0).guard()->Barred(0));
}

TEST_F(Guard, ADaemonThatStartsAfterTheLossDetectsIt) {
  SetUpGuarded(GuardMode::kOn, 2);
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).Break(true);
  Pass(milliseconds(50));
  cluster->Restart(0, Cluster::Data::kLost);
  Pass(milliseconds(50));
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).ComeUp();
  Pass(milliseconds(50));
  EXPECT_EQ(Votes(1)[0], kQuarantined);
  EXPECT_TRUE(won);
}

TEST_F(Guard, ASecondLossRestartsTheQuarantine) {
  SetUpSettled(2);
  cluster->server(0).LoseData();
  (void)Votes(0);  // the other daemon learns of the loss at its next check, at other times
  Pass(milliseconds(1230));
  cluster->server(0).LoseData();
  // A step that the node refuses: this daemon readmits it before the other one looks again.
  (void)Extend("any", "any", milliseconds(100));
  Pass(kQuarantine - milliseconds(150));
  EXPECT_EQ(Votes(0)[0], kQuarantined);
  EXPECT_EQ(Votes(1)[0], kQuarantined);
}

TEST_F(Guard, ARestartFromOlderDataQuarantinesUntilTheUptimeIsLongEnough) {
  SetUpSettled();
  cluster->server(0).Snapshot();
  cluster->Restart(0, Cluster::Data::kOld);
  Pass(milliseconds(50));
  EXPECT_EQ(Votes()[0], kQuarantined);
  EXPECT_NE(why.find("it restarted and may have lost data"), std::string::npos) << why;
  Pass(kQuarantine);
  EXPECT_NE(Votes()[0], kQuarantined);
}

TEST_F(Guard, OlderDataDoesNotRestoreALockThatWasReleased) {
  SetUpSettled();
  const Lease first = MustAcquire(Wants("k", milliseconds(1500)));
  for (std::size_t node = 0; node < 3; ++node) cluster->server(node).Snapshot();
  EXPECT_FALSE(Release("k", first.token.str()).error);
  const Lease second = MustAcquire(Wants("k", milliseconds(1500)));
  cluster->Restart(0, Cluster::Data::kOld);
  cluster->Restart(1, Cluster::Data::kOld);
  Pass(milliseconds(50));
  EXPECT_FALSE(Extend("k", first.token.str(), milliseconds(1500)).lease);
  // Another restart in the meantime, and a daemon that learns of it only by the mark.
  cluster->server(0).Snapshot();
  cluster->Restart(0, Cluster::Data::kOld);
  Pass(milliseconds(50));
  EXPECT_FALSE(Extend("k", first.token.str(), milliseconds(1500)).lease);
}

TEST_F(Guard, ADaemonThatStartsLongAfterARestartReliesOnTheUptime) {
  SetUpGuarded(GuardMode::kOn, 2);
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).Break(true);
  Pass(milliseconds(50));
  for (std::size_t node = 0; node < 3; ++node) cluster->link(0, node).Break(true);
  cluster->server(0).Snapshot();
  cluster->Restart(0, Cluster::Data::kOld);
  Pass(kQuarantine + seconds(2));
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).ComeUp();
  Pass(milliseconds(50));
  EXPECT_EQ(CountQuarantined(1), 0) << why;
}

// The node's clock was far behind at startup and was set later: its uptime proves nothing.
TEST_F(Guard, ADaemonThatKnewThePreviousRunDoesNotRelyOnTheUptime) {
  SetUpSettled();
  cluster->server(0).Snapshot();
  cluster->server(0).StepClock(-std::chrono::hours(1));
  cluster->Restart(0, Cluster::Data::kOld);
  cluster->server(0).StepClock(std::chrono::hours(1));
  Pass(milliseconds(50));
  EXPECT_EQ(Votes()[0], kQuarantined);
}

// A single node that restarted empty is not a new set.
TEST_F(Guard, OneEmptyNodeOfThreeIsNotANewNodeSet) {
  SetUpSettled(2);
  cluster->Kill(0);  // no daemon marks the node
  cluster->Kill(1);
  cluster->Restart(0, Cluster::Data::kLost);
  cluster->Start(1);
  for (const std::size_t node : {1U, 2U}) cluster->link(1, node).Break(true);
  Pass(seconds(3));
  EXPECT_FALSE(cluster->shard(1).membership()->known());
}

TEST_F(Guard, ANodeThatSyncsEveryWriteToDiskMayRestart) {
  ClusterOptions options;
  options.guard = GuardMode::kOn;
  SetUpCluster(options);
  for (std::size_t node = 0; node < 3; ++node) cluster->server(node).MakeDurable();
  Pass(milliseconds(50));
  cluster->Restart(0, Cluster::Data::kKept);
  Pass(milliseconds(50));
  EXPECT_EQ(CountQuarantined(), 0) << why;
  // The same node with a replaced disk.
  cluster->Restart(0, Cluster::Data::kLost);
  Pass(milliseconds(50));
  EXPECT_EQ(Votes()[0], kQuarantined);
}

TEST_F(Guard, ABrokenConnectionIsNotALossOfData) {
  SetUpSettled();
  cluster->link(0, 0).Break(false);
  Pass(milliseconds(50));
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

TEST_F(Guard, TheFirstGrantAfterAClockJumpDoesNotCount) {
  SetUpSettled(1, 1);
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  cluster->server(0).StepClock(seconds(20));  // the node has forgotten the lock
  const AcquireResult second = Acquire(Wants("k", seconds(10)));
  EXPECT_FALSE(second.lease);
  EXPECT_EQ(second.error.reason, Reason::kQuorumUnavailable);
  ASSERT_EQ(second.votes.size(), 1U);
  EXPECT_EQ(second.votes[0].outcome, Outcome::kQuarantined);
  EXPECT_NE(second.votes[0].message.find("its clock went 19998 ms ahead"), std::string::npos)
      << second.votes[0].message;
  Pass(milliseconds(10));
  EXPECT_FALSE(cluster->server(0).Holder("k")) << "the grant that does not count is rolled back";
}

// The second grant of a script call comes without the clock. That of the first one counts for both.
TEST_F(Guard, NoGrantOfACallCountsAfterAClockJump) {
  SetUpSettled(1, 1);
  const Lease lease = MustAcquire(Wants("k2", seconds(10)));
  cluster->server(0).StepClock(seconds(20));  // the node has forgotten the lock
  std::vector<AcquireResult> results;
  for (const char* key : {"k1", "k2"}) {
    AcquireCommand command = Wants(key, seconds(10));
    (void)cluster->shard(0).Acquire(std::move(command), [&results](AcquireResult result) {
      results.push_back(std::move(result));
    });
  }
  Pass(milliseconds(10));
  ASSERT_EQ(results.size(), 2U);
  for (const AcquireResult& result : results) {
    EXPECT_FALSE(result.lease);
    ASSERT_EQ(result.votes.size(), 1U);
    EXPECT_EQ(result.votes[0].outcome, Outcome::kQuarantined);
  }
  EXPECT_FALSE(cluster->server(0).Holder("k1"));
  EXPECT_FALSE(cluster->server(0).Holder("k2")) << "the grant that does not count is rolled back";
}

TEST_F(Guard, AClockThatJumpsBackIsDetectedToo) {
  SetUpSettled();
  cluster->server(2).StepClock(-seconds(1));
  Pass(milliseconds(1100));
  EXPECT_EQ(Votes()[2], kQuarantined);
  EXPECT_NE(why.find("behind"), std::string::npos) << why;
  Pass(kQuarantine);
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

TEST_F(Guard, ANodeIsQuarantinedWhileItsClockRunsTooFast) {
  SetUpSettled();
  cluster->server(1).SetRate(1.02);
  Pass(seconds(10));
  EXPECT_EQ(Votes()[1], kQuarantined);
  cluster->server(1).SetRate(1.0);
  Pass(kQuarantine + seconds(2));
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

TEST_F(Guard, AClockWithinTheDriftBudgetIsAccepted) {
  SetUpSettled();
  cluster->server(1).SetRate(1.004);
  cluster->server(2).SetRate(0.996);
  Pass(seconds(60));
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

// A daemon that has not read a clock for long cannot tell a step from drift, but another daemon's
// lease depends on it.
TEST_F(Guard, AStepOfAClockThatWasNotReadForLongLetsNobodyIn) {
  ClusterOptions options;
  options.daemons = 2;
  options.guard = GuardMode::kOn;
  options.lock.guard.quarantine = seconds(10);
  SetUpCluster(options);
  Pass(milliseconds(50));
  cluster->link(1, 0).Break(true);
  Pass(seconds(600));
  cluster->link(0, 2).Break(true);
  const Lease first = MustAcquire(Wants("k", seconds(10)), 0);  // on nodes 0 and 1
  cluster->server(0).StepClock(milliseconds(2500));
  Pass(seconds(8));
  cluster->link(1, 0).ComeUp();
  Pass(milliseconds(10));
  const AcquireResult second = Acquire(Wants("k", seconds(10)), 1);
  EXPECT_GT(first.valid_until, world.now());
  EXPECT_FALSE(second.lease);
}

TEST_F(Guard, ASmallStepDoesNotEndAShortLease) {
  ClusterOptions options;
  options.daemons = 2;
  options.guard = GuardMode::kOn;
  options.lock.guard.quarantine = seconds(10);
  SetUpCluster(options);
  Pass(milliseconds(1850));
  cluster->link(0, 2).Break(true);
  const Lease first = MustAcquire(Wants("k", milliseconds(100)), 0);
  cluster->server(0).StepClock(microseconds(5500));
  Pass(first.valid_until - world.now() - microseconds(1500));
  const AcquireResult second = Acquire(Wants("k", milliseconds(100)), 1);
  EXPECT_GT(first.valid_until, world.now());
  EXPECT_FALSE(second.lease);
}

// A smaller step endangers only shorter leases, so the node is back when these have ended.
TEST_F(Guard, ASmallStepBarsTheNodeForAShortTime) {
  ClusterOptions options;
  options.guard = GuardMode::kOn;
  options.lock.guard.quarantine = seconds(300);
  SetUpCluster(options);
  Pass(milliseconds(950));
  cluster->server(0).StepClock(milliseconds(5));
  EXPECT_EQ(Votes()[0], kQuarantined);
  EXPECT_NE(why.find("ms since it was last read, maybe in one step"), std::string::npos) << why;
  Pass(milliseconds(1000));
  EXPECT_EQ(CountQuarantined(), 0) << why;
  cluster->server(0).StepClock(milliseconds(20));
  EXPECT_EQ(Votes()[0], kQuarantined);
  Pass(seconds(5));
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

// All nodes seem to jump if the daemon's own machine stood still and its clock does not know. The
// pause is as long as the jump deserves, because the nodes may really have stepped together.
TEST_F(Guard, IfAllClocksJumpALittleTheDaemonIsBackSoon) {
  ClusterOptions options;
  options.guard = GuardMode::kOn;
  options.lock.guard.quarantine = seconds(300);
  SetUpCluster(options);
  Pass(milliseconds(500));
  for (std::size_t node = 0; node < 3; ++node) cluster->server(node).StepClock(milliseconds(20));
  (void)Votes();
  EXPECT_EQ(CountOut(), 3);
  Pass(milliseconds(500));
  for (std::size_t node = 0; node < 3; ++node) {
    EXPECT_FALSE(cluster->server(node).ReadMark().mark.starts_with('?'))
        << "other daemons need not know";
  }
  Pass(milliseconds(4000));
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

class GuardAfterSuspend : public Guard {
 protected:
  void SetUp() override {
    ClusterOptions options;
    options.guard = GuardMode::kOn;
    options.lock.guard.quarantine = seconds(300);
    SetUpCluster(options);
    Pass(milliseconds(500));
  }
  void StepAll(Duration by) {
    for (std::size_t node = 0; node < 3; ++node) cluster->server(node).StepClock(by);
  }
};

TEST_F(GuardAfterSuspend, AJumpOfAllClocksIsTheDaemonsOwn) {
  cluster->scheduler(0).SuspendMachine(seconds(30));
  StepAll(milliseconds(700));  // the kernel counts a suspend in whole seconds
  (void)Votes();
  EXPECT_EQ(CountOut(), 3) << "until all nodes have been read";
  Pass(milliseconds(400));
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

TEST_F(GuardAfterSuspend, AJumpOfAllClocksWithoutASuspendIsTheirs) {
  StepAll(milliseconds(700));
  (void)Votes();
  EXPECT_EQ(CountOut(), 3);
  Pass(seconds(100));
  EXPECT_EQ(CountOut(), 3);
}

TEST_F(GuardAfterSuspend, ADaemonThatWasStoppedSeesNoJump) {
  for (const Duration phase : {microseconds(0), microseconds(150), microseconds(130'000)}) {
    // The second phase is between a request of the guard and its answer.
    Pass(seconds(2) - (world.now().time_since_epoch() - seconds(1)) % seconds(1) + phase);
    cluster->Suspend(0);
    Pass(seconds(7));
    cluster->Continue(0);
    Pass(milliseconds(20));
    EXPECT_EQ(CountQuarantined(), 0) << why;
    Pass(seconds(2));
    EXPECT_EQ(CountQuarantined(), 0) << why;
  }
}

TEST_F(GuardAfterSuspend, AClockThatCountedTooMuchIsTheDaemonsOwnToo) {
  cluster->scheduler(0).SuspendMachine(seconds(30));
  StepAll(-milliseconds(700));
  Pass(milliseconds(1500));
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

TEST_F(GuardAfterSuspend, AStepOfOneNodeIsItsOwn) {
  cluster->scheduler(0).SuspendMachine(seconds(30));
  cluster->server(1).StepClock(milliseconds(700));
  Pass(seconds(2));
  EXPECT_EQ(Votes(), (std::vector<std::string>{kGranted, kQuarantined, kGranted}));
}

TEST_F(GuardAfterSuspend, ANodeThatSteppedMoreThanTheOthersIsBarredForTheDifference) {
  cluster->scheduler(0).SuspendMachine(seconds(30));
  StepAll(milliseconds(700));
  cluster->server(1).StepClock(milliseconds(300));
  Pass(seconds(2));
  EXPECT_EQ(Votes(), (std::vector<std::string>{kGranted, kQuarantined, kGranted}));
  Pass(seconds(55));
  EXPECT_EQ(Votes()[1], kQuarantined);
  Pass(seconds(5));
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

TEST_F(GuardAfterSuspend, ANodeThatStepsAgainIsBarred) {
  cluster->scheduler(0).SuspendMachine(seconds(30));
  StepAll(milliseconds(700));
  (void)Votes();
  EXPECT_EQ(CountOut(), 3);
  cluster->server(1).StepClock(milliseconds(700));
  Pass(seconds(2));
  EXPECT_EQ(Votes()[1], kQuarantined);
}

TEST_F(GuardAfterSuspend, ADaemonThatReachesTooFewNodesBlamesThem) {
  for (const std::size_t node : {1U, 2U}) cluster->link(0, node).Break(true);
  cluster->scheduler(0).SuspendMachine(seconds(30));
  cluster->server(0).StepClock(milliseconds(700));
  Pass(seconds(2));
  EXPECT_EQ(Votes()[0], kQuarantined);
}

TEST_F(Guard, ADaemonThatStartsAfterAJumpKnowsOfIt) {
  SetUpGuarded(GuardMode::kOn, 2);
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).Break(true);
  Pass(milliseconds(50));
  cluster->server(0).StepClock(seconds(20));
  EXPECT_EQ(Votes(0)[0], kQuarantined);
  Pass(milliseconds(400));
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).ComeUp();
  Pass(milliseconds(50));
  EXPECT_EQ(Votes(1)[0], kQuarantined);
  EXPECT_NE(why.find("another daemon"), std::string::npos) << why;
  EXPECT_TRUE(won);
  Pass(kQuarantine);
  EXPECT_EQ(CountQuarantined(0), 0) << why;
  EXPECT_EQ(CountQuarantined(1), 0) << why;
}

TEST_F(Guard, ANodeThatIsNoLongerDurableLosesItsDurableMark) {
  ClusterOptions options;
  options.guard = GuardMode::kOn;
  SetUpCluster(options);
  for (std::size_t node = 0; node < 3; ++node) cluster->server(node).MakeDurable();
  Pass(milliseconds(50));
  cluster->server(0).Snapshot();
  cluster->server(0).EndDurability();  // CONFIG SET on the living connection
  Pass(milliseconds(1100));
  EXPECT_EQ(CountQuarantined(), 0) << why;
  cluster->server(0).Snapshot();  // what has reached the disk
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  cluster->server(0).MakeDurable();  // the configuration file still says so
  cluster->Restart(0, Cluster::Data::kOld);
  Pass(milliseconds(50));
  EXPECT_EQ(Votes()[0], kQuarantined);
  EXPECT_NE(why.find("may have lost data"), std::string::npos) << why;
}

TEST_F(Guard, ANodeThatMayEvictLocksGrantsNone) {
  SetUpSettled(2);
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  for (std::size_t node = 0; node < 3; ++node) cluster->server(node).SetEviction("allkeys-lru");
  Pass(milliseconds(1100));
  for (std::size_t node = 0; node < 2; ++node) cluster->server(node).Evict("k");
  for (const std::size_t daemon : {0U, 1U}) {
    EXPECT_FALSE(Acquire(Wants("k", seconds(10)), daemon).lease);
    EXPECT_EQ(CountOut(daemon), 3);
    EXPECT_NE(why.find("maxmemory-policy is allkeys-lru; set it to noeviction"), std::string::npos)
        << why;
  }
  Pass(kQuarantine + seconds(5));
  EXPECT_EQ(CountOut(), 3) << "for as long as the policy is on";
  for (std::size_t node = 0; node < 3; ++node) cluster->server(node).SetEviction("");
  Pass(kQuarantine - milliseconds(100));
  EXPECT_EQ(CountOut(), 3) << "what was evicted may be held";
  Pass(seconds(2));
  EXPECT_EQ(CountOut(0), 0) << why;
  EXPECT_EQ(CountOut(1), 0) << why;
}

TEST_F(Guard, AnEvictionBetweenTwoLooksIsNoticedByItsCount) {
  SetUpSettled();
  (void)MustAcquire(Wants("k", seconds(1)));
  cluster->server(0).Evict("k");
  Pass(milliseconds(1100));
  EXPECT_EQ(Votes()[0], kQuarantined);
  EXPECT_NE(why.find("it may have evicted locks"), std::string::npos) << why;
  Pass(kQuarantine + seconds(1));
  EXPECT_EQ(CountQuarantined(), 0) << why;
}

TEST_F(Guard, ADaemonThatStartsAfterAnEvictionKnowsOfIt) {
  SetUpGuarded(GuardMode::kOn, 2);
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).Break(true);
  Pass(milliseconds(50));
  (void)MustAcquire(Wants("k", seconds(1)));
  cluster->server(0).Evict("k");
  Pass(milliseconds(1100));
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).ComeUp();
  Pass(milliseconds(50));
  EXPECT_EQ(Votes(1)[0], kQuarantined);
}

TEST_F(Guard, AnExtensionRepairsAQuarantinedNodeAndItsVoteCountsLater) {
  SetUpSettled();
  const Lease lease = MustAcquire(Wants("k", milliseconds(1000)));
  const std::string token = lease.token.str();
  cluster->server(0).LoseData();
  ASSERT_TRUE(Extend("k", token, milliseconds(1000)).lease);
  Pass(milliseconds(20));  // the node is readmitted to the node set
  ASSERT_TRUE(Extend("k", token, milliseconds(1000)).lease);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("k"), (std::vector<std::string>{token, token, token}));
  cluster->Down(1);
  EXPECT_TRUE(Extend("k", token, milliseconds(1000)).lease);
  EXPECT_FALSE(Release("k", token).error);
}

TEST_F(Guard, AReleaseReachesAQuarantinedNode) {
  SetUpSettled();
  const Lease lease = MustAcquire(Wants("k", milliseconds(1000)));
  cluster->server(0).StepClock(milliseconds(-500));
  Pass(milliseconds(1100));
  const Lease again = MustAcquire(Wants("k2", milliseconds(1000)));
  EXPECT_FALSE(Release("k2", again.token.str()).error);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("k2"), NoHolders());
}

}  // namespace
}  // namespace redlock::sim
