// Tests of a stream's leases: what happens to them when the stream ends or another stream adopts
// them.
#include <algorithm>
#include <map>
#include <set>

#include "server/core/leases/lease_set.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

class Streams : public Scenario {
 protected:
  // One stream of one daemon; records its events.
  struct Stream final : LeaseSet::Listener {
    void OnAcquired(std::uint64_t id, const AcquireResult& result) override {
      if (result.lease) {
        lease = *result.lease;
        acquired.push_back(lease);
      }
      answers[id] = result.lease ? std::nullopt : std::optional(result.error.reason);
    }
    void OnQueued(std::uint64_t /*id*/, std::size_t /*position*/) override { ++queued; }
    void OnExtended(std::uint64_t id, const ExtendResult& result) override {
      if (result.lease) lease = *result.lease;
      answers[id] = result.lease ? std::nullopt : std::optional(result.error.reason);
    }
    void OnReleased(std::uint64_t id, const ReleaseResult& result) override {
      answers[id] = result.error ? std::optional(result.error->reason) : std::nullopt;
    }
    void OnEvent(const Key& /*key*/, const WatchEvent& event) override {
      events.push_back(event.type);
    }
    [[nodiscard]] bool MayKeep(const Key& key, LeaseOrigin origin) const override {
      return !denied.contains({key.str(), origin});
    }
    std::shared_ptr<LeaseSet> leases;
    Lease lease;
    std::vector<Lease> acquired;
    std::set<std::pair<std::string, LeaseOrigin>> denied;
    std::map<std::uint64_t, std::optional<Reason>> answers;
    std::vector<WatchEvent::Type> events;
    int queued = 0;
  };

  void SetUp() override {
    ClusterOptions options;
    options.daemons = 3;
    SetUpCluster(options);
  }
  Stream& Open(std::size_t daemon) {
    auto stream = std::make_shared<Stream>();
    stream->leases = std::make_shared<LeaseSet>(cluster->shard(daemon), *stream, Source{});
    streams.push_back(stream);
    return *stream;
  }
  Lease Acquire(Stream& stream, Duration ttl, const std::string& token = {}) {
    HoldCommand command{.acquire = Wants("k", ttl), .interval = ttl / 2, .max_lifetime = {}};
    command.acquire.token = OwnerToken(token);
    command.acquire.extend_if_held = !token.empty();
    stream.leases->Acquire(++id, std::move(command));
    Pass(milliseconds(5));
    EXPECT_EQ(stream.answers.at(id), std::nullopt);
    return stream.lease;
  }
  std::optional<Reason> Adopt(Stream& stream, const Lease& lease, Duration ttl,
                              std::optional<std::uint64_t> sequence = {}) {
    stream.leases->Adopt(++id, {.key = lease.key,
                                .token = lease.token,
                                .ttl = ttl,
                                .interval = ttl / 2,
                                .sequence = sequence});
    Pass(milliseconds(5));
    return stream.answers.at(id);
  }
  std::optional<Reason> GiveUp(Stream& stream, const Lease& lease) {
    stream.leases->GiveUp(++id, {lease.key, lease.token});
    Pass(milliseconds(10));
    return stream.answers.at(id);
  }
  // k0, k1, ...
  void AcquireMany(Stream& stream, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      stream.leases->Acquire(++id, {.acquire = Wants("k" + std::to_string(i), seconds(20)),
                                    .interval = seconds(10),
                                    .max_lifetime = {}});
      if (i % 64 == 63) Pass(milliseconds(1));
    }
    Pass(milliseconds(10));
    ASSERT_EQ(stream.acquired.size(), count);
  }
  // How many of k0, k1, ... are held on the first node.
  std::size_t Held(std::size_t count) {
    std::size_t held = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (cluster->server(0).Holder("k" + std::to_string(i))) ++held;
    }
    return held;
  }
  void End(Stream& stream, StreamEnd end, Duration patience = milliseconds(10)) {
    bool done = false;
    stream.leases->End(end, [&done] { done = true; });
    Pass(patience);
    EXPECT_TRUE(done);
  }
  void TearDown() override {
    for (const auto& stream : streams) stream->leases->End(StreamEnd::kShutDown, [] {});
    Scenario::TearDown();
  }
  static std::vector<std::string> All(const Lease& lease) {
    return std::vector<std::string>(3, lease.token.str());
  }

  std::vector<std::shared_ptr<Stream>> streams;
  std::uint64_t id = 0;
};

