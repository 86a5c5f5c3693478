// Observers of a key: what they are told, and when.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/listeners.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

using State = Observed::State;

class Observing : public Scenario {
 protected:
  struct Seen {
    std::vector<ObservedPtr> states;
    std::shared_ptr<void> handle;

    [[nodiscard]] std::vector<State> All() const {
      std::vector<State> all;
      for (const ObservedPtr& state : states) all.push_back(state->state);
      return all;
    }
    [[nodiscard]] State Last() const { return states.back()->state; }
    [[nodiscard]] std::uint64_t fence() const { return states.back()->fence.value; }
  };
  std::shared_ptr<Seen> Observe(const std::string& key, std::size_t daemon) {
    auto seen = std::make_shared<Seen>();
    seen->handle = cluster->shard(daemon).Observe(
        Key(key), [seen = seen.get()](const ObservedPtr& state) { seen->states.push_back(state); });
    observers.push_back(seen);
    return seen;
  }
  void TearDown() override {
    for (const auto& seen : observers) seen->handle.reset();
    Scenario::TearDown();
    if (!cluster) return;
    for (std::size_t node = 0; node < cluster->nodes(); ++node) {
      EXPECT_EQ(cluster->server(node).listeners(), 0U) << "of node " << node;
    }
  }
  void SetUpTwoDaemons(ClusterOptions options = {}) {
    options.daemons = 2;
    SetUpCluster(options);
  }
  // Grants on one node, as an acquisition does.
  void Grant(std::size_t node, const std::string& token, std::uint64_t fence, Duration ttl) {
    const NodeReply reply =
        cluster->server(node).Acquire("k", token, ttl, {fence}, {fence}, {}, false);
    EXPECT_EQ(reply.outcome, Outcome::kGranted);
  }
  std::size_t RequestsOf(std::size_t daemon) {
    std::size_t requests = 0;
    for (std::size_t node = 0; node < cluster->nodes(); ++node) {
      requests += cluster->link(daemon, node).requests();
    }
    return requests;
  }

  std::vector<std::shared_ptr<Seen>> observers;
};

TEST_F(Observing, TheHolderAndEveryChangeAreReportedAtOnce) {
  SetUpTwoDaemons();
  const auto seen = Observe("k", 1);
  EXPECT_TRUE(seen->states.empty()) << "never inside the call";
  Pass(milliseconds(5));
  ASSERT_EQ(seen->All(), std::vector({State::kVacant}));
  AcquireCommand command = Wants("k", seconds(5));
  command.owner = {.label = OwnerLabel("host-1"), .value = PublishedValue("10.0.0.1")};
  const Lease lease = MustAcquire(command);
  Pass(milliseconds(15));
  ASSERT_EQ(seen->All(), std::vector({State::kVacant, State::kHeld}));
  EXPECT_EQ(seen->states[1]->fence, lease.fence);
  ASSERT_EQ(seen->states[1]->held_by.size(), 1U);
  EXPECT_EQ(seen->states[1]->held_by[0].owner.label.str(), "host-1");
  EXPECT_EQ(seen->states[1]->held_by[0].owner.value.str(), "10.0.0.1");
  EXPECT_GT(seen->states[1]->remaining, milliseconds(4900));
  EXPECT_FALSE(Extend("k", lease.token.str(), seconds(6)).error.message.size());
  Pass(milliseconds(50));
  EXPECT_EQ(seen->states.size(), 2U) << "an extension is not reported";
  EXPECT_FALSE(Release("k", lease.token.str()).error);
  Pass(milliseconds(15));
  EXPECT_EQ(seen->All(), std::vector({State::kVacant, State::kHeld, State::kVacant}));
}

TEST_F(Observing, ANewObserverIsToldThePresentState) {
  SetUpTwoDaemons();
  const auto first = Observe("k", 1);
  const Lease lease = MustAcquire(Wants("k", seconds(20)));
  Pass(seconds(5));
  const auto second = Observe("k", 1);
  Pass(milliseconds(15));
  ASSERT_EQ(second->All(), std::vector({State::kHeld}));
  EXPECT_EQ(second->states[0]->fence, lease.fence);
  EXPECT_EQ(first->Last(), State::kHeld);
  EXPECT_EQ(cluster->shard(1).observers(), 2U);
}

