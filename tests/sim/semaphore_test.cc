// Tests of semaphores: how many hold one, slots, fences, limits, queues, extension.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "tests/sim/listeners.h"
#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

class Semaphores : public Scenario {
 protected:
  void SetUp() override {
    ClusterOptions options;
    options.daemons = 2;
    SetUpCluster(options);
  }
  static AcquireCommand WantsSlot(int limit, Duration ttl = seconds(20), RetryPolicy retry = kTry) {
    return Wants(Key("k").Slot(limit, 0).str(), ttl, retry);
  }
  Lease Slot(int limit, std::size_t daemon = 0) { return MustAcquire(WantsSlot(limit), daemon); }
  Error Refused(const AcquireCommand& command, std::size_t daemon = 0) {
    const AcquireResult result = Acquire(command, daemon);
    EXPECT_FALSE(result.lease);
    return result.error;
  }
  // As a Session does, which knows the slot.
  ReleaseResult ReleaseLease(const Lease& lease, std::size_t daemon = 0) {
    return Release(lease.key.str(), lease.token.str(), daemon);
  }
  ExtendResult ExtendLease(const Lease& lease, Duration ttl = seconds(20)) {
    return Extend(lease.key.str(), lease.token.str(), ttl);
  }
  static std::set<int> SlotsOf(const std::vector<Lease>& leases) {
    std::set<int> slots;
    for (const Lease& lease : leases) slots.insert(lease.key.slot());
    return slots;
  }
  static std::vector<std::string> AllMarked(int limit) {
    return std::vector<std::string>(3, SemaphoreMarker(limit));
  }
  InspectResult Inspect() {
    std::optional<InspectResult> answer;
    cluster->shard(0).Inspect(Key("k"), [&](InspectResult result) { answer = std::move(result); });
    Pass(milliseconds(5));
    EXPECT_TRUE(answer);
    return answer.value_or(InspectResult{});
  }

  // Holders that come and go at a daemon for a while.
  void KeepHolding(int limit, std::size_t daemon, MonotonicTime end) {
    if (world.now() >= end) return;
    cluster->shard(daemon).Acquire(
        WantsSlot(limit, seconds(5), {}), [=, this](const AcquireResult& result) {
          if (!result.lease) {
            ++refused;
            return;
          }
          const int held = ++holding[limit];
          most = std::max(most, held);
          EXPECT_LE(held, limit);
          EXPECT_TRUE(slots.insert(result.lease->key.slot()).second);
          ++granted;
          world.Do(milliseconds(1 + world.Below(20)), [=, this, lease = *result.lease] {
            --holding[limit];
            slots.erase(lease.key.slot());
            cluster->shard(daemon).Release(lease.key, lease.token, [](const auto&) {});
            KeepHolding(limit, daemon, end);
          });
        });
  }
  std::map<int, int> holding;  // by limit
  std::set<int> slots;
  int most = 0;
  int granted = 0;
  int refused = 0;
};

TEST(SemaphoreKeys, DifferInLimitAndSlot) {
  const Key any = Key("k").Slot(5, 0);
  const Key third = Key("k").Slot(5, 3);
  EXPECT_NE(any, third);
  EXPECT_EQ(third.AnySlot(), any);
  EXPECT_NE(any, Key("k").Slot(6, 0));
  EXPECT_EQ(third.limit(), 5);
  EXPECT_EQ(third.slot(), 3);
  EXPECT_EQ(third.Exclusive(), Key("k"));
  EXPECT_EQ(third.Shared(), Key("k").Shared());
  EXPECT_EQ(third.InWords(), "k");
  EXPECT_FALSE(Key("k").IsSemaphore());
  EXPECT_EQ(Key("k").AnySlot(), Key("k"));
  EXPECT_EQ(LimitIn(SemaphoreMarker(64)), 64);
  for (const std::string other : {"token", "redlockd:shared", "redlockd:sem:", "redlockd:sem:1",
                                  "redlockd:sem:65", "redlockd:sem:5x"}) {
    EXPECT_EQ(LimitIn(other), 0) << other;
  }
}