TEST_F(Streams, AHoldCountsFromItsAcquisitionToItsReleaseOrLoss) {
  const auto holds = [this]() -> const LongHistogram& {
    return cluster->shard(0).statistics().groups[0].holds;
  };
  const auto count = [&holds] {
    std::uint64_t sum = 0;
    for (const std::uint64_t one : holds().counts()) sum += one;
    return sum;
  };
  const auto oldest = [this] {
    return cluster->shard(0).Groups()[0].oldest.value_or(Duration::zero());
  };
  Stream& closed = Open(0);
  (void)Acquire(closed, seconds(20));
  Pass(seconds(30));
  EXPECT_GE(oldest(), seconds(30));
  EXPECT_LT(oldest(), seconds(31));
  End(closed, StreamEnd::kClosed);
  EXPECT_EQ(count(), 1U);
  EXPECT_NEAR(holds().sum_seconds(), 30, 1);
  EXPECT_EQ(oldest(), Duration::zero());

  Stream& broken = Open(0);
  (void)Acquire(broken, milliseconds(500));
  End(broken, StreamEnd::kBroken);  // the lease expires, or its client moves it
  Pass(milliseconds(600));
  EXPECT_EQ(count(), 1U);

  // The daemon does not know how long an adopted lease has been held, only how long it has been
  // kept alive here.
  Stream& elsewhere = Open(1);
  const Lease lease = Acquire(elsewhere, seconds(20));
  Pass(seconds(5));
  Stream& adopter = Open(0);
  EXPECT_EQ(Adopt(adopter, lease, seconds(20)), std::nullopt);
  Pass(seconds(2));
  EXPECT_GE(oldest(), seconds(2));
  EXPECT_LT(oldest(), seconds(3));
  End(adopter, StreamEnd::kClosed);
  EXPECT_EQ(count(), 1U);

  Stream& losing = Open(0);
  (void)Acquire(losing, seconds(1));
  cluster->shard(0).ForceRelease(Key("k"), [](const InspectResult&, std::optional<Error>) {});
  Pass(milliseconds(10));
  EXPECT_EQ(count(), 2U);
  EXPECT_EQ(oldest(), Duration::zero());
}

TEST_F(Streams, OnlyCloseAndSilenceReleaseLeases) {
  for (const StreamEnd end : {StreamEnd::kBroken, StreamEnd::kRefused, StreamEnd::kShutDown}) {
    Stream& stream = Open(0);
    const Lease lease = Acquire(stream, milliseconds(500));
    End(stream, end);
    EXPECT_EQ(Holders("k"), All(lease));
    Pass(milliseconds(600));
    EXPECT_EQ(Holders("k"), NoHolders());
  }
  for (const StreamEnd end : {StreamEnd::kClosed, StreamEnd::kSilent}) {
    Stream& stream = Open(0);
    (void)Acquire(stream, seconds(20));
    End(stream, end);
    EXPECT_EQ(Holders("k"), NoHolders());
  }
}

TEST_F(Streams, ABrokenStreamStopsExtendingAndReleasesAfterItsGrace) {
  Stream& stream = Open(0);
  const Lease lease = Acquire(stream, seconds(2));
  stream.leases->Break(true);
  stream.leases->Break(true);  // half-closed and then cancelled
  Pass(milliseconds(1500));
  EXPECT_EQ(Holders("k"), All(lease));
  EXPECT_TRUE(stream.events.empty());
  End(stream, StreamEnd::kSilent);
  EXPECT_EQ(Holders("k"), NoHolders());
}