TEST_F(Observing, TheEndOfATtlIsReported) {
  SetUpTwoDaemons();
  const auto seen = Observe("k", 1);
  const Lease lease = MustAcquire(Wants("k", milliseconds(2'500)));
  cluster->Kill(0);
  Pass(milliseconds(2'450));
  ASSERT_EQ(seen->Last(), State::kHeld);
  Pass(milliseconds(100));
  EXPECT_EQ(seen->Last(), State::kVacant);
}

TEST_F(Observing, AFrozenLeaderIsReportedAsGoneWhenItsTtlHasPassed) {
  SetUpTwoDaemons();
  const auto seen = Observe("k", 1);
  Pass(milliseconds(20));
  const auto hold = cluster->shard(0).Hold(
      {.acquire = Wants("k", seconds(1)), .interval = milliseconds(500), .max_lifetime = {}},
      ListenerOf([](const AcquireResult&) {}, [](const WatchEvent&) {}));
  Pass(seconds(10));
  ASSERT_EQ(seen->All(), std::vector({State::kVacant, State::kHeld}));
  cluster->Suspend(0);
  Pass(milliseconds(1'100));
  EXPECT_EQ(seen->Last(), State::kVacant);
  cluster->Continue(0);
  Pass(seconds(3));
}

TEST_F(Observing, ALeaderThatIsCutOffIsSeenToBeGoneByOthersAndUndecidedByItsOwnDaemon) {
  SetUpTwoDaemons();
  const auto here = Observe("k", 0);
  const auto elsewhere = Observe("k", 1);
  Pass(milliseconds(20));
  const auto hold = cluster->shard(0).Hold(
      {.acquire = Wants("k", seconds(1)), .interval = milliseconds(500), .max_lifetime = {}},
      ListenerOf([](const AcquireResult&) {}, [](const WatchEvent&) {}));
  Pass(seconds(3));
  for (std::size_t node = 0; node < 3; ++node) {
    cluster->Cut(0, node, Link::Direction::kRequests);
    cluster->Cut(0, node, Link::Direction::kReplies);
  }
  Pass(milliseconds(1'200));
  EXPECT_EQ(elsewhere->All(), std::vector({State::kVacant, State::kHeld, State::kVacant}));
  EXPECT_EQ(here->All(), std::vector({State::kVacant, State::kHeld, State::kUndecided}));
  const Lease next = MustAcquire(Wants("k", seconds(20)), 1);
  Pass(milliseconds(20));
  EXPECT_EQ(elsewhere->fence(), next.fence.value);
  EXPECT_EQ(here->Last(), State::kUndecided);
  for (std::size_t node = 0; node < 3; ++node) cluster->Up(node);
  Pass(milliseconds(1'200));
  EXPECT_EQ(here->Last(), State::kHeld);
  EXPECT_EQ(here->fence(), next.fence.value);
}

// "No quorum" is not "no holder".
TEST_F(Observing, WithoutAQuorumTheLastStateStandsAndThenTheStateIsUndecided) {
  SetUpTwoDaemons();
  const auto seen = Observe("k", 1);
  Pass(milliseconds(20));
  const Lease lease = MustAcquire(Wants("k", seconds(5)));
  Pass(milliseconds(20));
  cluster->Down(1);
  cluster->Down(2);
  Pass(milliseconds(4'900));
  EXPECT_EQ(seen->All(), std::vector({State::kVacant, State::kHeld}));
  Pass(seconds(1));
  ASSERT_EQ(seen->All(), std::vector({State::kVacant, State::kHeld, State::kUndecided}));
  EXPECT_TRUE(Any(seen->states[2]->votes, Outcome::kError));
  Pass(seconds(20));
  EXPECT_EQ(seen->states.size(), 3U) << "reported once";
  cluster->Up(1);
  cluster->Up(2);
  Pass(milliseconds(1'500));
  EXPECT_EQ(seen->Last(), State::kVacant);
  cluster->Down(0);
  cluster->Down(1);
  Pass(seconds(3) + milliseconds(200));
  EXPECT_EQ(seen->Last(), State::kUndecided) << "nor does \"no holder\" stand without a quorum";
  EXPECT_EQ(seen->states.size(), 5U);
}

TEST_F(Observing, AnObserverThatStartsWithoutAQuorumIsToldSoAfterASecond) {
  SetUpTwoDaemons();
  cluster->Pause(0);
  cluster->Pause(1);
  const auto seen = Observe("k", 1);
  Pass(milliseconds(990));
  EXPECT_TRUE(seen->states.empty());
  Pass(milliseconds(100));
  ASSERT_EQ(seen->All(), std::vector({State::kUndecided}));
  EXPECT_TRUE(Any(seen->states[0]->votes, Outcome::kTimeout));
  cluster->Resume(0);
  cluster->Resume(1);
  Pass(milliseconds(1'200));
  EXPECT_EQ(seen->All(), std::vector({State::kUndecided, State::kVacant}));
}

TEST_F(Observing, LostAnnouncementsDelayReportsByTwoSeconds) {
  ClusterOptions options;
  options.faults.mutes = 1;
  SetUpTwoDaemons(options);
  const auto seen = Observe("k", 1);
  Pass(seconds(1));
  const Lease lease = MustAcquire(Wants("k", seconds(20)));
  Pass(milliseconds(2'050));
  ASSERT_EQ(seen->Last(), State::kHeld);
  EXPECT_FALSE(Release("k", lease.token.str()).error);
  Pass(milliseconds(2'050));
  EXPECT_EQ(seen->Last(), State::kVacant);
}

// What happened before the nodes announced changes is found by a read when they do.
TEST_F(Observing, AChangeWhileTheConnectionsAreBrokenIsFoundWhenTheyAreBack) {
  SetUpTwoDaemons();
  const auto seen = Observe("k", 1);
  Pass(milliseconds(200));
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).Break(true);
  const Lease lease = MustAcquire(Wants("k", seconds(20)));
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).ComeUp();
  Pass(milliseconds(30));
  EXPECT_EQ(seen->All(), std::vector({State::kVacant, State::kHeld}));
}

TEST_F(Observing, ManyObserversOfAKeyCostTheNodesNoMoreThanOne) {
  SetUpTwoDaemons();
  const auto one = Observe("k", 1);
  Pass(seconds(1));
  const std::size_t before = RequestsOf(1);
  Pass(seconds(20));
  const std::size_t of_one = RequestsOf(1) - before;
  EXPECT_LE(of_one, 3 * 10U) << "every two seconds, of each node";
  for (int i = 0; i < 100; ++i) (void)Observe("k", 1);
  Pass(seconds(1));
  const std::size_t joined = RequestsOf(1);
  Pass(seconds(20));
  EXPECT_LE(RequestsOf(1) - joined, of_one + 3);
  const Lease lease = MustAcquire(Wants("k", seconds(20)));
  Pass(milliseconds(20));
  for (const auto& seen : observers) EXPECT_EQ(seen->Last(), State::kHeld);
}

TEST_F(Observing, AKeyThatChangesAllTheTimeIsReadNoMoreThanAHundredTimesASecond) {
  SetUpTwoDaemons();
  const auto seen = Observe("k", 1);
  Pass(milliseconds(100));
  const std::size_t before = RequestsOf(1);
  const MonotonicTime begin = world.now();
  while (world.now() < begin + seconds(1)) {
    const Lease lease = MustAcquire(Wants("k", seconds(1)));
    EXPECT_FALSE(Release("k", lease.token.str()).error);
  }
  EXPECT_LE(RequestsOf(1) - before, 3 * 105U);
  EXPECT_GT(seen->states.size(), 20U);
  Pass(milliseconds(30));
  EXPECT_EQ(seen->Last(), State::kVacant);
}

TEST_F(Observing, NodesAnnounceChangesOnlyWhileSomebodyObserves) {
  SetUpTwoDaemons();
  EXPECT_FALSE(cluster->server(0).is_observed());
  auto seen = Observe("k", 1);
  Pass(seconds(30));
  EXPECT_TRUE(cluster->server(0).is_observed());
  seen->handle.reset();
  Pass(seconds(11));
  EXPECT_FALSE(cluster->server(0).is_observed());
}

TEST_F(Observing, AnObserverMayLeaveWhenItIsTold) {
  SetUpTwoDaemons();
  std::shared_ptr<void> handle;
  std::shared_ptr<void> other;
  int told = 0;
  const auto leave = [&](const ObservedPtr&) {
    ++told;
    handle.reset();
    other.reset();
  };
  handle = cluster->shard(1).Observe(Key("k"), leave);
  other = cluster->shard(1).Observe(Key("k"), leave);
  Pass(milliseconds(20));
  EXPECT_EQ(told, 1);
  EXPECT_EQ(cluster->shard(1).observers(), 0U);
}

TEST_F(Observing, ADaemonCanWaitForAKeyThatItObserves) {
  SetUpTwoDaemons();
  const auto seen = Observe("k", 1);
  const Lease lease = MustAcquire(Wants("k", seconds(5)));
  const auto waiter = Start(Wants("k", seconds(5), {.max_retries = RetryPolicy::kNoLimit}), 1);
  Pass(milliseconds(50));
  ASSERT_FALSE(waiter->result);
  EXPECT_FALSE(Release("k", lease.token.str()).error);
  Pass(milliseconds(60));
  ASSERT_TRUE(Has(waiter));
  EXPECT_EQ(seen->fence(), waiter->result->lease->fence.value);
  EXPECT_EQ(seen->Last(), State::kHeld);
  const auto another = Start(Wants("k", seconds(5), {.max_retries = RetryPolicy::kNoLimit}), 1);
  Pass(milliseconds(50));
  seen->handle.reset();
  EXPECT_FALSE(Release("k", waiter->result->lease->token.str(), 0).error);
  Pass(milliseconds(60));
  ASSERT_TRUE(Has(another)) << "the end of the observation leaves the waiters' subscription alone";
  EXPECT_FALSE(Release("k", another->result->lease->token.str(), 1).error);
}

TEST_F(Observing, AHandOverIsReportedAsOneHolderAfterTheOther) {
  SetUpTwoDaemons();
  const Lease lease = MustAcquire(Wants("k", seconds(5)));
  const auto seen = Observe("k", 1);
  const auto waiter = Start(Wants("k", seconds(5), {.max_retries = RetryPolicy::kNoLimit}));
  Pass(milliseconds(50));
  EXPECT_FALSE(Release("k", lease.token.str()).error);
  Pass(milliseconds(20));
  EXPECT_EQ(seen->All(), std::vector({State::kHeld, State::kHeld}));
  ASSERT_TRUE(Has(waiter));
  EXPECT_EQ(seen->fence(), waiter->result->lease->fence.value);
}

TEST_F(Observing, EachOfThoseWhoShareAKeyIsReported) {
  SetUpTwoDaemons();
  const auto seen = Observe("k", 1);
  AcquireCommand shared = Wants("k", seconds(5));
  shared.key = shared.key.Shared();
  const Lease first = MustAcquire(shared);
  const Lease second = MustAcquire(shared);
  Pass(milliseconds(30));
  ASSERT_EQ(seen->Last(), State::kHeld);
  EXPECT_TRUE(seen->states.back()->shared);
  EXPECT_EQ(seen->states.back()->held_by.size(), 2U);
  EXPECT_EQ(seen->fence(), second.fence.value);
  EXPECT_FALSE(Release("k", second.token.str()).error);
  Pass(milliseconds(30));
  ASSERT_EQ(seen->states.back()->held_by.size(), 1U);
  EXPECT_EQ(seen->states.back()->held_by[0].fence, first.fence);
  EXPECT_EQ(seen->fence(), second.fence.value) << "the fence of a stream never falls";
  EXPECT_FALSE(Release("k", first.token.str()).error);
  Pass(milliseconds(30));
  EXPECT_EQ(seen->Last(), State::kVacant);
}

TEST_F(Observing, EachHolderOfASemaphoreIsReported) {
  SetUpTwoDaemons();
  const auto seen = Observe("k", 1);
  AcquireCommand slot = Wants("k", seconds(5), {.max_retries = 3});
  slot.key = slot.key.Slot(3, 0);
  const Lease first = MustAcquire(slot);
  slot.ttl = seconds(1);
  const Lease second = MustAcquire(slot);
  Pass(milliseconds(30));
  ASSERT_EQ(seen->Last(), State::kHeld);
  EXPECT_EQ(seen->states.back()->limit, 3);
  EXPECT_EQ(seen->states.back()->held_by.size(), 2U);
  Pass(milliseconds(1'010));
  EXPECT_EQ(seen->states.back()->held_by.size(), 1U) << "the end of one TTL is a change";
  EXPECT_FALSE(Release("k", first.token.str()).error);
  Pass(milliseconds(30));
  EXPECT_EQ(seen->Last(), State::kVacant);
}

TEST_F(Observing, AHolderIsReportedOnlyIfAQuorumStoresTheSameFenceForIt) {
  SetUpTwoDaemons();
  for (std::size_t node = 0; node < 3; ++node) Grant(node, "t", 10 + node, seconds(20));
  const auto seen = Observe("k", 1);
  Pass(milliseconds(1'200));
  ASSERT_EQ(seen->All(), std::vector({State::kUndecided}));
  const ExtendResult extended = Extend("k", "t", seconds(20));
  ASSERT_TRUE(extended.lease);
  Pass(milliseconds(1'200));
  ASSERT_EQ(seen->Last(), State::kHeld);
  EXPECT_EQ(seen->states.back()->fence, extended.lease->fence);
}

TEST_F(Observing, AMinorityIsNoHolder) {
  SetUpTwoDaemons();
  Grant(0, "t", 10, seconds(20));
  const auto seen = Observe("k", 1);
  Pass(milliseconds(20));
  EXPECT_EQ(seen->All(), std::vector({State::kVacant}));
  cluster->Down(2);
  Pass(seconds(5));
  EXPECT_EQ(seen->Last(), State::kUndecided) << "the third node may hold it too";
  cluster->Up(2);
  Pass(milliseconds(1'200));
  EXPECT_EQ(seen->Last(), State::kVacant);
}

TEST_F(Observing, AnEarlierHolderIsNotReportedAfterALaterOne) {
  SetUpTwoDaemons();
  for (std::size_t node = 0; node < 3; ++node) Grant(node, "late", 20, milliseconds(500));
  const auto seen = Observe("k", 1);
  Pass(milliseconds(20));
  ASSERT_EQ(seen->All(), std::vector({State::kHeld}));
  for (std::size_t node = 0; node < 3; ++node) {
    cluster->server(node).LoseData();
    Grant(node, "early", 10, seconds(20));
  }
  Pass(seconds(10));
  EXPECT_EQ(seen->All(), std::vector({State::kHeld, State::kUndecided}));
}

TEST_F(Observing, TheLockOfAnotherLibraryIsReportedWhateverFencesTheNodesKnow) {
  SetUpTwoDaemons();
  for (std::size_t node = 0; node < 3; ++node) Grant(node, "t", 10 + node, milliseconds(500));
  Pass(seconds(1));
  for (std::size_t node = 0; node < 3; ++node) {
    ASSERT_TRUE(cluster->server(node).SetNx("k", "stranger", seconds(5)));
  }
  const auto seen = Observe("k", 1);
  Pass(seconds(1));
  ASSERT_EQ(seen->All(), std::vector({State::kHeld}));
  EXPECT_EQ(seen->fence(), 0U);
  Pass(seconds(5));
  EXPECT_EQ(seen->All(), std::vector({State::kHeld, State::kVacant}));
  const Lease lease = MustAcquire(Wants("k", milliseconds(500)));
  Pass(seconds(1));
  for (std::size_t node = 0; node < 3; ++node) {
    ASSERT_TRUE(cluster->server(node).SetNx("k", "stranger", seconds(20)));
  }
  Pass(seconds(3));
  EXPECT_EQ(seen->Last(), State::kHeld);
  EXPECT_EQ(seen->states.back()->fence, lease.fence) << "the fencing token never decreases";
}

TEST_F(Observing, ANodeWhoseClockHasJumpedDoesNotCountAsVacant) {
  ClusterOptions options;
  options.guard = GuardMode::kOn;
  SetUpTwoDaemons(options);
  Pass(seconds(1));
  ASSERT_TRUE(cluster->decided());
  cluster->Down(2);
  const Lease lease = MustAcquire(Wants("k", seconds(10)));
  cluster->Up(2);
  const auto seen = Observe("k", 1);
  Pass(milliseconds(3'010));  // the guard has just read the clocks
  ASSERT_EQ(seen->All(), std::vector({State::kHeld}));
  cluster->server(0).StepClock(seconds(20));  // the node has forgotten the lock
  Grant(2, "other", lease.fence.value + 1, seconds(1));
  const NodeReply gone = cluster->server(2).Release("k", "other", {}, {}, false);
  ASSERT_EQ(gone.outcome, Outcome::kGranted) << "the node announces both changes";
  Pass(milliseconds(100));
  EXPECT_EQ(seen->All(), std::vector({State::kHeld})) << "the lease is valid, though on one node";
}

TEST_F(Observing, AQuarantinedNodeDoesNotCountAsVacant) {
  ClusterOptions options;
  options.guard = GuardMode::kOn;
  options.lock.guard.quarantine = seconds(5);
  options.lock.guard.inspect_interval = milliseconds(100);
  SetUpTwoDaemons(options);
  Pass(seconds(1));
  ASSERT_TRUE(cluster->decided());
  cluster->Down(2);
  const Lease lease = MustAcquire(Wants("k", seconds(5)));
  cluster->Up(2);
  const auto seen = Observe("k", 1);
  Pass(milliseconds(200));
  ASSERT_EQ(seen->All(), std::vector({State::kHeld}));
  cluster->Restart(0, Cluster::Data::kLost);
  Pass(milliseconds(4'500));
  EXPECT_EQ(seen->All(), std::vector({State::kHeld})) << "the lease is valid, though on one node";
  Pass(seconds(1));
  EXPECT_EQ(seen->All(), std::vector({State::kHeld, State::kVacant}));
}

InspectResult HeldWith(const std::string& value, std::uint64_t number) {
  InspectResult result{.fence = {}, .votes = {}, .holders = {}};
  result.agreement = InspectResult::Agreement::kHeld;
  result.held_by.push_back({.owner = {.value = PublishedValue(value), .value_number = number},
                            .fence = {7},
                            .remaining = seconds(10),
                            .agreed = FencingToken{5}});
  return result;
}

// A quorum may not have learned a value that another one has reported.
TEST(ObservedStates, AValueIsNeverTakenBack) {
  MonotonicTime now{seconds(1)};
  ObservedState state(now);
  const auto read = [&](const std::string& value, std::uint64_t number) {
    now += milliseconds(10);
    return state.OnRead(Observe(HeldWith(value, number), now));
  };
  const ObservedPtr first = read("one", 1);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->fence, FencingToken{5}) << "the fence of the quorum";
  EXPECT_FALSE(read("one", 1));
  ASSERT_TRUE(read("two", 2));
  EXPECT_FALSE(read("one", 1));
  EXPECT_FALSE(read("two", 4)) << "the same value once more";
  EXPECT_FALSE(read("three", 3));
  const ObservedPtr last = read("five", 5);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->held_by[0].owner.value.str(), "five");
}

// A lost read is no reason to report anything.
TEST(ObservedStates, AReadWithoutAQuorumChangesNothingForASecond) {
  MonotonicTime now{seconds(1)};
  ObservedState state(now);
  InspectResult vacant{.fence = {}, .votes = {}, .holders = {}};
  vacant.agreement = InspectResult::Agreement::kVacant;
  ASSERT_TRUE(state.OnRead(Observe(vacant, now)));
  const auto fails = [&](Duration later) {
    now += later;
    return state.OnRead(Observe({.fence = {}, .votes = {}, .holders = {}}, now));
  };
  EXPECT_FALSE(fails(seconds(2)));
  EXPECT_FALSE(fails(milliseconds(900)));
  EXPECT_FALSE(state.OnRead(Observe(vacant, now)));
  EXPECT_FALSE(fails(seconds(2))) << "the second begins anew";
  const ObservedPtr undecided = fails(seconds(1));
  ASSERT_TRUE(undecided);
  EXPECT_EQ(undecided->state, State::kUndecided);
  EXPECT_FALSE(fails(seconds(1)));
  ASSERT_TRUE(state.OnRead(Observe(vacant, now)));
}

}  // namespace
}  // namespace redlock::sim