TEST_F(Semaphores, AsManyHoldItAsTheLimitAllows) {
  std::vector<Lease> leases;
  for (int i = 0; i < 5; ++i) leases.push_back(Slot(5, world.Below(2)));
  EXPECT_EQ(SlotsOf(leases), (std::set<int>{1, 2, 3, 4, 5}));
  EXPECT_EQ(Holders("k"), AllMarked(5));
  const Error full = Refused(WantsSlot(5));
  EXPECT_EQ(full.reason, Reason::kLockAlreadyHeld);
  EXPECT_EQ(full.message, "all 5 slots are taken");
  EXPECT_EQ(full.holders, 5);
  EXPECT_FALSE(cluster->server(0).SetNx("k", "stranger", seconds(20)));
  EXPECT_EQ(ReleaseLease(leases[2]).error, std::nullopt);
  EXPECT_EQ(ReleaseLease(leases[2]).error->reason, Reason::kLockNotHeld);
  const Lease next = Slot(5, 1);
  EXPECT_EQ(next.key.slot(), leases[2].key.slot());
  EXPECT_GT(next.fence, leases[2].fence);
  leases[2] = next;
  for (const Lease& lease : leases) {
    EXPECT_EQ(Release("k", lease.token.str()).error, std::nullopt);  // names no slot
  }
  EXPECT_EQ(Holders("k"), NoHolders());
}

// Whoever has only the token need not know the slot.
TEST_F(Semaphores, AnExtensionFindsTheSlotOfTheToken) {
  const Lease lease = Slot(3);
  const std::string any = Key("k").Slot(3, 0).str();
  const std::string token = lease.token.str();
  for (int node = 0; node < 3; ++node) {
    // What a late request of an attempt that was rolled back leaves behind.
    cluster->server(static_cast<std::size_t>(node)).Evict("k");
    const int other = lease.key.slot() % 3 + 1;
    const FencingToken fence{lease.fence.value + 1};
    ASSERT_EQ(
        cluster->server(static_cast<std::size_t>(node))
            .Acquire(Key("k").Slot(3, other).str(), token, milliseconds(300), fence, {7}, {}, false)
            .outcome,
        Outcome::kGranted);
    for (int i = 0; i < 10; ++i) {
      const ExtendResult result = Extend(any, token, milliseconds(400), world.Below(2));
      ASSERT_TRUE(result.lease);
      EXPECT_EQ(result.lease->key, lease.key);
    }
    cluster->server(static_cast<std::size_t>(node)).Evict("k");  // it is healed
    ASSERT_TRUE(ExtendLease(lease).lease);
    Pass(milliseconds(5));
  }
  (void)ReleaseLease(lease);
  EXPECT_EQ(Extend(any, token, seconds(20)).error.reason, Reason::kLockNotHeld);
}

// What libraries do that count the holders on each node: three holders have two votes each.
TEST(NaiveSemaphore, ExceedsItsLimitWhereSlotsDoNot) {
  constexpr std::size_t kLimit = 2;
  std::array<std::set<std::string>, 3> nodes;
  const auto ask = [&](std::size_t node, const std::string& token) {
    if (nodes.at(node).size() >= kLimit) return false;
    nodes.at(node).insert(token);
    return true;
  };
  int holders = 0;
  for (const auto& [token, one, other] :
       {std::tuple{"a", 0U, 1U}, std::tuple{"b", 1U, 2U}, std::tuple{"c", 2U, 0U}}) {
    if (ask(one, token) && ask(other, token)) ++holders;
  }
  EXPECT_EQ(holders, 3);

  World world{1};
  std::vector<Server> servers(3, Server(world, 1.0));
  const auto acquire = [&](std::size_t node, const std::string& token, int slot, int fence) {
    return servers[node]
               .Acquire(Key("k").Slot(kLimit, slot).str(), token, seconds(20),
                        FencingToken{static_cast<std::uint64_t>(fence)},
                        {static_cast<std::uint64_t>(fence)}, {}, false)
               .outcome == Outcome::kGranted;
  };
  EXPECT_TRUE(acquire(0, "a", 1, 1) && acquire(1, "a", 1, 1));
  EXPECT_TRUE(acquire(1, "b", 2, 2) && acquire(2, "b", 2, 2));
  for (const int slot : {1, 2}) {
    EXPECT_FALSE(acquire(2, "c", slot, 2 + slot) && acquire(0, "c", slot, 2 + slot)) << slot;
  }
}