// The daemon must serve others meanwhile.
TEST_F(Streams, ABrokenStreamStopsExtendingInPortions) {
  constexpr std::size_t kLeases = 1'000;
  Stream& stream = Open(0);
  AcquireMany(stream, kLeases);
  stream.leases->Break(true);
  EXPECT_GE(cluster->shard(0).watchdogs(), kLeases - 100);
  Pass({});
  EXPECT_EQ(cluster->shard(0).watchdogs(), 0U);
  EXPECT_EQ(Held(kLeases), kLeases);
  End(stream, StreamEnd::kSilent, seconds(1));
  EXPECT_EQ(Held(kLeases), 0U);
}

// The silence may end while the leases of the broken stream are still being left.
TEST_F(Streams, TheEndContinuesWhatTheBreakBegan) {
  constexpr std::size_t kLeases = 1'000;
  for (const StreamEnd end : {StreamEnd::kSilent, StreamEnd::kShutDown}) {
    Stream& stream = Open(0);
    AcquireMany(stream, kLeases);
    stream.leases->Break(true);
    End(stream, end, seconds(1));
    EXPECT_EQ(cluster->shard(0).operations(), 0U);
    EXPECT_EQ(Held(kLeases), end == StreamEnd::kSilent ? 0U : kLeases);
    Pass(seconds(20));
  }
}

TEST_F(Streams, TheEndOfAStreamWithManyLeasesSharesTheNodes) {
  constexpr std::size_t kLeases = 5'000;
  constexpr std::size_t kSlice = 64;
  Stream& stream = Open(0);
  AcquireMany(stream, kLeases);
  bool done = false;
  stream.leases->End(StreamEnd::kClosed, [&done] { done = true; });
  Pass(microseconds(50));
  EXPECT_LE(cluster->shard(0).operations(), kSlice);
  Pass(milliseconds(1));  // the releases follow each other
  const std::size_t before = Held(kLeases);
  const auto fresh = Start(Wants("fresh", seconds(20)));
  while (!fresh->result) Pass(microseconds(10));
  EXPECT_TRUE(Has(fresh));
  // At most those under way when it began, and those that were admitted with it.
  EXPECT_LE(before - Held(kLeases), 3 * kSlice);
  EXPECT_GT(Held(kLeases), kLeases / 2);
  Pass(seconds(1));
  EXPECT_TRUE(done);
  EXPECT_EQ(Held(kLeases), 0U);
}

// The lease waits for its turn to be released, and its client continues on another stream.
TEST_F(Streams, TheEndOfAStreamWithManyLeasesSparesWhatAnotherAdopts) {
  constexpr std::size_t kLeases = 1'000;
  Stream& stream = Open(0);
  AcquireMany(stream, kLeases);
  stream.leases->End(StreamEnd::kSilent, [] {});
  Stream& next = Open(1);
  std::size_t adopted = 0;
  for (std::size_t i = 0; i < kLeases; ++i) {
    next.leases->Adopt(++id, {.key = stream.acquired[i].key,
                              .token = stream.acquired[i].token,
                              .ttl = seconds(15),
                              .interval = seconds(5),
                              .sequence = {}});
  }
  Pass(seconds(1));
  for (std::uint64_t one = id - kLeases + 1; one <= id; ++one) {
    if (!next.answers.at(one)) ++adopted;
  }
  EXPECT_GT(adopted, kLeases / 2);
  EXPECT_EQ(Held(kLeases), adopted);
}

