// Tests of what an acquisition that fails says: who holds the key, and why the last attempt failed.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core/leases/lease_set.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

constexpr Duration kLong = seconds(20);

class Refusals : public Scenario {
 protected:
  struct Waiter {
    std::optional<AcquireResult> result;
    std::shared_ptr<Cancellable> operation;
    [[nodiscard]] std::optional<Reason> last_reason() const { return result->error.last_reason; }
    [[nodiscard]] std::string owner() const { return result->error.owner.label.str(); }
    [[nodiscard]] const std::string& message() const { return result->error.message; }
  };

  // Daemons that compare records, as real ones do, and so know which nodes are able to grant.
  void SetUpDaemons(std::size_t daemons = 1) {
    ClusterOptions options;
    options.daemons = daemons;
    options.guard = GuardMode::kOn;
    options.node_sets = true;
    options.lock.guard.quarantine = seconds(30);
    options.lock.node_set.max_ttl = seconds(30);
    SetUpCluster(options);
    Pass(seconds(2));
    ASSERT_TRUE(cluster->decided());
  }

  static AcquireCommand By(const std::string& owner, RetryPolicy retry = kTry) {
    AcquireCommand command = Wants("k", kLong, retry);
    command.owner.label = OwnerLabel(owner);
    if (!owner.empty()) command.owner.origin = Origin("daemon identity peer");
    return command;
  }
  std::shared_ptr<Waiter> Wait(AcquireCommand command, std::size_t daemon = 0) {
    auto waiter = std::make_shared<Waiter>();
    waiter->operation = cluster->shard(daemon).Acquire(
        std::move(command), [waiter](AcquireResult result) { waiter->result = std::move(result); });
    return waiter;
  }
  std::shared_ptr<Waiter> Wait(std::size_t daemon = 0) {
    return Wait(By("waiter", RetryPolicy{}), daemon);
  }
  static void Cancel(const std::shared_ptr<Waiter>& waiter,
                     Reason why = Reason::kDeadlineExceeded) {
    waiter->operation->Cancel(why);
    ASSERT_TRUE(waiter->result);
    EXPECT_EQ(waiter->result->error.reason, why) << waiter->result->error.message;
  }
  // A node grants the key to this token, by itself.
  void Hold(std::size_t node, const std::string& token, const std::string& owner) {
    const NodeReply reply = cluster->server(node).Acquire("k", token, kLong, FencingToken{1}, {1},
                                                          {.label = OwnerLabel(owner)}, false);
    ASSERT_EQ(reply.outcome, Outcome::kGranted);
  }
  std::string OwnerSeen(std::size_t daemon = 0) {
    const AcquireResult result = Acquire(By("other"), daemon);
    EXPECT_EQ(result.error.reason, Reason::kLockAlreadyHeld);
    return result.error.owner.label.str();
  }
};

TEST_F(Refusals, ASingleTryNamesTheHolderThatAnotherDaemonServes) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const Lease lease = MustAcquire(By("job \"7\"\n"), 1);
  const AcquireResult result = Acquire(By("other"));
  EXPECT_EQ(result.error.reason, Reason::kLockAlreadyHeld);
  EXPECT_EQ(result.error.owner.label.str(), "job \"7\"\n");
  EXPECT_EQ(result.error.message, "another holder has the lock: \"job \\\"7\\\"\\u000a\"");
  EXPECT_FALSE(result.error.last_reason);
  EXPECT_FALSE(Release("k", lease.token.str()).error);
}

TEST_F(Refusals, AHolderWithoutALabelHasNone) {
  SetUpCluster();
  const Lease lease = MustAcquire(By("first"));
  EXPECT_FALSE(Release("k", lease.token.str()).error);
  for (std::size_t node = 0; node < 3; ++node) {
    ASSERT_TRUE(cluster->server(node).SetNx("k", "of another library", seconds(1)));
  }
  const AcquireResult result = Acquire(By("other"));
  EXPECT_EQ(result.error.reason, Reason::kLockAlreadyHeld);
  EXPECT_TRUE(result.error.owner.empty()) << "the label is of the holder before";
  EXPECT_EQ(result.error.message, "another holder has the lock");
  Pass(seconds(2));
  (void)MustAcquire(By(""));
  EXPECT_EQ(OwnerSeen(), "");
}

