// Tests of what a holder stores with its lease: the lock delay, for how long a released key stays
// taken, and the value that it publishes.
#include "server/core/leases/lease_set.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

class Terms : public Scenario {
 protected:
  void SetUp() override {
    ClusterOptions options;
    options.daemons = 3;
    SetUpCluster(options);
  }
  static AcquireCommand Delayed(Duration ttl, Duration delay, const std::string& token = {}) {
    AcquireCommand command = Wants("k", ttl);
    command.owner.lock_delay = delay;
    command.token = OwnerToken(token);
    return command;
  }
  static AcquireCommand Publishing(const std::string& value) {
    AcquireCommand command = Wants("k", seconds(20));
    command.owner.value = PublishedValue(value);
    return command;
  }
  std::optional<Error> Keep(const std::string& key, const std::string& token, Duration keep_for,
                            std::size_t daemon = 0) {
    std::optional<ReleaseResult> answer;
    cluster->shard(daemon).Release(
        Key(key), OwnerToken(token), [&](ReleaseResult result) { answer = std::move(result); }, {},
        keep_for);
    while (!answer) Pass(microseconds(50));
    return answer->error;
  }
  std::optional<Error> Proclaim(const std::string& key, const std::string& token,
                                const std::string& value, std::size_t daemon = 0) {
    std::optional<ProclaimResult> answer;
    cluster->shard(daemon).Proclaim(
        {.key = Key(key), .token = OwnerToken(token), .value = PublishedValue(value)},
        [&](ProclaimResult result) { answer = std::move(result); });
    while (!answer) Pass(microseconds(50));
    return answer->error;
  }
  InspectResult Inspect(const std::string& key, std::size_t daemon = 0) {
    std::optional<InspectResult> answer;
    cluster->shard(daemon).Inspect(Key(key),
                                   [&](InspectResult result) { answer = std::move(result); });
    while (!answer) Pass(microseconds(50));
    return std::move(*answer);
  }
  std::string Value(const std::string& key, std::size_t daemon = 0) {
    const InspectResult result = Inspect(key, daemon);
    return result.held_by.empty() ? "(nobody)" : result.held_by.front().owner.value.str();
  }
  // How long it takes until another client gets the key.
  Duration UntilFree(const std::string& key = "k") {
    const MonotonicTime before = world.now();
    const auto waiter = Start(Wants(key, seconds(1), RetryPolicy{}), 2);
    while (!waiter->result && world.now() < before + seconds(200)) Pass(milliseconds(1));
    EXPECT_TRUE(Has(waiter));
    return waiter->at - before;
  }
  static void ExpectAbout(Duration time, Duration expected) {
    EXPECT_GE(time, expected - milliseconds(20));
    EXPECT_LE(time, expected + milliseconds(400));
  }
};

TEST_F(Terms, ALostLeaseKeepsOthersOutForItsDelay) {
  const Lease lease = MustAcquire(Delayed(seconds(2), seconds(5)));
  EXPECT_LE(lease.validity, seconds(2));
  ExpectAbout(UntilFree(), seconds(7));
}

TEST_F(Terms, ADelayDoesNotOutliveTheRelease) {
  const Lease lease = MustAcquire(Delayed(seconds(2), seconds(5)));
  EXPECT_FALSE(Release("k", lease.token.str()).error);
  EXPECT_LT(UntilFree(), milliseconds(10));
}

TEST_F(Terms, AnExtensionKeepsTheDelay) {
  const Lease lease = MustAcquire(Delayed(seconds(2), seconds(5)));
  Pass(seconds(1));
  const ExtendResult extended = Extend("k", lease.token.str(), seconds(3), 1);
  ASSERT_TRUE(extended.lease);
  EXPECT_LE(extended.lease->validity, seconds(3));
  ExpectAbout(UntilFree(), seconds(8));
}

TEST_F(Terms, AnAcquisitionThatFindsItsTokenKeepsTheDelay) {
  (void)MustAcquire(Delayed(seconds(2), seconds(5), "mine"));
  AcquireCommand again = Wants("k", seconds(3));
  again.token = OwnerToken("mine");
  again.extend_if_held = true;
  (void)MustAcquire(std::move(again), 1);
  ExpectAbout(UntilFree(), seconds(8));
}