// The client may have moved it to another daemon, which has not heard of the loss yet.
TEST_F(Streams, ALostLeaseIsLeftToExpire) {
  Stream& stream = Open(0);
  const Lease lease = Acquire(stream, seconds(1));
  for (const std::size_t node : {0U, 1U}) {
    (void)cluster->server(node).Release("k", lease.token.str(), std::nullopt, {}, false);
  }
  Pass(milliseconds(700));
  EXPECT_EQ(stream.events, std::vector{WatchEvent::Type::kLost});
  EXPECT_EQ(cluster->server(2).Holder("k"), lease.token.str());
  Pass(seconds(1));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Streams, ALeaseThatTheClientMayNoLongerKeepIsLeftToExpire) {
  Stream& stream = Open(0);
  const Lease lease = Acquire(stream, milliseconds(500));
  stream.denied = {{"k", LeaseOrigin::kTakenOver}};
  stream.leases->Recheck();
  EXPECT_TRUE(stream.events.empty());
  stream.denied = {{"k", LeaseOrigin::kAcquired}};
  stream.leases->Recheck();
  EXPECT_EQ(stream.events, std::vector{WatchEvent::Type::kDenied});
  EXPECT_EQ(stream.leases->size(), 0U);
  EXPECT_EQ(Holders("k"), All(lease));
  Pass(milliseconds(600));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Streams, AWaiterThatMayNoLongerAcquireIsNotGrantedTheKey) {
  Stream& holder = Open(0);
  const Lease lease = Acquire(holder, seconds(20));
  Stream& waiter = Open(0);
  for (std::uint64_t number = 1; number <= 100; ++number) {  // more than one portion
    waiter.leases->Acquire(number, {.acquire = Wants("k", seconds(1), RetryPolicy{}),
                                    .interval = milliseconds(500),
                                    .max_lifetime = {}});
  }
  Pass(milliseconds(5));
  EXPECT_TRUE(waiter.answers.empty());
  waiter.denied = {{"k", LeaseOrigin::kAcquired}};
  waiter.leases->Recheck();
  Pass(milliseconds(5));
  EXPECT_EQ(waiter.answers.size(), 100U);
  for (const auto& [number, reason] : waiter.answers) {
    EXPECT_EQ(reason, Reason::kPermissionDenied);
  }
  EXPECT_EQ(waiter.leases->size(), 0U);
  holder.leases->Release(++id, lease.key, lease.token);
  Pass(milliseconds(50));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Streams, AnAdoptionThatIsUnderWayIsRecheckedWhenItIsDone) {
  const Lease lease = Acquire(Open(0), seconds(20));
  Stream& second = Open(1);
  second.leases->Adopt(++id, {.key = lease.key,
                              .token = lease.token,
                              .ttl = seconds(20),
                              .interval = seconds(10),
                              .sequence = {}});
  second.denied = {{"k", LeaseOrigin::kTakenOver}};
  second.leases->Recheck();
  EXPECT_TRUE(second.events.empty());
  Pass(milliseconds(5));
  EXPECT_EQ(second.events, std::vector{WatchEvent::Type::kDenied});
  EXPECT_EQ(second.leases->size(), 0U);
}

TEST_F(Streams, AnAdoptionNeverAcquires) {
  Stream& first = Open(0);
  const Lease lease = Acquire(first, seconds(20));
  EXPECT_FALSE(Release("k", lease.token.str(), 1).error);
  EXPECT_EQ(Adopt(Open(1), lease, seconds(20)), Reason::kLockNotHeld);
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Streams, TheLateEndOfAStreamDoesNotReleaseWhatAnotherAdopted) {
  Stream& first = Open(0);
  const Lease lease = Acquire(first, seconds(20));
  Stream& second = Open(1);
  EXPECT_EQ(Adopt(second, lease, seconds(20)), std::nullopt);
  EXPECT_EQ(second.lease.fence, lease.fence);
  End(first, StreamEnd::kSilent);
  EXPECT_EQ(Holders("k"), All(lease));
  End(second, StreamEnd::kClosed);
  EXPECT_EQ(Holders("k"), NoHolders());
}