TEST_F(Refusals, TheHolderOfMostNodesIsNamed) {
  SetUpCluster();
  Hold(0, "a", "minority");
  Hold(1, "b", "majority");
  Hold(2, "b", "");
  cluster->Pause(0);
  EXPECT_EQ(OwnerSeen(), "majority") << "a node may know the token without its label";
  cluster->Resume(0);
}

TEST_F(Refusals, AHolderWithoutALabelIsNotTakenForAnother) {
  ClusterOptions options;
  options.nodes = 5;
  SetUpCluster(options);
  Hold(0, "a", "minority");
  Hold(1, "b", "");
  Hold(2, "b", "");
  cluster->Down(3);
  cluster->Down(4);
  EXPECT_EQ(OwnerSeen(), "");
}

TEST_F(Refusals, ThoseWhoShareTheKeyAreCountedAndTheOneThatExpiresLastIsNamed) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const auto share = [this](const std::string& owner, Duration ttl) {
    AcquireCommand command = By(owner);
    command.key = Key("k").Shared();
    command.ttl = ttl;
    return MustAcquire(command, 1);
  };
  const Lease only = share("first", seconds(10));
  EXPECT_EQ(Acquire(By("writer")).error.message, "a holder shares the lock: \"first\"");
  (void)share("second", seconds(20));
  (void)share("third", seconds(15));
  const AcquireResult result = Acquire(By("writer"));
  EXPECT_EQ(result.error.reason, Reason::kLockAlreadyHeld);
  EXPECT_EQ(result.error.message, "3 holders share the lock, among them \"second\"");
  EXPECT_EQ(result.error.owner.label, OwnerLabel("second"));
  EXPECT_EQ(result.error.holders, 3);
  EXPECT_EQ(Release("k", only.token.str(), 1).error, std::nullopt);
  const auto waiter = Wait();
  Pass(milliseconds(10));
  Cancel(waiter);
  EXPECT_EQ(waiter->owner(), "second");
  EXPECT_EQ(waiter->result->error.holders, 2);
  EXPECT_EQ(waiter->message(),
            "not acquired before the deadline: 2 holders share the lock, among them \"second\"");
}

TEST_F(Refusals, TheSharerThatMostNodesNameIsNamedWithTheirCount) {
  ClusterOptions options;
  options.nodes = 5;
  SetUpCluster(options);
  const auto share = [this](std::size_t node, const std::string& token, Duration ttl) {
    const Owner owner{.label = OwnerLabel(token)};
    const NodeReply reply = cluster->server(node).Acquire(Key("k").Shared().str(), token, ttl,
                                                          FencingToken{1}, {1}, owner, false);
    EXPECT_EQ(reply.outcome, Outcome::kGranted);
  };
  share(0, "released elsewhere", kLong);
  for (const std::size_t node : {0U, 1U, 2U}) share(node, "majority", kLong / 2);
  cluster->Down(3);
  cluster->Down(4);
  const Error error = Acquire(By("writer")).error;
  EXPECT_EQ(error.message, "a holder shares the lock: \"majority\"");
  EXPECT_EQ(error.holders, 1);
}

TEST_F(Refusals, AnOwnerOfASlotIsNamedIfNoneIsFree) {
  SetUpCluster();
  const auto by = [](const std::string& owner, Duration ttl, RetryPolicy retry = kTry) {
    AcquireCommand command = By(owner);
    command.key = Key("k").Slot(2, 0);
    command.ttl = ttl;
    command.retry = retry;
    return command;
  };
  (void)MustAcquire(by("first", kLong));
  const Lease second = MustAcquire(by("second", kLong / 2));
  const AcquireResult result = Acquire(by("third", kLong));
  EXPECT_EQ(result.error.message, "all 2 slots are taken, one of them by \"first\"");
  EXPECT_EQ(result.error.owner.label, OwnerLabel("first"));
  EXPECT_EQ(result.error.holders, 2);
  const auto next = Wait(by("waiter", kLong, {}));
  Pass(milliseconds(10));
  Cancel(next);
  EXPECT_EQ(next->owner(), "first");
  EXPECT_EQ(Release("k", second.token.str()).error, std::nullopt);
  EXPECT_TRUE(Acquire(by("third", kLong)).lease);
}