TEST_F(Semaphores, AreRefusedWhileTheKeyIsInUseInAnotherWay) {
  const Lease slot = Slot(3);
  for (const Key& other : {Key("k").Slot(2, 0), Key("k"), Key("k").Shared()}) {
    const Error error = Refused(Wants(other.str(), seconds(20), {}));
    EXPECT_EQ(error.reason, Reason::kKindMismatch);
    EXPECT_EQ(error.message, "\"k\" is in use as a semaphore of 3");
    EXPECT_EQ(error.in_use_as, "a semaphore of 3");
  }
  // The semaphore is reported although the other key is held for longer.
  const Lease longer = MustAcquire(Wants("long", seconds(60)));
  for (const Key& several : {Key::Of({"k", "long"}), Key::Of({"k", "long"}).Shared()}) {
    EXPECT_EQ(Refused(Wants(several.str(), seconds(20), {})).reason, Reason::kKindMismatch);
  }
  (void)ReleaseLease(longer);
  EXPECT_EQ(Extend("k", slot.token.str(), seconds(20)).error.reason, Reason::kLockNotHeld);
  const std::string wrong = Key("k").Slot(4, slot.key.slot()).str();
  EXPECT_EQ(Extend(wrong, slot.token.str(), seconds(20)).error.reason, Reason::kLockNotHeld);
  (void)ReleaseLease(slot);
  for (const Key& lock : {Key("k"), Key("k").Shared()}) {
    const Lease lease = MustAcquire(Wants(lock.str(), seconds(20)));
    const Error error = Refused(WantsSlot(2, seconds(20), {}));
    EXPECT_EQ(error.reason, Reason::kKindMismatch);
    EXPECT_EQ(error.in_use_as, "a lock");
    (void)ReleaseLease(lease);
  }
}

// One node alone does not make the others refuse: it may be all that is left of an earlier use.
TEST_F(Semaphores, AMinorityThatIsUsedInAnotherWayDoesNotRefuse) {
  ASSERT_TRUE(cluster->server(0).SetNx("k", "stranger", milliseconds(500)));
  const Lease slot = Slot(2);
  (void)ReleaseLease(slot);
  Pass(seconds(1));
}

TEST_F(Semaphores, FencesGrowFromSlotToLockAndBack) {
  const Lease lock = MustAcquire(Wants("k", seconds(20)));
  (void)ReleaseLease(lock);
  std::vector<Lease> leases;
  for (int i = 0; i < 4; ++i) {
    leases.push_back(Slot(4, static_cast<std::size_t>(i % 2)));
    EXPECT_GT(leases.back().fence, lock.fence);
  }
  FencingToken highest;
  for (const Lease& lease : leases) {
    highest = std::max(highest, lease.fence);
    (void)ReleaseLease(lease);
  }
  const Lease after = MustAcquire(Wants("k", seconds(20)));
  EXPECT_GT(after.fence, highest);
  (void)ReleaseLease(after);
}

TEST_F(Semaphores, EachSlotExpiresByItselfAndTheKeyWithTheLast) {
  const Lease shorter = MustAcquire(WantsSlot(2, milliseconds(200)));
  const Lease longer = MustAcquire(WantsSlot(2, milliseconds(600)));
  Pass(milliseconds(300));
  const Lease next = MustAcquire(WantsSlot(2, milliseconds(100)));
  EXPECT_EQ(next.key.slot(), shorter.key.slot());
  Pass(milliseconds(150));
  EXPECT_TRUE(ExtendLease(longer, milliseconds(400)).lease);
  EXPECT_EQ(ExtendLease(shorter).error.reason, Reason::kLockNotHeld);
  Pass(milliseconds(350));
  EXPECT_EQ(Holders("k"), AllMarked(2));
  Pass(milliseconds(100));
  EXPECT_EQ(Holders("k"), NoHolders());
}