// A node that had lost the key is repaired by the first stream after the second stream has adopted
// the lease.
TEST_F(Streams, ARepairByTheFirstStreamNamesTheSecondAsKeeper) {
  Stream& first = Open(0);
  const Lease lease = Acquire(first, seconds(20));
  Stream& second = Open(1);
  cluster->Down(2);
  EXPECT_EQ(Adopt(second, lease, seconds(20)), std::nullopt);
  (void)cluster->server(2).Release("k", lease.token.str(), std::nullopt, {}, false);
  cluster->Up(2);
  Pass(milliseconds(5));
  first.leases->Extend(++id, {.key = lease.key,
                              .token = lease.token,
                              .ttl = seconds(20),
                              .retry = kTry,
                              .deadline = std::nullopt,
                              .raise_to = {}});
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("k"), All(lease));
  End(first, StreamEnd::kSilent);
  EXPECT_EQ(Holders("k"), All(lease));
}

// The client moved from daemon 0 to 1 and then to 2, but its adoption at 1 was delayed.
TEST_F(Streams, ADelayedAdoptionDoesNotReplaceALaterOne) {
  Stream& first = Open(0);
  const Lease lease = Acquire(first, seconds(20));
  Stream& held_up = Open(1);
  Stream& last = Open(2);
  const std::uint64_t sequence = lease.fence.value;
  EXPECT_EQ(Adopt(last, lease, seconds(20), sequence + 2), std::nullopt);
  EXPECT_EQ(Adopt(held_up, lease, seconds(20), sequence + 1), Reason::kLockNotHeld);
  End(held_up, StreamEnd::kSilent);
  EXPECT_EQ(Holders("k"), All(lease));
  EXPECT_EQ(last.events, std::vector<WatchEvent::Type>());
  // Without a sequence number, the last adoption counts.
  Stream& by_hand = Open(0);
  EXPECT_EQ(Adopt(by_hand, lease, seconds(20)), std::nullopt);
  End(last, StreamEnd::kSilent);
  EXPECT_EQ(Holders("k"), All(lease));
}

// An acquisition with extend_if_held may have been delayed while the client moved to another
// daemon.
TEST_F(Streams, SilenceDoesNotReleaseWhatAnAcquisitionFoundHeld) {
  Stream& first = Open(0);
  const Lease lease = Acquire(first, seconds(20), "rl-mine");
  Stream& held_up = Open(1);
  (void)Acquire(held_up, seconds(20), "rl-mine");
  End(held_up, StreamEnd::kSilent);
  EXPECT_EQ(Holders("k"), All(lease));
}

// The same if both daemons, whose clocks are behind that of a third one, propose the same fence.
TEST_F(Streams, SilenceDoesNotReleaseWhatAnAcquisitionWithAnEqualFenceFoundHeld) {
  ClusterOptions options;
  options.daemons = 3;
  options.most_wall_skew = seconds(10);
  SetUpCluster(options);
  int equal = 0;
  for (int i = 0; i < 40; ++i) {
    for (const std::size_t daemon : {0U, 1U, 2U}) cluster->StepWallClock(daemon);
    FencingToken before;
    for (const std::size_t daemon : {0U, 2U}) {
      Stream& stream = Open(daemon);
      before = Acquire(stream, seconds(20)).fence;
      End(stream, StreamEnd::kClosed);
    }
    Stream& first = Open(1);
    const Lease lease = Acquire(first, seconds(20), "rl-mine-" + std::to_string(i));
    if (lease.fence.value == before.value + 1) ++equal;
    Stream& held_up = Open(2);
    (void)Acquire(held_up, seconds(20), lease.token.str());
    End(held_up, StreamEnd::kSilent);
    EXPECT_EQ(Holders("k"), All(lease));
    cluster->shard(0).Release(lease.key, lease.token, [](const ReleaseResult&) {});
    Pass(milliseconds(10));
  }
  EXPECT_GT(equal, 3);
}