// One node knows the token from an earlier hold without a delay.
TEST_F(Terms, NodesThatKnowTheTokenFromAnotherHoldLearnTheDelay) {
  EXPECT_EQ(cluster->server(0).Acquire("k", "mine", milliseconds(500), {1}, {1}, {}, false).outcome,
            Outcome::kGranted);
  cluster->Down(2);
  AcquireCommand command = Delayed(seconds(2), seconds(5), "mine");
  command.extend_if_held = true;
  (void)MustAcquire(std::move(command));
  cluster->Up(2);
  ExpectAbout(UntilFree(), seconds(7));
}

TEST_F(Terms, TtlAndDelayAreBounded) {
  const Lease lease = MustAcquire(Delayed(seconds(2), std::chrono::minutes(4)));
  ASSERT_TRUE(Extend("k", lease.token.str(), std::chrono::minutes(3)).lease);
  EXPECT_LE(Inspect("k").remaining, std::chrono::minutes(3));
  for (std::size_t node = 0; node < 3; ++node) {
    EXPECT_LE(
        cluster->server(node).Acquire("k", "other", seconds(1), {1}, {1}, {}, false).remaining,
        std::chrono::minutes(5));
  }
  EXPECT_FALSE(Release("k", lease.token.str()).error);
}

TEST_F(Terms, ANodeThatIsRepairedLearnsTheDelayTheValueAndTheTimeOfTheAcquisition) {
  AcquireCommand command = Delayed(seconds(2), seconds(5));
  command.owner.value = PublishedValue("value");
  const Lease lease = MustAcquire(std::move(command));
  for (std::size_t node = 0; node < 3; ++node) {
    cluster->Restart(node, Cluster::Data::kLost);
    Pass(seconds(1));
    ASSERT_TRUE(Extend("k", lease.token.str(), seconds(3)).lease);
    Pass(milliseconds(10));
    const NodeReply stored = cluster->server(node).Inspect("k");
    EXPECT_EQ(stored.owner.value, PublishedValue("value"));
    EXPECT_EQ(stored.owner.lock_delay, seconds(5));
  }
  // All nodes know the lease from repairs only.
  const Owner owner = Inspect("k").held_by.front().owner;
  const Duration age = cluster->scheduler(0).WallNow().time_since_epoch() - owner.since;
  ExpectAbout(age, seconds(3));
  EXPECT_FALSE(Keep("k", lease.token.str(), seconds(10)));
  ExpectAbout(UntilFree(), milliseconds(6960));
}

TEST_F(Terms, TheNextHoldersDelayReplacesTheReleasers) {
  const Lease first = MustAcquire(Delayed(seconds(2), seconds(5)));
  AcquireCommand next = Delayed(seconds(2), seconds(1));
  next.retry = RetryPolicy{};
  const auto second = Start(std::move(next));
  Pass(milliseconds(10));
  EXPECT_FALSE(Release("k", first.token.str()).error);
  Pass(milliseconds(10));
  ASSERT_TRUE(Has(second));
  ExpectAbout(UntilFree(), seconds(3));
}

TEST_F(Terms, NobodyHoldsAKeyInItsDelay) {
  (void)MustAcquire(Delayed(seconds(2), seconds(5)));
  EXPECT_TRUE(Inspect("k").held);
  EXPECT_LE(Inspect("k").remaining, seconds(2));
  Pass(seconds(3));
  const InspectResult result = Inspect("k", 1);
  EXPECT_FALSE(result.held);
  EXPECT_FALSE(result.undecided);
  ExpectAbout(result.kept_for, seconds(4));
  // An operator can free it.
  bool freed = false;
  cluster->shard(1).ForceRelease(Key("k"), [&freed](const auto&, const auto& error) {
    EXPECT_FALSE(error);
    freed = true;
  });
  Pass(milliseconds(10));
  EXPECT_TRUE(freed);
  EXPECT_LT(UntilFree(), milliseconds(10));
}