// The TTL of the one that is released does not keep the key.
TEST_F(Semaphores, AReleaseLeavesTheKeyUntilTheLastOfTheOthersExpires) {
  const Lease longest = Slot(3);
  (void)MustAcquire(WantsSlot(3, milliseconds(300)));
  (void)ReleaseLease(longest);
  EXPECT_EQ(Holders("k"), AllMarked(3));
  Pass(milliseconds(400));
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Semaphores, AnExtensionCountsOnlyNodesWithThisSlot) {
  const Lease lease = Slot(3);
  const std::string token = lease.token.str();
  const std::string other = Key("k").Slot(3, lease.key.slot() % 3 + 1).str();
  EXPECT_EQ(Extend(other, token, seconds(20)).error.reason, Reason::kLockNotHeld);
  // What a late request of an attempt that was rolled back leaves behind.
  cluster->server(0).Evict("k");
  ASSERT_EQ(cluster->server(0)
                .Acquire(other, token, seconds(20), {lease.fence.value + 1}, {7}, {}, false)
                .outcome,
            Outcome::kGranted);
  cluster->Down(1);
  EXPECT_FALSE(ExtendLease(lease).lease);
  cluster->Up(1);
  EXPECT_TRUE(ExtendLease(lease).lease);
  (void)ReleaseLease(lease);
  EXPECT_EQ(Holders("k"), NoHolders());
}

TEST_F(Semaphores, ATokenHasOneSlot) {
  AcquireCommand command = WantsSlot(3);
  command.token = OwnerToken("mine");
  const Lease lease = MustAcquire(command);
  EXPECT_EQ(Refused(command).reason, Reason::kLockAlreadyHeld);
  command.extend_if_held = true;
  for (int i = 0; i < 10; ++i) {
    const Lease same = MustAcquire(command, static_cast<std::size_t>(i % 2));
    EXPECT_EQ(same.key, lease.key);
    EXPECT_EQ(same.fence, lease.fence);
  }
  (void)ReleaseLease(lease);
  EXPECT_EQ(Holders("k"), NoHolders());
}

// The clocks of the daemons differ widely, so only the nodes can keep the fences in order.
TEST_F(Semaphores, ALateCopyOfAReleaseDoesNotEndALaterHoldOfAnotherSlot) {
  ClusterOptions options;
  options.daemons = 2;
  options.most_wall_skew = seconds(30);
  SetUpCluster(options);
  AcquireCommand command = WantsSlot(8);
  command.token = OwnerToken("mine");
  for (int i = 0; i < 40; ++i) {
    for (const std::size_t daemon : {0U, 1U}) cluster->StepWallClock(daemon);
    const Lease first = MustAcquire(command);
    (void)ReleaseLease(first);
    const Lease second = MustAcquire(command, 1);
    EXPECT_GT(second.fence, first.fence);
    const FencingToken seal{first.fence.value + 1};
    for (const std::size_t node : {0U, 1U, 2U}) {
      EXPECT_EQ(cluster->server(node).Release("k", "mine", {}, seal, true).outcome,
                Outcome::kStaleFence);
    }
    EXPECT_TRUE(ExtendLease(second).lease);
    (void)ReleaseLease(second, 1);
  }
}

TEST_F(Semaphores, AnExtensionHealsANodeThatLostTheSlot) {
  const Lease lease = Slot(2);
  const Lease other = Slot(2);
  cluster->server(2).Evict("k");
  EXPECT_TRUE(ExtendLease(lease).lease);
  EXPECT_TRUE(ExtendLease(other).lease);
  Pass(milliseconds(5));
  EXPECT_EQ(Holders("k"), AllMarked(2));
  cluster->Down(0);
  EXPECT_TRUE(ExtendLease(lease).lease);
  EXPECT_TRUE(ExtendLease(other).lease);
  cluster->Up(0);
  (void)ReleaseLease(lease);
  (void)ReleaseLease(other);
}

// Slots count for nothing without the marker. They are not revived by the next one.
TEST_F(Semaphores, ANodeThatLostTheMarkerForgetsItsSlots) {
  const Lease lease = Slot(2);
  for (const std::size_t node : {0U, 1U, 2U}) cluster->server(node).Evict("k");
  const Lease one = Slot(2);
  const Lease two = Slot(2);
  EXPECT_NE(one.key, two.key);
  EXPECT_EQ(ExtendLease(lease).error.reason, Reason::kLockNotHeld);
  (void)ReleaseLease(one);
  (void)ReleaseLease(two);
}