TEST_F(Streams, GivingUpReleasesWhatTheStreamAcquiredOrAdopted) {
  Stream& stream = Open(0);
  const Lease acquired = Acquire(stream, seconds(20));
  EXPECT_EQ(GiveUp(stream, acquired), std::nullopt);
  EXPECT_EQ(Holders("k"), NoHolders());
  EXPECT_EQ(GiveUp(stream, acquired), Reason::kLockNotHeld);
  Stream& other = Open(1);
  const Lease adopted = Acquire(other, seconds(20));
  EXPECT_EQ(GiveUp(stream, adopted), Reason::kLockNotHeld) << "another stream's lease";
  EXPECT_EQ(Holders("k"), All(adopted));
  EXPECT_EQ(Adopt(stream, adopted, seconds(20)), std::nullopt);
  EXPECT_EQ(GiveUp(stream, adopted), std::nullopt);
  EXPECT_EQ(Holders("k"), NoHolders());
}

// The client moved to another daemon and used its token again while this one was held up.
TEST_F(Streams, GivingUpLateSparesALaterHoldOfTheSameToken) {
  Stream& held_up = Open(0);
  const Lease earlier = Acquire(held_up, seconds(20), "mine");
  Stream& adopting = Open(1);
  EXPECT_EQ(Adopt(adopting, earlier, seconds(20)), std::nullopt);
  EXPECT_EQ(GiveUp(held_up, earlier), Reason::kLockNotHeld);
  EXPECT_EQ(Holders("k"), All(earlier));

  (void)Acquire(held_up, seconds(20), "mine");  // finds it held
  EXPECT_EQ(GiveUp(held_up, earlier), Reason::kLockNotHeld);
  EXPECT_EQ(Holders("k"), All(earlier));

  End(adopting, StreamEnd::kClosed);
  cluster->shard(1).Release(Key("k"), OwnerToken("mine"), [](const ReleaseResult&) {});
  Pass(milliseconds(10));
  Stream& first = Open(0);
  const Lease released = Acquire(first, seconds(20), "mine");
  cluster->shard(1).Release(Key("k"), OwnerToken("mine"), [](const ReleaseResult&) {});
  Pass(milliseconds(10));
  const Lease later = Acquire(Open(2), seconds(20), "mine");
  EXPECT_GT(later.fence, released.fence);
  (void)GiveUp(first, released);
  EXPECT_EQ(Holders("k"), All(later));
}

// The client has used the token for the same key in another mode since.
TEST_F(Streams, GivingUpComparesTheMode) {
  Stream& stream = Open(0);
  const Lease lease = Acquire(stream, seconds(20), "mine");
  Lease share = lease;
  share.key = lease.key.Shared();
  EXPECT_EQ(GiveUp(stream, share), Reason::kLockNotHeld);
  EXPECT_EQ(Holders("k"), All(lease));
  EXPECT_EQ(GiveUp(stream, lease), std::nullopt);
}

// A downgrade that a node has missed is completed by the watchdog. The lease ends with the stream.
TEST_F(Streams, ADowngradedLeaseIsKeptAsAShare) {
  Stream& stream = Open(0);
  Lease lease = Acquire(stream, seconds(1));
  const std::vector<std::string> all_shared(3, std::string(kSharedMarker));
  cluster->Down(1);
  stream.leases->Extend(++id, {.key = lease.key.Shared(),
                               .token = lease.token,
                               .ttl = seconds(1),
                               .retry = kTry,
                               .deadline = std::nullopt,
                               .raise_to = {},
                               .downgrade_from = lease.fence});
  Pass(milliseconds(300));
  EXPECT_EQ(stream.answers.at(id), std::nullopt);
  EXPECT_EQ(stream.lease.key, lease.key.Shared());
  EXPECT_NE(Holders("k"), all_shared);
  cluster->Up(1);
  Pass(seconds(5));
  EXPECT_EQ(Holders("k"), all_shared);
  EXPECT_FALSE(std::ranges::count(stream.events, WatchEvent::Type::kLost));
  EXPECT_EQ(GiveUp(stream, lease), Reason::kLockNotHeld) << "it is not exclusive any more";
  // Another stream adopts the share.
  lease.key = lease.key.Shared();
  EXPECT_EQ(Adopt(Open(1), lease, seconds(1)), std::nullopt);
  End(stream, StreamEnd::kClosed);
  EXPECT_EQ(Holders("k"), all_shared);
  End(*streams.back(), StreamEnd::kClosed);
  EXPECT_EQ(Holders("k"), NoHolders());
}