TEST_F(Terms, AStreamsEndLeavesTheDelayOnlyIfTheClientWasSilent) {
  struct Stream final : LeaseSet::Listener {
    void OnAcquired(std::uint64_t /*id*/, const AcquireResult& result) override {
      acquired = result.lease.has_value();
    }
    void OnQueued(std::uint64_t /*id*/, std::size_t /*position*/) override {}
    void OnExtended(std::uint64_t /*id*/, const ExtendResult& /*result*/) override {}
    void OnReleased(std::uint64_t /*id*/, const ReleaseResult& /*result*/) override {}
    void OnEvent(const Key& /*key*/, const WatchEvent& /*event*/) override {}
    [[nodiscard]] bool MayKeep(const Key& /*key*/, LeaseOrigin /*origin*/) const override {
      return true;
    }
    bool acquired = false;
  };
  for (const StreamEnd end : {StreamEnd::kClosed, StreamEnd::kSilent}) {
    Stream stream;
    const auto leases = std::make_shared<LeaseSet>(cluster->shard(0), stream, Source{});
    leases->Acquire(
        1,
        {.acquire = Delayed(seconds(30), seconds(5)), .interval = seconds(15), .max_lifetime = {}});
    Pass(milliseconds(10));
    ASSERT_TRUE(stream.acquired);
    leases->End(end, [] {});
    Pass(milliseconds(10));
    EXPECT_FALSE(Inspect("k").held);
    if (end == StreamEnd::kSilent) {
      ExpectAbout(UntilFree(), seconds(5));
    } else {
      EXPECT_LT(UntilFree(), milliseconds(10));
    }
    Pass(seconds(2));
  }
}

TEST_F(Terms, AKeptKeyIsTakenUntilSomeTimeAfterItsAcquisition) {
  const Lease lease = MustAcquire(Wants("k", seconds(60)));
  Pass(seconds(4));
  EXPECT_FALSE(Keep("k", lease.token.str(), seconds(10)));
  EXPECT_FALSE(Inspect("k").held);
  EXPECT_FALSE(Inspect("k").undecided);
  ExpectAbout(Inspect("k").kept_for, seconds(6));
  // Nobody can use the token on it any more.
  EXPECT_FALSE(Extend("k", lease.token.str(), seconds(60)).lease);
  EXPECT_EQ(Release("k", lease.token.str()).error->reason, Reason::kLockNotHeld);
  ExpectAbout(UntilFree(), seconds(6));
}

TEST_F(Terms, AKeyIsFreeAtOnceIfTheTimeHasPassed) {
  const Lease lease = MustAcquire(Wants("k", seconds(60)));
  Pass(seconds(4));
  EXPECT_FALSE(Keep("k", lease.token.str(), seconds(4)));
  EXPECT_LT(UntilFree(), milliseconds(10));
}

TEST_F(Terms, AKeyCanBeKeptForLongerThanItsTtl) {
  const Lease lease = MustAcquire(Wants("k", seconds(1)));
  EXPECT_FALSE(Keep("k", lease.token.str(), seconds(10)));
  ExpectAbout(UntilFree(), seconds(10));
}

TEST_F(Terms, ARepeatedReleaseFindsTheKeyKept) {
  const Lease lease = MustAcquire(Wants("k", seconds(60)));
  EXPECT_FALSE(Keep("k", lease.token.str(), seconds(10)));
  Pass(seconds(1));
  EXPECT_FALSE(Keep("k", lease.token.str(), seconds(10), 1));
  ExpectAbout(UntilFree(), seconds(9));
  EXPECT_EQ(Keep("k", lease.token.str(), seconds(10))->reason, Reason::kLockNotHeld);
}

