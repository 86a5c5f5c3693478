// The pure parts of the core.
#include <gtest/gtest.h>

#include "server/core/nodes/quorum.h"
#include "server/core/retry_policy.h"
#include "server/core/rounds/hybrid_clock.h"
#include "server/core/statistics.h"
#include "server/core/timer_queue.h"
#include "server/core/validity.h"

namespace redlock {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Validity, IsTtlMinusElapsedMinusDrift) {
  const DriftBudget budget;  // 1% + 2 ms
  EXPECT_EQ(Drift(seconds(10), budget), milliseconds(102));
  EXPECT_EQ(Validity(seconds(10), milliseconds(50), budget), milliseconds(9848));
  EXPECT_LT(Validity(milliseconds(10), milliseconds(8), budget), Duration::zero());
}

TEST(Results, CountEachReasonByItself) {
  for (const Reason reason : kReasons) {
    Results results;
    results.Add(reason);
    std::uint64_t failed = 0;
    for (const Reason other : kReasons) failed += results.failed(other);
    EXPECT_EQ(failed, 1U) << ToString(reason);
    EXPECT_EQ(results.done(), 0U);
  }
}

TEST(Histogram, CountsADurationInTheFirstBucketWhoseBoundItDoesNotExceed) {
  Histogram histogram;
  histogram.Add(microseconds(50));  // exactly the first bound
  histogram.Add(microseconds(51));  // above it
  histogram.Add(seconds(1000));     // above all bounds
  EXPECT_EQ(histogram.counts().front(), 1U);
  EXPECT_EQ(histogram.counts()[1], 1U);
  EXPECT_EQ(histogram.counts().back(), 1U);
  EXPECT_NEAR(histogram.sum_seconds(), 1000.000101, 1e-9);
}

TEST(Histogram, EstimatesQuantilesWithinABucket) {
  Histogram histogram;
  EXPECT_FALSE(histogram.QuantileSeconds(0.5)) << "there are no durations";
  for (int i = 0; i < 98; ++i) histogram.Add(microseconds(1500));  // from 1 ms to 2 ms
  EXPECT_NEAR(histogram.QuantileSeconds(0.5).value(), 0.0015, 1e-9);
  EXPECT_NEAR(histogram.QuantileSeconds(1).value(), 0.002, 1e-9);
  const Histogram before = histogram;
  histogram.Add(microseconds(20));  // below the first bound
  histogram.Add(seconds(1000));     // above the last one
  EXPECT_NEAR(histogram.QuantileSeconds(0.01).value(), 0.00005, 1e-9);
  EXPECT_NEAR(histogram.QuantileSeconds(0.5).value(), 0.0015, 1e-9);
  EXPECT_EQ(histogram.QuantileSeconds(1), 10) << "at least as long";
  const Histogram since = histogram.Since(before);
  EXPECT_EQ(since.count(), 2U);
  EXPECT_EQ(since.counts().front(), 1U);
  EXPECT_NEAR(since.sum_seconds(), 1000.00002, 1e-6);
}

TEST(Quorum, IsAMajority) {
  EXPECT_EQ(QuorumOf(1), 1U);
  EXPECT_EQ(QuorumOf(2), 2U);
  EXPECT_EQ(QuorumOf(3), 2U);
  EXPECT_EQ(QuorumOf(4), 3U);
  EXPECT_EQ(QuorumOf(5), 3U);
}

// Every order of votes of up to five nodes, compared with the definition.
TEST(Tally, DecidesAsSoonAsTheOutcomeIsCertain) {
  for (std::size_t nodes = 1; nodes <= 5; ++nodes) {
    const std::size_t quorum = QuorumOf(nodes);
    for (std::size_t granted = 0; granted <= nodes; ++granted) {
      for (std::size_t denied = 0; granted + denied <= nodes; ++denied) {
        for (std::size_t failed = 0; granted + denied + failed <= nodes; ++failed) {
          Tally tally(nodes);
          for (std::size_t i = 0; i < granted; ++i) tally.Grant();
          for (std::size_t i = 0; i < denied; ++i) tally.Deny();
          for (std::size_t i = 0; i < failed; ++i) tally.Fail();
          const std::size_t out = nodes - granted - denied - failed;
          if (granted >= quorum) {
            EXPECT_EQ(tally.verdict(), Verdict::kReached);
          } else if (nodes - denied < quorum) {
            EXPECT_EQ(tally.verdict(), Verdict::kDenied);
          } else if (granted + out >= quorum || nodes - (denied + out) < quorum) {
            EXPECT_EQ(tally.verdict(), Verdict::kPending);
          } else {
            EXPECT_EQ(tally.verdict(), Verdict::kUnreachable);
          }
        }
      }
    }
  }
}

TEST(HybridClock, FollowsTheWallClockAndNeverGoesBack) {
  HybridClock fences;
  const WallTime noon(std::chrono::hours(24 * 365 * 55));
  const FencingToken first = fences.Next(noon);
  EXPECT_EQ(first.value, std::chrono::duration_cast<microseconds>(noon.time_since_epoch()).count());
  EXPECT_EQ(fences.Next(noon).value, first.value + 1);
  EXPECT_EQ(fences.Next(noon - seconds(100)).value, first.value + 2);  // the clock stepped back
  fences.Saw({first.value + 1'000});
  EXPECT_EQ(fences.Next(noon).value, first.value + 1'001);
  EXPECT_EQ(fences.Next(noon + seconds(1)).value, first.value + 1'000'000);
}

TEST(HybridClock, NeverExceedsWhatLuaRepresentsExactly) {
  HybridClock fences;
  fences.Saw({~std::uint64_t{0}});
  EXPECT_EQ(fences.Next(WallTime{}), kMaxFencingToken);
}

class FixedRandom final : public Random {
 public:
  [[nodiscard]] Duration UpTo(Duration bound) override { return bound; }
  [[nodiscard]] std::uint64_t Bits() override { return 4; }
};

TEST(RetryPolicy, AddsJitterAndNeverRetriesWithoutDelay) {
  FixedRandom random;
  const RetryPolicy policy{
      .max_retries = 2, .min_delay = milliseconds(5), .max_jitter = milliseconds(10)};
  EXPECT_EQ(NextRetryDelay(policy, random), milliseconds(15));
  EXPECT_EQ(NextRetryDelay({.max_jitter = {}}, random), kMinRetryDelay);
}

TEST(TimerQueue, FiresInOrderAndSkipsCancelledTimers) {
  TimerQueue timers;
  std::string fired;
  const MonotonicTime start;
  const auto add = [&](int at, char name) {
    return timers.Add(start + seconds(at), [&fired, name] { fired += name; });
  };
  TimerHandle a = add(2, 'a');
  TimerHandle b = add(1, 'b');
  TimerHandle c = add(2, 'c');
  TimerHandle d = add(1, 'd');
  d.Cancel();
  a = add(3, 'e');  // assigning to a handle cancels its previous timer
  while (auto callback = timers.TakeDue(start + seconds(5))) (*callback)();
  EXPECT_EQ(fired, "bce");
  EXPECT_EQ(timers.size(), 0U);
  EXPECT_FALSE(timers.Next());
}

}  // namespace
}  // namespace redlock