// The downgrade is refused, because the client has not heard of a higher fence. Nobody wants the
// exclusive lease any more, so the stream must not keep it alive.
TEST_F(Streams, ADowngradeLeavesAnAdoptionUnderWayNothingToKeep) {
  const Lease lease = Acquire(Open(0), seconds(1));
  Stream& next = Open(1);
  AdoptCommand adoption;
  adoption.key = lease.key;
  adoption.token = lease.token;
  adoption.ttl = seconds(1);
  adoption.interval = milliseconds(500);
  adoption.sequence = lease.fence.value + 1;
  const std::uint64_t adopted = ++id;
  next.leases->Adopt(adopted, adoption);
  next.leases->Extend(++id, {.key = lease.key.Shared(),
                             .token = lease.token,
                             .ttl = seconds(1),
                             .retry = kTry,
                             .deadline = std::nullopt,
                             .raise_to = {},
                             .downgrade_from = {lease.fence.value - 1}});
  Pass(milliseconds(50));
  EXPECT_EQ(next.answers.at(adopted), std::nullopt);
  EXPECT_EQ(next.answers.at(id), Reason::kLockNotHeld);
  End(*streams.front(), StreamEnd::kBroken);
  Pass(seconds(3));
  EXPECT_EQ(Holders("k"), NoHolders());
  // A later adoption is kept.
  Stream& last = Open(0);
  const Lease later = Acquire(last, seconds(1));
  EXPECT_EQ(Adopt(next, later, seconds(1)), std::nullopt);
  End(last, StreamEnd::kBroken);
  Pass(seconds(3));
  EXPECT_EQ(Holders("k"), All(later));
}

TEST_F(Streams, CloseAnswersPendingAcquisitions) {
  Stream& holder = Open(0);
  const Lease lease = Acquire(holder, seconds(20));
  Stream& waiter = Open(1);
  HoldCommand command{.acquire = Wants("k", seconds(20), RetryPolicy{}), .interval = seconds(10)};
  waiter.leases->Acquire(77, std::move(command));
  Pass(milliseconds(10));
  EXPECT_GT(waiter.queued, 0);
  End(waiter, StreamEnd::kClosed);
  EXPECT_EQ(waiter.answers.at(77), Reason::kCancelled);
  EXPECT_EQ(Holders("k"), All(lease));
}

TEST_F(Streams, CloseReleasesWhatAnAdoptionUnderWayTakesOver) {
  for (const bool holds_another : {false, true}) {
    Stream& first = Open(0);
    const Lease lease = Acquire(first, seconds(1));
    End(first, StreamEnd::kBroken);
    Stream& closed = Open(1);
    if (holds_another) {
      closed.leases->Acquire(++id, {.acquire = Wants("another", seconds(1)),
                                    .interval = milliseconds(500),
                                    .max_lifetime = {}});
      Pass(milliseconds(5));
    }
    const std::uint64_t adoption = ++id;
    closed.leases->Adopt(
        adoption,
        {.key = lease.key, .token = lease.token, .ttl = seconds(1), .interval = milliseconds(500)});
    bool done = false;
    closed.leases->End(StreamEnd::kClosed, [&] {
      done = true;
      EXPECT_TRUE(closed.answers.contains(adoption));
    });
    Pass(milliseconds(20));
    EXPECT_TRUE(done);
    EXPECT_EQ(cluster->server(0).Holder("k"), std::nullopt);
    EXPECT_EQ(closed.leases->size(), 0U);
    EXPECT_TRUE(cluster->shard(1).ListLeases().empty());
    Pass(seconds(2));
  }
}