TEST_F(Terms, ARepeatedReleaseOnlyKeepsForLonger) {
  for (const Key& key : {Key("k"), Key("k").Shared()}) {
    AcquireCommand command = Wants("k", seconds(60));
    command.key = key;
    command.token = OwnerToken("mine");
    (void)MustAcquire(command);
    EXPECT_FALSE(Keep("k", "mine", seconds(5)));
    EXPECT_FALSE(Keep("k", "mine", seconds(10)));
    EXPECT_FALSE(Keep("k", "mine", seconds(2)));
    ExpectAbout(UntilFree(), seconds(10));
    Pass(seconds(2));
  }
}

TEST_F(Terms, AKeptShareOfAnEarlierHoldIsNotShortened) {
  AcquireCommand command = Wants("k", seconds(60));
  command.key = Key("k").Shared();
  command.token = OwnerToken("mine");
  (void)MustAcquire(command);
  EXPECT_FALSE(Keep("k", "mine", seconds(10)));
  (void)MustAcquire(command);
  EXPECT_FALSE(Keep("k", "mine", milliseconds(500)));
  ExpectAbout(UntilFree(), seconds(10));
}

TEST_F(Terms, APartOfSeveralKeysIsNoConfirmation) {
  AcquireCommand command = Wants("k", seconds(60));
  command.key = Key::Of({"k", "l"});
  command.token = OwnerToken("mine");
  (void)MustAcquire(command);
  EXPECT_FALSE(Release("l", "mine").error);
  EXPECT_EQ(Keep(command.key.str(), "mine", seconds(5))->reason, Reason::kLockNotHeld);
}

TEST_F(Terms, AKeptKeyIsNotHandedOver) {
  const Lease lease = MustAcquire(Wants("k", seconds(60)));
  const auto waiter = Start(Wants("k", seconds(1), RetryPolicy{}));
  Pass(seconds(1));
  EXPECT_FALSE(Keep("k", lease.token.str(), seconds(5)));
  Pass(seconds(3));
  EXPECT_FALSE(waiter->result);
  Pass(seconds(2));
  EXPECT_TRUE(Has(waiter)) << "although the TTL of the lease was a minute";
}

TEST_F(Terms, AKeptKeyDelaysTheNextHoldOfItsOwnToken) {
  AcquireCommand command = Wants("k", seconds(60));
  command.token = OwnerToken("mine");
  (void)MustAcquire(command);
  EXPECT_FALSE(Keep("k", "mine", seconds(10)));
  command.extend_if_held = true;
  EXPECT_EQ(Acquire(command).error.reason, Reason::kLockAlreadyHeld);
  Pass(seconds(11));
  const Lease again = MustAcquire(command, 1);
  Pass(seconds(1));
  EXPECT_EQ(Inspect("k").held_by.front().fence, again.fence);
  EXPECT_FALSE(Release("k", "mine").error);
}

TEST_F(Terms, SharesSlotsAndSeveralKeysAreKeptToo) {
  for (const Key& key : {Key("k").Shared(), Key("k").Slot(2, 0), Key::Of({"k", "l"})}) {
    AcquireCommand command = Wants("k", seconds(60));
    command.key = key;
    std::vector<Lease> leases;
    for (int i = 0; i < (key.IsSemaphore() ? 2 : 1); ++i) leases.push_back(MustAcquire(command));
    Pass(seconds(1));
    for (const Lease& lease : leases) {
      const std::string name(key.names());
      EXPECT_FALSE(Keep(name, lease.token.str(), seconds(5)));
      EXPECT_FALSE(Keep(name, lease.token.str(), seconds(5), 1));
    }
    EXPECT_FALSE(Inspect("k").held);
    ExpectAbout(Inspect("k").kept_for, seconds(4));
    EXPECT_EQ(Acquire(Wants("k", seconds(1))).error.reason,
              key.IsSemaphore() ? Reason::kKindMismatch : Reason::kLockAlreadyHeld);
    if (!key.IsShared()) {
      EXPECT_EQ(Acquire(command).error.reason, Reason::kLockAlreadyHeld);
    }
    Pass(seconds(5));
    EXPECT_LT(UntilFree(), milliseconds(10));
    Pass(seconds(2));
  }
}