TEST_F(Refusals, TheLabelStaysWithTheLeaseThroughExtensionsAndAHandOver) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const Lease lease = MustAcquire(By("first"));
  EXPECT_TRUE(Extend("k", lease.token.str(), kLong, 1).lease);
  EXPECT_EQ(OwnerSeen(1), "first");
  const auto next = Wait(By("second", RetryPolicy{}));
  Pass(milliseconds(10));
  EXPECT_FALSE(Release("k", lease.token.str()).error);
  Pass(milliseconds(10));
  ASSERT_TRUE(next->result && next->result->lease) << "handed over";
  EXPECT_EQ(OwnerSeen(1), "second");
}

TEST_F(Refusals, ANodeThatIsRepairedLearnsWhoTheHolderIsAndSinceWhen) {
  SetUpCluster();
  const Lease lease = MustAcquire(By("holder"));
  const Owner owner = cluster->server(0).Inspect("k").owner;
  EXPECT_EQ(owner.origin, Origin("daemon identity peer"));
  EXPECT_GT(owner.since, Duration::zero());
  for (std::size_t node = 0; node < 3; ++node) {
    cluster->Restart(node, Cluster::Data::kLost);
    Pass(seconds(2));
    EXPECT_TRUE(Extend("k", lease.token.str(), kLong).lease);
    Pass(milliseconds(10));
    EXPECT_EQ(Holders("k"), std::vector<std::string>(3, lease.token.str()));
    const Owner repaired = cluster->server(node).Inspect("k").owner;
    EXPECT_EQ(repaired.label, owner.label);
    EXPECT_EQ(repaired.origin, owner.origin);
    EXPECT_LT(std::chrono::abs(repaired.since - owner.since), milliseconds(100));
  }
}

TEST_F(Refusals, TheAgeOfTheNextHolderCountsFromItsOwnAcquisition) {
  SetUpCluster();
  const Lease first = MustAcquire(By("first"));
  const Duration since = Acquire(By("early")).error.owner.since;
  Pass(seconds(2));
  Error told;
  const auto second = Wait(By("second", RetryPolicy{}));
  Pass(seconds(3));
  EXPECT_FALSE(Release("k", first.token.str()).error);
  Pass(milliseconds(10));
  ASSERT_TRUE(second->result->lease);
  // The daemon that handed the lock over reports the same as the nodes.
  const AcquireResult refused = Acquire(By("third"));
  EXPECT_EQ(refused.error.owner.label.str(), "second");
  EXPECT_GE(refused.error.owner.since, since + seconds(5) - milliseconds(1));
  EXPECT_GE(Acquire(By("fourth")).error.owner.since, since + seconds(5) - milliseconds(1));
}

TEST_F(Refusals, EveryWaiterLearnsWhoHasTheLock) {
  SetUpCluster();
  const Lease lease = MustAcquire(By("holder"));
  const auto head = Wait();
  const auto follower = Wait();
  Pass(milliseconds(10));
  EXPECT_EQ(OwnerSeen(), "holder") << "a single try behind waiters";
  Cancel(follower, Reason::kCancelled);
  EXPECT_EQ(follower->last_reason(), Reason::kLockAlreadyHeld);
  EXPECT_EQ(follower->owner(), "holder");
  EXPECT_EQ(follower->message(),
            "not acquired before it was cancelled: another holder has the lock: \"holder\"");
  Cancel(head);
  EXPECT_EQ(head->last_reason(), Reason::kLockAlreadyHeld);
  EXPECT_EQ(head->owner(), "holder");
  EXPECT_EQ(head->message(),
            "not acquired before the deadline: another holder has the lock: \"holder\"");
  EXPECT_FALSE(Release("k", lease.token.str()).error);
}

TEST_F(Refusals, AWaiterBehindANewHolderOfThisDaemonLearnsItsLabel) {
  SetUpCluster();
  const Lease lease = MustAcquire(By("first"));
  const auto second = Wait(By("second", RetryPolicy{}));
  const auto third = Wait();
  Pass(milliseconds(10));
  EXPECT_FALSE(Release("k", lease.token.str()).error);
  Pass(milliseconds(10));
  ASSERT_TRUE(second->result && second->result->lease);
  Cancel(third);
  EXPECT_EQ(third->last_reason(), Reason::kLockAlreadyHeld);
  EXPECT_EQ(third->owner(), "second");
  EXPECT_TRUE(third->result->votes.empty()) << "they are of the holder before";
}