TEST_F(Streams, CloseAnswersOperationsUnderWay) {
  Stream& stream = Open(0);
  const Lease lease = Acquire(stream, seconds(20));
  const std::uint64_t extension = ++id;
  stream.leases->Extend(extension, {.key = lease.key, .token = lease.token, .ttl = seconds(20)});
  const std::uint64_t release = ++id;
  stream.leases->Release(release, lease.key, lease.token);
  bool done = false;
  stream.leases->End(StreamEnd::kClosed, [&] {
    done = true;
    EXPECT_TRUE(stream.answers.contains(extension));
    EXPECT_TRUE(stream.answers.contains(release));
  });
  Pass(milliseconds(20));
  EXPECT_TRUE(done);
  EXPECT_EQ(stream.answers.at(release), std::nullopt);
}

// It would be retried until its TTL has passed, and a close waits for all results.
TEST_F(Streams, AnExtensionIsNotRetriedAfterTheEnd) {
  for (const auto state : {"in a round", "between rounds"}) {
    SCOPED_TRACE(state);
    Stream& stream = Open(0);
    const Lease lease = Acquire(stream, seconds(60));
    cluster->Pause(0);
    cluster->Pause(1);
    const std::uint64_t extension = ++id;
    stream.leases->Extend(extension, {.key = lease.key,
                                      .token = lease.token,
                                      .ttl = seconds(60),
                                      .retry = {.min_delay = seconds(20), .max_jitter = {}}});
    if (state == std::string("between rounds")) Pass(seconds(1));
    EXPECT_FALSE(stream.answers.contains(extension));
    bool done = false;
    stream.leases->End(StreamEnd::kClosed, [&] {
      done = true;
      EXPECT_EQ(stream.answers.at(extension), Reason::kQuorumUnavailable);
    });
    Pass(seconds(1));
    EXPECT_TRUE(done);
    cluster->Resume(0);
    cluster->Resume(1);
    Pass(seconds(70));
  }
}

// The lease would be kept although its Session is over.
TEST_F(Streams, ABrokenStreamDoesNotRetryItsExtension) {
  Stream& stream = Open(0);
  const Lease lease = Acquire(stream, seconds(10));
  cluster->Pause(0);
  cluster->Pause(1);
  stream.leases->Extend(++id, {.key = lease.key,
                               .token = lease.token,
                               .ttl = seconds(10),
                               .retry = {.min_delay = seconds(6), .max_jitter = {}}});
  Pass(seconds(1));
  EXPECT_EQ(cluster->shard(0).operations(), 2U);  // it and the watchdog
  stream.leases->Break(true);
  EXPECT_EQ(cluster->shard(0).operations(), 0U);
  EXPECT_TRUE(stream.answers.contains(id - 1));
  EXPECT_FALSE(stream.answers.contains(id));
}

// A move is accepted even if the daemon is full.
TEST_F(Streams, AnAdoptionIsNeverRefused) {
  ClusterOptions options;
  options.daemons = 2;
  options.lock.max_operations = 20;
  cluster.reset();
  SetUpCluster(options);
  const Lease lease = MustAcquire(Wants("k", seconds(5)), 0);
  const Lease busy = MustAcquire(Wants("busy", seconds(5)), 0);
  for (int i = 0; i < 20; ++i) {
    AcquireCommand waits = Wants("busy", seconds(1), {});
    waits.deadline = world.now() + seconds(4);
    cluster->shard(1).Acquire(waits, [](const AcquireResult&) {});
  }
  Pass(milliseconds(10));
  EXPECT_EQ(Adopt(Open(1), lease, seconds(5)), std::nullopt);
  AcquireCommand again = Wants("k", seconds(5));
  again.token = lease.token;
  again.extend_if_held = true;
  EXPECT_TRUE(Scenario::Acquire(again, 1).lease);
}

}  // namespace
}  // namespace redlock::sim
