// Tests of waiting: order, wake-ups, hand-over, contenders, and the cost for the nodes.
#include <algorithm>

#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

class Waiting : public Scenario {
 protected:
  // Starts to wait, without a limit unless the policy has one.
  std::shared_ptr<Waiter> Wait(const std::string& key, Duration ttl, std::size_t daemon = 0,
                               RetryPolicy retry = {}) {
    return Start(Wants(key, ttl, retry), daemon);
  }
  void ReleaseNow(const Lease& lease, std::size_t daemon = 0) {
    cluster->shard(daemon).Release(lease.key, lease.token, [](const auto&) {});
  }
  std::size_t Requests(std::size_t daemon = 0) {
    std::size_t requests = 0;
    for (std::size_t node = 0; node < cluster->nodes(); ++node) {
      requests += cluster->link(daemon, node).requests();
    }
    return requests;
  }

  // Workers contend for the key through `daemons` daemons until `end`; each holds it for `hold` and
  // comes again.
  void Fight(std::size_t workers, std::size_t daemons, Duration hold, Duration pause,
             MonotonicTime end) {
    counts.assign(workers, 0);
    for (std::size_t i = 0; i < workers; ++i) FightOn(i, i % daemons, hold, pause, end);
  }
  void FightOn(std::size_t worker, std::size_t daemon, Duration hold, Duration pause,
               MonotonicTime end) {
    if (world.now() >= end) return;
    cluster->shard(daemon).Acquire(
        Wants("k", seconds(2), {}), [=, this](const AcquireResult& result) {
          ASSERT_TRUE(result.lease);
          EXPECT_FALSE(std::exchange(held, true)) << "two holders at the same time";
          EXPECT_GT(result.lease->fence, last_fence);
          last_fence = result.lease->fence;
          ++counts[worker];
          world.Do(hold, [=, this, lease = *result.lease] {
            held = false;
            cluster->shard(daemon).Release(lease.key, lease.token, [=, this](const auto&) {
              world.Do(pause, [=, this] { FightOn(worker, daemon, hold, pause, end); });
            });
          });
        });
  }
  std::size_t Total() const {
    std::size_t total = 0;
    for (const std::size_t count : counts) total += count;
    return total;
  }

  std::vector<std::size_t> counts;
  bool held = false;
  FencingToken last_fence;
};

// After an outage, the head tries again after the pause that its policy asks for.
TEST_F(Waiting, ALongPauseOfTheHeadDoesNotKeepOthersWaiting) {
  for (const bool joins_first : {false, true}) {
    SetUpCluster();
    cluster->Down(0);
    cluster->Down(1);
    Pass(milliseconds(5));
    const RetryPolicy hourly{.min_delay = seconds(3'600), .max_jitter = {}};
    const auto slow = Wait("k", seconds(1), 0, hourly);
    if (!joins_first) Pass(milliseconds(500));
    const auto next = Wait("k", seconds(1));
    Pass(milliseconds(500));
    cluster->Up(0);
    cluster->Up(1);
    Pass(seconds(10));
    EXPECT_TRUE(Has(slow));
    EXPECT_TRUE(Has(next));
    Pass(seconds(10));
  }
}

TEST_F(Waiting, FirstComeFirstServed) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(20)));
  std::vector<std::shared_ptr<Waiter>> waiters;
  for (int i = 0; i < 5; ++i) {
    waiters.push_back(Wait("k", seconds(20)));
    Pass(milliseconds(1));
  }
  ReleaseNow(holder);
  for (const auto& waiter : waiters) {
    Pass(milliseconds(1));
    ASSERT_TRUE(Has(waiter));
    ReleaseNow(*waiter->result->lease);
  }
}