TEST_F(Refusals, UsedUpRetriesNameTheHolder) {
  SetUpCluster();
  (void)MustAcquire(By("holder"));
  const RetryPolicy twice{.max_retries = 2, .min_delay = milliseconds(5), .max_jitter = {}};
  const auto head = Wait(By("a", twice));
  const auto follower = Wait(By("b", twice));
  Pass(milliseconds(100));
  for (const auto& waiter : {head, follower}) {
    ASSERT_TRUE(waiter->result);
    EXPECT_EQ(waiter->result->error.reason, Reason::kMaxRetriesExceeded);
    EXPECT_EQ(waiter->owner(), "holder");
    EXPECT_EQ(waiter->message(),
              "the retries are used up: another holder has the lock: \"holder\"");
  }
}

TEST_F(Refusals, NothingIsSaidBeforeAnAttemptIsDecided) {
  SetUpCluster();
  const auto waiter = Wait();
  Cancel(waiter);
  EXPECT_FALSE(waiter->last_reason());
  EXPECT_EQ(waiter->message(), "not acquired before the deadline");
  EXPECT_TRUE(waiter->owner().empty());
}

TEST_F(Refusals, WaitersLearnThatTooFewNodesAnswer) {
  SetUpCluster();
  cluster->Down(0);
  cluster->Down(1);
  const auto head = Wait();
  const auto follower = Wait();
  Pass(seconds(3));
  for (const auto& waiter : {follower, head}) {
    Cancel(waiter);
    EXPECT_EQ(waiter->last_reason(), Reason::kQuorumUnavailable);
    EXPECT_TRUE(waiter->owner().empty());
    EXPECT_EQ(waiter->message(),
              "not acquired before the deadline: too few nodes answered to decide");
    EXPECT_GE(waiter->result->votes.size(), 2U) << "decided by two";
  }
}

TEST_F(Refusals, AValidityThatEndedTooEarlyIsSaid) {
  ClusterOptions options;
  options.lock.node_timeout = milliseconds(500);
  SetUpCluster(options);
  cluster->Pause(0);
  cluster->Pause(1);
  world.Do(milliseconds(40), [this] { cluster->Resume(0); });
  const auto waiter = Wait(Wants("k", milliseconds(40), {.min_delay = seconds(5)}));
  Pass(milliseconds(60));
  Cancel(waiter);
  EXPECT_EQ(waiter->last_reason(), Reason::kValidityExpired);
}

// The head sleeps until the holder's TTL has passed, and hears nothing of the nodes that went away.
TEST_F(Refusals, AnOutageDuringTheWaitDoesNotLookLikeContention) {
  SetUpDaemons();
  (void)MustAcquire(By("holder"));
  const RetryPolicy once{.max_retries = 1, .min_delay = seconds(3), .max_jitter = {}};
  const auto head = Wait();
  const auto follower = Wait();
  const auto retries = Wait(By("retries", once));
  Pass(milliseconds(10));
  cluster->Down(0);
  cluster->Down(1);
  Pass(milliseconds(50));
  const AcquireResult tried = Acquire(By("other"));
  EXPECT_EQ(tried.error.reason, Reason::kQuorumUnavailable) << "a single try behind waiters";
  EXPECT_TRUE(tried.error.owner.empty());
  Pass(seconds(4));
  ASSERT_TRUE(retries->result);
  EXPECT_EQ(retries->result->error.reason, Reason::kQuorumUnavailable);
  for (const auto& waiter : {follower, head}) {
    Cancel(waiter);
    EXPECT_EQ(waiter->last_reason(), Reason::kQuorumUnavailable);
    EXPECT_TRUE(waiter->owner().empty());
    EXPECT_TRUE(waiter->result->votes.empty()) << "they are of the time before";
    EXPECT_EQ(
        waiter->message().substr(0, 85),
        "not acquired before the deadline: too few nodes are able to grant locks: 1 of 3; node");
  }
}