TEST_F(Semaphores, WaitersGetSlotsInOrderFromThoseWhoReleaseThem) {
  std::vector<Lease> leases;
  for (int i = 0; i < 3; ++i) leases.push_back(Slot(3));
  std::vector<std::shared_ptr<Waiter>> waiters;
  for (int i = 0; i < 6; ++i) waiters.push_back(Start(WantsSlot(3, seconds(20), {})));
  Pass(milliseconds(50));
  EXPECT_EQ(waiters[4]->positions.back(), 4U);
  // At the same time: each of the first three takes one over, in one round.
  const MonotonicTime released = world.now();
  for (const Lease& lease : leases) {
    cluster->shard(0).Release(lease.key, lease.token, [](const auto&) {});
  }
  Pass(milliseconds(1));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Has(waiters[static_cast<std::size_t>(i)])) << i;
    EXPECT_LT(waiters[static_cast<std::size_t>(i)]->at - released, microseconds(500));
  }
  EXPECT_FALSE(waiters[3]->result);
  for (std::size_t i = 0; i < 6; ++i) {
    Pass(milliseconds(20));
    ASSERT_TRUE(Has(waiters[i])) << i;
    (void)ReleaseLease(*waiters[i]->result->lease);
  }
  Pass(milliseconds(500));
}

TEST_F(Semaphores, AWaiterAtAnotherDaemonGetsAFreeSlot) {
  const Lease one = Slot(2);
  const Lease two = Slot(2);
  const auto waiter = Start(WantsSlot(2, seconds(20), {}), 1);
  Pass(milliseconds(200));
  const MonotonicTime released = world.now();
  (void)ReleaseLease(two);
  Pass(milliseconds(50));
  ASSERT_TRUE(Has(waiter));
  EXPECT_LT(waiter->at - released, milliseconds(20));
  (void)ReleaseLease(one);
  (void)ReleaseLease(*waiter->result->lease, 1);
}

TEST_F(Semaphores, AWaiterGetsASlotThatExpires) {
  (void)MustAcquire(WantsSlot(2, milliseconds(300)));
  const Lease other = Slot(2);
  const auto waiter = Start(WantsSlot(2, seconds(20), {}));
  Pass(milliseconds(250));
  EXPECT_FALSE(waiter->result);
  Pass(milliseconds(100));
  ASSERT_TRUE(Has(waiter));
  (void)ReleaseLease(*waiter->result->lease);
  (void)ReleaseLease(other);
}

TEST_F(Semaphores, AllSlotsAreInUseWhileManyWait) {
  const MonotonicTime end = world.now() + seconds(3);
  for (std::size_t worker = 0; worker < 30; ++worker) KeepHolding(4, worker % 2, end);
  world.RunUntil(end + seconds(3));
  EXPECT_EQ(most, 4);
  EXPECT_EQ(refused, 0);
  // Each holds it for 10 ms on average.
  EXPECT_GT(granted, 600);
}

// Some still have the old limit while others come with a new one, larger or smaller.
TEST_F(Semaphores, TheLimitChangesOnceNobodyUsesTheOldOne) {
  for (const auto& [before, after] : {std::pair{3, 5}, std::pair{5, 2}}) {
    const MonotonicTime half = world.now() + seconds(1);
    for (std::size_t worker = 0; worker < 8; ++worker) KeepHolding(before, worker % 2, half);
    Pass(milliseconds(100));
    for (int i = 0; i < 20; ++i) {
      Pass(milliseconds(20));
      EXPECT_EQ(Refused(WantsSlot(after), world.Below(2)).reason, Reason::kKindMismatch);
    }
    world.RunUntil(half + milliseconds(500));
    const int granted_before = std::exchange(granted, 0);
    const MonotonicTime end = world.now() + seconds(1);
    for (std::size_t worker = 0; worker < 8; ++worker) KeepHolding(after, worker % 2, end);
    world.RunUntil(end + milliseconds(500));
    EXPECT_GT(granted_before, 50);
    EXPECT_GT(granted, 50);
  }
  EXPECT_EQ(refused, 0);
}