TEST_F(Waiting, AHandOverTakesOneRoundTripAndRaisesTheFence) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(20)));
  const auto next = Wait("k", seconds(5));
  Pass(milliseconds(10));
  std::optional<ReleaseResult> released;
  const MonotonicTime start = world.now();
  cluster->shard(0).Release(holder.key, holder.token,
                            [&](ReleaseResult result) { released = std::move(result); });
  Pass(microseconds(200));  // 0.1 ms in each direction
  ASSERT_TRUE(Has(next));
  EXPECT_EQ(next->at - start, microseconds(200));
  EXPECT_GT(next->result->lease->fence, holder.fence);
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, next->result->lease->token.str()));
  ASSERT_TRUE(released);
  EXPECT_FALSE(released->error);
  EXPECT_EQ(cluster->shard(0).operations(), 0U);  // with the last vote, nothing is left to do
}

TEST_F(Waiting, AHandOverWithoutAQuorumFallsBackToARelease) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(20)));
  const auto next = Wait("k", seconds(5));
  Pass(milliseconds(10));
  cluster->Pause(1);
  cluster->Down(2);
  std::optional<ReleaseResult> released;
  cluster->shard(0).Release(holder.key, holder.token,
                            [&](ReleaseResult result) { released = std::move(result); });
  Pass(milliseconds(60));
  ASSERT_TRUE(released);
  ASSERT_TRUE(released->error);
  EXPECT_EQ(released->error->reason, Reason::kQuorumUnavailable);
  EXPECT_FALSE(Has(next));
  cluster->Resume(1);
  cluster->Up(2);
  Pass(seconds(1));
  ASSERT_TRUE(Has(next));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, next->result->lease->token.str()));
}

TEST_F(Waiting, AHandOverWithAClockThatIsBehindTakesOneMoreRound) {
  ClusterOptions options;
  options.daemons = 2;
  options.most_wall_skew = seconds(30);
  SetUpCluster(options);
  for (std::size_t holder = 0; holder < 2; ++holder) {  // the clock of one of the two is ahead
    const Lease lease = MustAcquire(Wants("k", seconds(20)), holder);
    const auto next = Wait("k", seconds(5), 1 - holder);
    Pass(milliseconds(10));
    ReleaseNow(lease, 1 - holder);  // at the waiter's daemon; the other one acquired the lock
    Pass(milliseconds(1));
    ASSERT_TRUE(Has(next));
    EXPECT_GT(next->result->lease->fence, lease.fence);
    ReleaseNow(*next->result->lease);
    Pass(milliseconds(1));
  }
}

TEST_F(Waiting, AReleaseByANonHolderHandsNothingOver) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(2)));
  const auto next = Wait("k", seconds(5));
  Pass(milliseconds(10));
  EXPECT_EQ(Release("k", "wrong").error->reason, Reason::kLockNotHeld);
  EXPECT_FALSE(Has(next));
  EXPECT_EQ(Holders("k"), std::vector<std::string>(3, holder.token.str()));
  Pass(seconds(3));
  EXPECT_TRUE(Has(next));  // continues to wait
}

TEST_F(Waiting, IfTheFirstWaiterLeavesDuringAHandOverTheNextGetsTheLock) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(20)));
  const auto first = Wait("k", seconds(20));
  const auto second = Wait("k", seconds(20));
  Pass(milliseconds(10));
  ReleaseNow(holder);
  Pass(microseconds(50));
  first->operation->Cancel(Reason::kCancelled);
  Pass(milliseconds(3));
  EXPECT_FALSE(Has(first));
  EXPECT_TRUE(Has(second));
}

TEST_F(Waiting, AWaiterAcquiresAtOnceWhenADeadHoldersLockExpires) {
  SetUpCluster();
  MustAcquire(Wants("k", seconds(3)));
  const MonotonicTime start = world.now();
  const auto next = Wait("k", seconds(1));
  Pass(seconds(4));
  ASSERT_TRUE(Has(next));
  EXPECT_GE(next->at - start, milliseconds(2990));
  EXPECT_LE(next->at - start, milliseconds(3010));
}