TEST_F(Refusals, AfterTheOutageTheHolderIsNamedAgain) {
  SetUpDaemons();
  (void)MustAcquire(By("holder"));
  const auto waiter = Wait();
  Pass(milliseconds(10));
  cluster->Down(0);
  cluster->Down(1);
  Pass(milliseconds(50));
  cluster->Up(0);
  Pass(seconds(2));
  Cancel(waiter);
  EXPECT_EQ(waiter->last_reason(), Reason::kLockAlreadyHeld);
  EXPECT_EQ(waiter->owner(), "holder");
}

TEST_F(Refusals, NodesThatCannotGrantAreAnOutage) {
  SetUpDaemons();
  (void)MustAcquire(By("holder"));
  const auto waiter = Wait();
  Pass(milliseconds(10));
  cluster->server(0).SetFull(true);
  cluster->server(1).SetFull(true);
  Pass(seconds(2));
  Cancel(waiter);
  EXPECT_EQ(waiter->last_reason(), Reason::kQuorumUnavailable);
  EXPECT_NE(waiter->message().find("OOM"), std::string::npos) << waiter->message();
  cluster->server(0).SetFull(false);
  cluster->server(1).SetFull(false);
}

TEST_F(Refusals, AKnownOutageIsSaidBeforeAnAttemptIsDecided) {
  SetUpDaemons();
  cluster->Down(0);
  cluster->Down(1);
  Pass(milliseconds(50));
  const auto waiter = Wait();
  Cancel(waiter);
  EXPECT_EQ(waiter->last_reason(), Reason::kQuorumUnavailable);
}

TEST_F(Refusals, ADaemonWithoutAQuorumOfTheMembersSaysSo) {
  ClusterOptions options;
  options.daemons = 2;
  options.lists = {{0, 1, 2}, {0}};
  options.guard = GuardMode::kOn;
  options.node_sets = true;
  SetUpCluster(options);
  cluster->link(1, 0).Break(true);  // the first daemon creates the set
  Pass(seconds(2));
  cluster->link(1, 0).ComeUp();
  Pass(seconds(2));
  const auto waiter = Wait(1);
  Pass(seconds(1));
  Cancel(waiter);
  EXPECT_EQ(waiter->last_reason(), Reason::kNodeSetMismatch);
}

// The result of an acquisition that its stream cancels, by itself or by its close.
TEST_F(Refusals, AStreamHearsWhyItsAcquisitionsFailed) {
  struct Heard final : LeaseSet::Listener {
    void OnAcquired(std::uint64_t id, const AcquireResult& result) override {
      results.emplace_back(id, result);
    }
    void OnQueued(std::uint64_t /*id*/, std::size_t /*position*/) override {}
    void OnExtended(std::uint64_t /*id*/, const ExtendResult& /*result*/) override {}
    void OnReleased(std::uint64_t /*id*/, const ReleaseResult& /*result*/) override {}
    void OnEvent(const Key& /*key*/, const WatchEvent& /*event*/) override {}
    [[nodiscard]] bool MayKeep(const Key& /*key*/, LeaseOrigin /*origin*/) const override {
      return true;
    }
    std::vector<std::pair<std::uint64_t, AcquireResult>> results;
  };
  SetUpCluster();
  (void)MustAcquire(By("holder"));
  Heard heard;
  const auto leases = std::make_shared<LeaseSet>(cluster->shard(0), heard, Source{});
  for (const std::uint64_t id : {1U, 2U}) {
    HoldCommand command{.acquire = By("stream", RetryPolicy{}), .interval = seconds(5)};
    leases->Acquire(id, std::move(command));
  }
  Pass(milliseconds(10));
  leases->Cancel(7);  // unknown
  leases->Cancel(1);
  leases->Cancel(1);
  ASSERT_EQ(heard.results.size(), 1U);
  leases->End(StreamEnd::kClosed, [] {});
  Pass(milliseconds(10));
  ASSERT_EQ(heard.results.size(), 2U);
  for (const auto& [id, result] : heard.results) {
    EXPECT_EQ(result.error.reason, Reason::kCancelled);
    EXPECT_EQ(result.error.last_reason, Reason::kLockAlreadyHeld);
    EXPECT_EQ(result.error.owner.label.str(), "holder");
  }
}

}  // namespace
}  // namespace redlock::sim