TEST_F(Semaphores, AreShownWithLimitAndHolders) {
  AcquireCommand command = WantsSlot(4);
  command.owner.label = OwnerLabel("worker 7");
  const Lease one = MustAcquire(command);
  const Lease two = Slot(4);
  const InspectResult shown = Inspect();
  EXPECT_TRUE(shown.held);
  EXPECT_EQ(shown.limit, 4);
  EXPECT_EQ(shown.held_by.size(), 2U);
  EXPECT_EQ(std::ranges::count(shown.held_by, OwnerLabel("worker 7"),
                               [](const auto& holder) { return holder.owner.label; }),
            1);
  EXPECT_EQ(shown.fence, two.fence);
  std::optional<Error> failed;
  bool done = false;
  cluster->shard(0).ForceRelease(Key("k"), [&](const InspectResult&, std::optional<Error> error) {
    failed = std::move(error);
    done = true;
  });
  Pass(milliseconds(5));
  EXPECT_TRUE(done && !failed);
  EXPECT_EQ(Holders("k"), NoHolders());
  EXPECT_EQ(ExtendLease(one).error.reason, Reason::kLockNotHeld);
}

TEST_F(Semaphores, AHandOverLeavesTheKeyUntilTheLastSlotExpires) {
  const Lease longest = Slot(2);
  (void)MustAcquire(WantsSlot(2, milliseconds(700)));
  const auto waiter = Start(WantsSlot(2, milliseconds(500), {}));
  Pass(milliseconds(50));
  (void)ReleaseLease(longest);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(waiter));
  EXPECT_EQ(waiter->result->lease->key, longest.key);
  Pass(milliseconds(550));
  EXPECT_EQ(Holders("k"), AllMarked(2));
  Pass(milliseconds(150));
  EXPECT_EQ(Holders("k"), NoHolders());
}

// The daemon's watchdog of the first hold has not noticed yet that there is another one.
TEST_F(Semaphores, AReleaseIsHandedOverAlthoughTheTokenHasAnotherSlotThanTheDaemonKnows) {
  AcquireCommand command = WantsSlot(8);
  command.token = OwnerToken("mine");
  const Lease first = MustAcquire(command);
  const auto watchdog = cluster->shard(0).Watch({.key = first.key,
                                                 .token = first.token,
                                                 .ttl = seconds(20),
                                                 .interval = seconds(10),
                                                 .keep_watching_after_loss = false,
                                                 .max_lifetime = std::nullopt,
                                                 .held = first},
                                                ListenerOf([](const WatchEvent&) {}));
  EXPECT_EQ(Release("k", "mine", 1).error, std::nullopt);
  Lease second = MustAcquire(command, 1);
  while (second.key == first.key) {
    (void)Release("k", "mine", 1);
    second = MustAcquire(command, 1);
  }
  std::vector<Lease> others;
  for (int i = 0; i < 7; ++i) others.push_back(Slot(8));
  const auto waiter = Start(WantsSlot(8, seconds(20), {}));
  Pass(milliseconds(10));
  for (const Lease& other : others) {
    if (other.key != first.key) continue;
    for (const std::size_t node : {0U, 1U, 2U}) {
      (void)cluster->server(node).Release("k", other.token.str(), {}, {}, false, {});
    }
  }
  EXPECT_EQ(Release("k", "mine").error, std::nullopt);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(waiter));
  EXPECT_EQ(waiter->result->lease->key, first.key);
  EXPECT_EQ(Slot(8).key, second.key);
}

// One node is in use in another way, and one has slots that the others do not have.
TEST_F(Semaphores, ASlotIsFoundThatIsFreeAtAQuorum) {
  for (const bool down : {true, false}) {
    for (int i = 0; i < 20; ++i) {
      const std::string name = "k" + std::to_string(i) + (down ? "down" : "");
      if (down) {
        cluster->Down(0);
      } else {
        ASSERT_TRUE(cluster->server(0).SetNx(name, "stranger", milliseconds(500)));
      }
      ASSERT_EQ(
          cluster->server(1)
              .Acquire(Key(name).Slot(2, 1).str(), "lost", milliseconds(500), {1}, {7}, {}, false)
              .outcome,
          Outcome::kGranted);
      const Lease lease = MustAcquire(Wants(Key(name).Slot(2, 0).str(), seconds(20)));
      EXPECT_EQ(lease.key.slot(), 2);
      (void)ReleaseLease(lease);
      if (down) cluster->Up(0);
    }
  }
}