TEST_F(Waiting, AReleaseAtAnotherDaemonWakesTheWaiter) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const Lease holder = MustAcquire(Wants("k", seconds(20)), 0);
  const auto next = Wait("k", seconds(5), 1);
  Pass(milliseconds(100));
  const MonotonicTime start = world.now();
  ReleaseNow(holder, 0);
  Pass(milliseconds(2));
  ASSERT_TRUE(Has(next));
  EXPECT_LT(next->at - start, microseconds(500));  // the announcement, then one round
}

// A daemon ignores the announcements of its own releases. Nodes that released nothing announce
// nothing, so the next announcement is of somebody else's release.
TEST_F(Waiting, AReleaseOfNothingDoesNotHideTheNextRelease) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const Lease holder = MustAcquire(Wants("k", seconds(20)), 0);
  const auto next = Wait("k", seconds(5), 1);
  Pass(milliseconds(100));
  Lease ended = holder;
  ended.token = OwnerToken("a token that holds nothing");
  ended.keeper = Keeper{};
  cluster->shard(1).ReleaseAtEndOf(ended, false, [](const auto&) {});
  Pass(milliseconds(100));
  const MonotonicTime start = world.now();
  ReleaseNow(holder, 0);
  Pass(milliseconds(5));
  ASSERT_TRUE(Has(next));
  EXPECT_LT(next->at - start, milliseconds(1));
}

TEST_F(Waiting, AProbeDetectsAReleaseWhoseAnnouncementWasMissed) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  const Lease holder = MustAcquire(Wants("k", seconds(20)), 0);
  const auto next = Wait("k", seconds(5), 1);
  Pass(milliseconds(100));
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).Break(true);
  ReleaseNow(holder, 0);
  Pass(milliseconds(10));
  EXPECT_FALSE(Has(next));
  for (std::size_t node = 0; node < 3; ++node) cluster->link(1, node).ComeUp();
  Pass(milliseconds(600));
  EXPECT_TRUE(Has(next));
}

TEST_F(Waiting, AForeignReleaseIsDetected) {
  SetUpCluster();
  for (std::size_t node = 0; node < 3; ++node) {
    ASSERT_TRUE(cluster->server(node).SetNx("k", "stranger", seconds(60)));
  }
  const auto next = Wait("k", seconds(5));
  Pass(seconds(2));
  EXPECT_FALSE(Has(next));
  for (std::size_t node = 0; node < 3; ++node) {
    (void)cluster->server(node).Release("k", "stranger", std::nullopt, {}, false);
  }
  Pass(milliseconds(510));
  EXPECT_TRUE(Has(next));
}

TEST_F(Waiting, AThousandWaitersCostTheNodesNoMoreThanOne) {
  SetUpCluster();
  MustAcquire(Wants("k", seconds(25)));
  std::vector<std::shared_ptr<Waiter>> waiters;
  for (int i = 0; i < 1000; ++i) waiters.push_back(Wait("k", seconds(1)));
  Pass(milliseconds(100));
  const std::size_t before = Requests();
  Pass(seconds(10));
  EXPECT_LT(Requests() - before, 100U);  // 10 commands a second
  EXPECT_EQ(cluster->shard(0).waiters(Key("k")), 1000U);
  for (const auto& waiter : waiters) waiter->operation->Cancel(Reason::kCancelled);
  EXPECT_EQ(cluster->shard(0).waiters(Key("k")), 0U);
}