TEST_F(Terms, TheLastProclamationCountsWhateverTheClocksSay) {
  ClusterOptions options;
  options.daemons = 3;
  options.most_wall_skew = seconds(10);
  SetUpCluster(options);
  const Lease lease = MustAcquire(Publishing("0"));
  EXPECT_EQ(Value("k"), "0");
  for (int i = 1; i < 20; ++i) {
    const std::string value = std::to_string(i);
    EXPECT_FALSE(Proclaim("k", lease.token.str(), value, world.Below(3)));
    EXPECT_EQ(Value("k", world.Below(3)), value);
  }
  EXPECT_FALSE(Proclaim("k", lease.token.str(), ""));
  EXPECT_EQ(Value("k"), "");
}

TEST_F(Terms, ALateProclamationDoesNotReplaceANewerValue) {
  const Lease lease = MustAcquire(Publishing("first"));
  for (std::size_t node = 0; node < 3; ++node) {
    const std::string& token = lease.token.str();
    const std::uint64_t number = lease.fence.value + 10;
    Server& server = cluster->server(node);
    EXPECT_EQ(server.Proclaim("k", token, PublishedValue("new"), number).outcome,
              Outcome::kGranted);
    for (const std::uint64_t late : {lease.fence.value, number - 1, number}) {
      EXPECT_EQ(server.Proclaim("k", token, PublishedValue("late"), late).outcome,
                Outcome::kStaleFence);
    }
  }
  EXPECT_EQ(Value("k"), "new");
}

TEST_F(Terms, NodesThatMissedAProclamationLearnItFromTheNextExtension) {
  const Lease lease = MustAcquire(Publishing("old"));
  cluster->Restart(2, Cluster::Data::kLost);
  Pass(seconds(1));
  EXPECT_FALSE(Proclaim("k", lease.token.str(), "new"));
  ASSERT_TRUE(Extend("k", lease.token.str(), seconds(20)).lease);
  Pass(milliseconds(10));
  EXPECT_EQ(cluster->server(2).Inspect("k").owner.value, PublishedValue("new"));
}

TEST_F(Terms, OnlyTheHolderProclaims) {
  EXPECT_EQ(Proclaim("k", "mine", "value")->reason, Reason::kLockNotHeld);
  const Lease lease = MustAcquire(Publishing("value"));
  EXPECT_EQ(Proclaim("k", "mine", "other")->reason, Reason::kLockNotHeld);
  EXPECT_FALSE(Keep("k", lease.token.str(), seconds(10)));
  EXPECT_EQ(Proclaim("k", lease.token.str(), "other")->reason, Reason::kLockNotHeld);
}

TEST_F(Terms, WithoutAQuorumAProclamationIsUndecided) {
  const Lease lease = MustAcquire(Publishing("old"));
  cluster->Down(0);
  cluster->Down(1);
  Pass(milliseconds(100));
  EXPECT_EQ(Proclaim("k", lease.token.str(), "new")->reason, Reason::kQuorumUnavailable);
  cluster->Up(0);
  cluster->Up(1);
  Pass(seconds(2));
  ASSERT_TRUE(Extend("k", lease.token.str(), seconds(20)).lease);
  EXPECT_FALSE(Proclaim("k", lease.token.str(), "newest"));
  EXPECT_EQ(Value("k"), "newest");
}

TEST_F(Terms, SharesSlotsAndSeveralKeysPublishValues) {
  for (const Key& key : {Key("k").Shared(), Key("k").Slot(2, 0), Key::Of({"k", "l"})}) {
    AcquireCommand command = Publishing("old");
    command.key = key;
    const Lease lease = MustAcquire(command);
    EXPECT_EQ(Value("k"), "old");
    EXPECT_FALSE(Proclaim(std::string(key.names()), lease.token.str(), "new", 1));
    EXPECT_EQ(Value("k"), "new");
    ASSERT_TRUE(Extend(lease.key.str(), lease.token.str(), seconds(20)).lease);
    EXPECT_EQ(Value("k"), "new");
    EXPECT_FALSE(Release(std::string(key.names()), lease.token.str()).error);
  }
}

}  // namespace
}  // namespace redlock::sim