TEST_F(Semaphores, WhoWaitsForTheEndOfItsOwnHoldDoesNotHoldUpOthers) {
  AcquireCommand command = WantsSlot(3);
  command.token = OwnerToken("mine");
  const Lease lease = MustAcquire(command);
  command.retry = {};
  const auto again = Start(command);
  Pass(milliseconds(50));
  const auto rounds = [this] {
    return cluster->shard(0).statistics().nodes[0].votes[static_cast<std::size_t>(Outcome::kHeld)];
  };
  const auto before = rounds();
  const auto other = Start(WantsSlot(3, seconds(20), {}));
  Pass(seconds(2));
  EXPECT_FALSE(again->result);
  ASSERT_TRUE(Has(other));
  EXPECT_LT(rounds() - before, 10U);  // it does not ask all the time, either
  (void)ReleaseLease(lease);
  Pass(milliseconds(10));
  ASSERT_TRUE(Has(again));
  (void)ReleaseLease(*again->result->lease);
  (void)ReleaseLease(*other->result->lease);
}

// Another library's lock has taken the place of the semaphore. Nobody announces its end.
TEST_F(Semaphores, AllWhoWaitAreRefusedOnceTheKeyIsInUseInAnotherWay) {
  for (int i = 0; i < 2; ++i) (void)MustAcquire(WantsSlot(2, milliseconds(300)));
  std::vector<std::shared_ptr<Waiter>> waiters;
  for (int i = 0; i < 5; ++i) waiters.push_back(Start(WantsSlot(2, seconds(20), {})));
  Pass(milliseconds(100));
  for (const std::size_t node : {0U, 1U, 2U}) {
    cluster->server(node).Evict("k");
    ASSERT_TRUE(cluster->server(node).SetNx("k", "stranger", seconds(20)));
  }
  Pass(seconds(1));
  for (const auto& waiter : waiters) {
    ASSERT_TRUE(waiter->result);
    EXPECT_EQ(waiter->result->error.reason, Reason::kKindMismatch);
  }
}

// Two slots expire unannounced while a third one is handed over to the second in the queue.
TEST_F(Semaphores, FreeSlotsAreFoundBehindAWaiterThatTakesAnotherOver) {
  for (int i = 0; i < 60; ++i) {
    (void)MustAcquire(WantsSlot(3, milliseconds(300)));
    (void)MustAcquire(WantsSlot(3, milliseconds(300)));
    const MonotonicTime expired = world.now() + milliseconds(300);
    const Lease third = Slot(3);
    std::vector<std::shared_ptr<Waiter>> waiters;
    for (int waiter = 0; waiter < 3; ++waiter)
      waiters.push_back(Start(WantsSlot(3, seconds(20), {})));
    world.RunUntil(expired + i * microseconds(50));
    (void)ReleaseLease(third);
    Pass(milliseconds(20));
    for (const auto& waiter : waiters) ASSERT_TRUE(Has(waiter)) << i;
    for (const auto& waiter : waiters) (void)ReleaseLease(*waiter->result->lease);
  }
}

// A daemon whose clock is behind is not refused because of the fences of other slots.
TEST_F(Semaphores, TheClocksOfDaemonsNeedNotAgreeOnTheOrderOfSlots) {
  ClusterOptions options;
  options.daemons = 2;
  options.most_wall_skew = seconds(30);
  SetUpCluster(options);
  bool out_of_order = false;
  for (int i = 0; i < 20; ++i) {
    for (const std::size_t daemon : {0U, 1U}) cluster->StepWallClock(daemon);
    const Lease one = Slot(8, 0);
    const Lease two = Slot(8, 1);
    out_of_order = out_of_order || two.fence < one.fence;
    (void)ReleaseLease(one);
    (void)ReleaseLease(two, 1);
  }
  EXPECT_TRUE(out_of_order);
}

}  // namespace
}  // namespace redlock::sim