// Each key is probed as often as one alone would be, until the probes of all keys reach their
// limit.
TEST_F(Waiting, ProbesOfManyKeysAreLimitedTogether) {
  SetUpCluster();
  constexpr std::size_t kKeys = 10'000;
  constexpr seconds kFor{10};
  std::vector<std::shared_ptr<Waiter>> waiters;
  for (std::size_t i = 0; i < kKeys; ++i) {
    const std::string key = "k" + std::to_string(i);
    for (std::size_t node = 0; node < 3; ++node) {
      ASSERT_TRUE(cluster->server(node).SetNx(key, "stranger", seconds(60)));
    }
    waiters.push_back(Wait(key, seconds(5)));
  }
  Pass(seconds(10));  // until each has tried, and has been probed
  const std::size_t before = Requests();
  Pass(kFor);
  const std::size_t requests = Requests() - before;
  EXPECT_LE(requests, ProbePace::kMostProbesPerSecond * kFor.count() + kKeys);
  EXPECT_GE(requests, kKeys);  // none is forgotten
  const auto release = [this](const std::string& key) {
    for (std::size_t node = 0; node < 3; ++node) {
      (void)cluster->server(node).Release(key, "stranger", std::nullopt, {}, false);
    }
  };
  release("k1");
  Pass(seconds(5));
  EXPECT_TRUE(Has(waiters[1]));
  for (const auto& waiter : waiters) waiter->operation->Cancel(Reason::kCancelled);
  for (std::size_t i = 0; i < kKeys; ++i) release("k" + std::to_string(i));
  Pass(seconds(5));  // until k1 has expired
}

TEST_F(Waiting, CancelledAndExpiredWaitersLeaveAtOnce) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(20)));
  const auto first = Wait("k", seconds(5));
  const auto second =
      Wait("k", seconds(5), 0, {.max_retries = 2, .min_delay = milliseconds(50), .max_jitter = {}});
  const auto third = Wait("k", seconds(5));
  Pass(milliseconds(10));
  EXPECT_EQ(cluster->shard(0).waiters(Key("k")), 3U);
  first->operation->Cancel(Reason::kCancelled);
  EXPECT_EQ(cluster->shard(0).waiters(Key("k")), 2U);
  Pass(milliseconds(150));
  ASSERT_TRUE(second->result);
  EXPECT_EQ(second->result->error.reason, Reason::kMaxRetriesExceeded);
  EXPECT_EQ(cluster->shard(0).waiters(Key("k")), 1U);
  ReleaseNow(holder);
  Pass(milliseconds(1));
  EXPECT_TRUE(Has(third));
}

TEST_F(Waiting, ASingleTryDoesNotOvertakeWaiters) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(20)));
  const auto waiter = Wait("k", seconds(5));
  Pass(milliseconds(10));
  const AcquireResult tried = Acquire(Wants("k", seconds(1), kTry));
  EXPECT_EQ(tried.error.reason, Reason::kLockAlreadyHeld);
  EXPECT_GT(tried.error.retry_after, seconds(15));
  ReleaseNow(holder);
  Pass(milliseconds(1));
  EXPECT_TRUE(Has(waiter));
}

TEST_F(Waiting, TheLimitPerKeyRefusesFurtherWaiters) {
  ClusterOptions options;
  options.lock.max_waiters_per_key = 1;
  SetUpCluster(options);
  MustAcquire(Wants("k", seconds(20)));
  const auto waiter = Wait("k", seconds(5));
  Pass(milliseconds(10));
  EXPECT_EQ(Acquire(Wants("k", seconds(1), {})).error.reason, Reason::kOverloaded);
  waiter->operation->Cancel(Reason::kCancelled);
}

// For every reason of a refusal, `done` is called once, and never inside the call that started the
// acquisition.
TEST_F(Waiting, ARefusalIsReportedAfterTheCallReturns) {
  ClusterOptions options;
  options.lock.max_waiters_per_key = 1;
  SetUpCluster(options);
  MustAcquire(Wants("k", seconds(20)));
  const auto refused_with = [this](const AcquireCommand& command) {
    std::vector<Reason> reasons;
    (void)cluster->shard(0).Acquire(command, [&reasons](const AcquireResult& result) {
      reasons.push_back(result.error.reason);
    });
    EXPECT_TRUE(reasons.empty());
    Pass(milliseconds(100));
    return reasons;
  };
  (void)cluster->shard(0).Acquire(Wants("k", seconds(1), {}), [](const AcquireResult&) {});
  Pass(milliseconds(10));
  EXPECT_EQ(refused_with(Wants("k", seconds(1), {})), std::vector{Reason::kOverloaded});
  EXPECT_EQ(refused_with(Wants("k", seconds(1))), std::vector{Reason::kLockAlreadyHeld});
  cluster->shard(0).Drain();
  EXPECT_EQ(refused_with(Wants("x", seconds(1))), std::vector{Reason::kDraining});
}

TEST_F(Waiting, QueuePositionsAreReported) {
  SetUpCluster();
  const Lease holder = MustAcquire(Wants("k", seconds(20)));
  const auto first = Wait("k", seconds(20));
  const auto second = Wait("k", seconds(20));
  const auto third = Wait("k", seconds(20));
  Pass(milliseconds(10));
  EXPECT_EQ(third->positions, (std::vector<std::size_t>{2}));
  ReleaseNow(holder);
  Pass(seconds(2));
  EXPECT_EQ(second->positions, (std::vector<std::size_t>{1, 0}));
  EXPECT_EQ(third->positions, (std::vector<std::size_t>{2, 1}));
  second->operation->Cancel(Reason::kCancelled);
  third->operation->Cancel(Reason::kCancelled);
}

TEST_F(Waiting, SubscriptionsExistOnlyWhileThereAreWaiters) {
  SetUpCluster();
  MustAcquire(Wants("k", seconds(20)));
  EXPECT_EQ(cluster->server(0).listeners(), 0U);
  const auto waiter = Wait("k", seconds(5));
  Pass(milliseconds(10));
  EXPECT_EQ(cluster->server(0).listeners(), 1U);
  waiter->operation->Cancel(Reason::kCancelled);
  Pass(seconds(2));
  EXPECT_EQ(cluster->server(0).listeners(), 0U);
}

TEST_F(Waiting, OneDaemonIsFair) {
  SetUpCluster();
  Fight(16, 1, milliseconds(1), {}, world.now() + seconds(5));
  Pass(seconds(6));
  const auto [idlest, busiest] = std::minmax_element(counts.begin(), counts.end());
  EXPECT_LE(*busiest - *idlest, 1U);
  EXPECT_GT(Total(), 4000U);  // 1.2 ms each: the hold and the hand-over
}

TEST_F(Waiting, TwoDaemonsShareTheKey) {
  ClusterOptions options;
  options.daemons = 2;
  SetUpCluster(options);
  Fight(8, 2, milliseconds(1), {}, world.now() + seconds(10));
  Pass(seconds(12));
  std::size_t first = 0;
  for (std::size_t i = 0; i < counts.size(); i += 2) first += counts[i];
  EXPECT_GT(first, Total() / 3);
  EXPECT_LT(first, Total() * 2 / 3);
  EXPECT_GT(Total(), 6000U);
}

TEST_F(Waiting, EightContendingDaemonsDoNotLivelock) {
  ClusterOptions options;
  options.daemons = 8;
  SetUpCluster(options, microseconds(400));
  Fight(8, 8, milliseconds(1), {}, world.now() + seconds(10));
  Pass(seconds(14));
  EXPECT_GT(Total(), 1500U);
  for (const std::size_t count : counts) EXPECT_GT(count, 20U);
}

// The head's last try cancelled the timer that would have woken it. The next one still wakes.
TEST_F(Waiting, TheNextOneWakesAfterTheHeadHasUsedUpItsRetries) {
  SetUpCluster();
  for (const bool several : {false, true}) {
    const std::string key = several ? Key::Of({"a", "b"}).str() : "k";
    (void)MustAcquire(Wants(key, seconds(2)));  // and forgets it
    const auto head = Start(Wants(
        key, seconds(5), {.max_retries = 2, .min_delay = milliseconds(300), .max_jitter = {}}));
    const auto next = Start(Wants(key, seconds(5), {}));
    Pass(milliseconds(1'900));
    ASSERT_TRUE(head->result && !head->result->lease);
    EXPECT_FALSE(next->result);
    Pass(milliseconds(200));
    ASSERT_TRUE(Has(next)) << several;
    (void)Release(key, next->result->lease->token.str());
  }
}

}  // namespace
}  // namespace redlock::sim
