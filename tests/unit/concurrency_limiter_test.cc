#include "server/core/rounds/concurrency_limiter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace redlock {
namespace {

using std::chrono::milliseconds;
using Priority = ConcurrencyLimiter::Priority;

class StoppedClock final : public Clock {
 public:
  [[nodiscard]] MonotonicTime Now() const override { return now; }
  [[nodiscard]] WallTime WallNow() const override { return {}; }
  MonotonicTime now{std::chrono::seconds(1)};
};

class ConcurrencyLimiterTest : public ::testing::Test {
 protected:
  void Enter(Priority priority, const std::string& name, Source source = {}) {
    permits.push_back(std::make_unique<ConcurrencyLimiter::Permit>());
    limiter.Enter(*permits.back(), priority, source, [this, name] { started.push_back(name); });
  }
  // Returns what the limiter admits while the first `count` permits leave, one after the other.
  std::vector<std::string> AdmittedWhileLeaving(std::size_t count) {
    started.clear();
    for (std::size_t i = 0; i < count; ++i) permits[i]->Leave();
    return started;
  }
  static std::size_t CountOf(const std::vector<std::string>& names, const std::string& name) {
    return static_cast<std::size_t>(std::count(names.begin(), names.end(), name));
  }

  StoppedClock clock;
  ConcurrencyLimiter limiter{clock, 1'000};  // outlives the permits
  std::vector<std::string> started;
  std::vector<std::unique_ptr<ConcurrencyLimiter::Permit>> permits;
};

TEST_F(ConcurrencyLimiterTest, AFewReadsAtATimeAndMoreWhileTheyAreQuick) {
  for (int i = 0; i < 100; ++i) Enter(Priority::kReads, "read");
  const std::size_t first = started.size();
  EXPECT_LE(first, 4U);
  Enter(Priority::kHeldLeases, "held");
  EXPECT_EQ(started.back(), "held");
  limiter.OnRead(milliseconds(50));
  EXPECT_EQ(AdmittedWhileLeaving(first).size(), first / 2);
  for (int i = 0; i < 100; ++i) limiter.OnRead(milliseconds(1));
  Enter(Priority::kReads, "read");
  EXPECT_GT(started.size(), first * 2);
}

TEST_F(ConcurrencyLimiterTest, AdmitsUpToItsWidthAndTheNextWhenAPermitLeaves) {
  const std::size_t width = limiter.width();
  for (std::size_t i = 0; i < width + 2; ++i) Enter(Priority::kAcquisitions, std::to_string(i));
  EXPECT_EQ(started.size(), width);
  permits[3]->Leave();
  ASSERT_EQ(started.size(), width + 1);
  EXPECT_EQ(started.back(), std::to_string(width));
}

// Held leases are extended in time, whatever else waits.
TEST_F(ConcurrencyLimiterTest, EachPriorityHasItsShareAndHeldLeasesHaveTheLargest) {
  while (started.size() < limiter.width()) Enter(Priority::kAcquisitions, "first");
  for (int i = 0; i < 100; ++i) {
    Enter(Priority::kAcquisitions, "acquisition");
    Enter(Priority::kReleases, "release");
    Enter(Priority::kExtensions, "extension");
    Enter(Priority::kHeldLeases, "held");
  }
  const auto admitted = AdmittedWhileLeaving(32);
  EXPECT_EQ(CountOf(admitted, "held"), 17U);
  EXPECT_EQ(CountOf(admitted, "acquisition"), 4U);
  EXPECT_EQ(CountOf(admitted, "release"), 8U);
  EXPECT_EQ(CountOf(admitted, "extension"), 3U);
}

TEST_F(ConcurrencyLimiterTest, AnIdlePriorityAccumulatesNoCredit) {
  while (started.size() < limiter.width()) Enter(Priority::kAcquisitions, "first");
  for (int i = 0; i < 100; ++i) Enter(Priority::kAcquisitions, "acquisition");
  (void)AdmittedWhileLeaving(30);
  for (int i = 0; i < 100; ++i) Enter(Priority::kReleases, "release");
  started.clear();
  for (std::size_t i = 30; i < 60; ++i) permits[i]->Leave();
  EXPECT_GE(CountOf(started, "acquisition"), 9U);
  EXPECT_GE(CountOf(started, "release"), 19U);
}

TEST_F(ConcurrencyLimiterTest, SourcesTakeTurnsRegardlessOfTheirLoad) {
  while (started.size() < limiter.width()) Enter(Priority::kExtensions, "first");
  for (int i = 0; i < 1'000; ++i) Enter(Priority::kExtensions, "flood", {1});
  for (int i = 0; i < 3; ++i) Enter(Priority::kExtensions, "other " + std::to_string(i), {2});
  EXPECT_EQ(AdmittedWhileLeaving(7),
            (std::vector<std::string>{"flood", "other 0", "flood", "other 1", "flood", "other 2",
                                      "flood"}));
}

TEST_F(ConcurrencyLimiterTest, PredictsTheWaitFromTheRateOfAdmissions) {
  while (started.size() < limiter.width()) Enter(Priority::kAcquisitions, "first");
  EXPECT_EQ(limiter.PredictedWait({}), Duration{});
  for (int i = 0; i < 1'100; ++i) Enter(Priority::kAcquisitions, "waits");
  EXPECT_EQ(limiter.PredictedWait({}), Duration{});  // nothing has moved yet
  for (std::size_t i = 0; i < 100; ++i) {
    clock.now += milliseconds(2);
    permits[i]->Leave();
  }
  EXPECT_EQ(limiter.PredictedWait({}), milliseconds(2'000));
}

TEST_F(ConcurrencyLimiterTest, ALightSourceDoesNotWaitForAHeavyOne) {
  while (started.size() < limiter.width()) Enter(Priority::kAcquisitions, "first");
  for (int i = 0; i < 1'100; ++i) Enter(Priority::kAcquisitions, "waits", {1});
  for (std::size_t i = 0; i < 100; ++i) {
    clock.now += milliseconds(2);
    permits[i]->Leave();
  }
  EXPECT_EQ(limiter.PredictedWait({1}), milliseconds(2'000));
  EXPECT_EQ(limiter.PredictedWait({2}), milliseconds(2));
}

TEST_F(ConcurrencyLimiterTest, ThePredictionUsesTheRecentRate) {
  while (started.size() < limiter.width()) Enter(Priority::kAcquisitions, "first");
  for (int i = 0; i < 20'100; ++i) Enter(Priority::kAcquisitions, "waits");
  for (std::size_t i = 0; i < 20'000; ++i) {
    clock.now += milliseconds(i < 4'000 ? 10 : 1);
    permits[i]->Leave();
  }
  EXPECT_LT(limiter.PredictedWait({}), milliseconds(200));  // 100 waiters, 1 ms each
}

TEST_F(ConcurrencyLimiterTest, ARoundThatLeavesTheQueueIsNotStarted) {
  while (started.size() < limiter.width()) Enter(Priority::kAcquisitions, "first");
  Enter(Priority::kAcquisitions, "gone");
  Enter(Priority::kAcquisitions, "next");
  permits[permits.size() - 2]->Leave();
  permits.front()->Leave();
  EXPECT_EQ(started.back(), "next");
}

TEST_F(ConcurrencyLimiterTest, AdmitsNoRoundAfterClose) {
  while (started.size() < limiter.width()) Enter(Priority::kAcquisitions, "first");
  Enter(Priority::kAcquisitions, "late");
  limiter.Close();
  permits.front()->Leave();
  EXPECT_EQ(started.back(), "first");
}

TEST_F(ConcurrencyLimiterTest, RoundsThatTimedOutTogetherReduceTheWidthOnce) {
  const std::size_t width = limiter.width();
  const MonotonicTime sent = clock.now;
  clock.now += milliseconds(50);
  for (int i = 0; i < 10; ++i) limiter.OnTimedOut(sent);
  EXPECT_EQ(limiter.width(), width / 2);
  const MonotonicTime sent_later = clock.now;
  clock.now += milliseconds(50);
  limiter.OnTimedOut(sent_later);
  EXPECT_EQ(limiter.width(), width / 4);
  for (int i = 0; i < 20; ++i) {
    const MonotonicTime again = clock.now;
    clock.now += milliseconds(50);
    limiter.OnTimedOut(again);
  }
  EXPECT_GE(limiter.width(), 1U);
}

// Each round takes this long.
void Decide(ConcurrencyLimiter& limiter, StoppedClock& clock, Duration took, int rounds = 100'000) {
  for (int i = 0; i < rounds; ++i) {
    const MonotonicTime started = clock.now;
    clock.now += took;
    limiter.OnDecided(started, clock.now);
  }
}

TEST_F(ConcurrencyLimiterTest, TheWidthGrowsUpToItsBoundWhileRoundsAreDecided) {
  ConcurrencyLimiter narrow(clock, 100);
  Decide(narrow, clock, milliseconds(1));
  EXPECT_EQ(narrow.width(), 100U);
}

TEST_F(ConcurrencyLimiterTest, TheWidthGrowsFurtherIfNodesAreFarAway) {
  Decide(limiter, clock, milliseconds(80));
  EXPECT_EQ(limiter.width(), 1'000U);
}

TEST_F(ConcurrencyLimiterTest, TheWidthGrowsNoFurtherIfNodesAreBusy) {
  const auto usual = static_cast<std::size_t>(ConcurrencyLimiter::kUsual);
  Decide(limiter, clock, std::chrono::microseconds(200), 10);  // how quick they are
  Decide(limiter, clock, milliseconds(5));
  EXPECT_EQ(limiter.width(), usual);
  Decide(limiter, clock, std::chrono::microseconds(200));
  EXPECT_EQ(limiter.width(), 1'000U);
  Decide(limiter, clock, milliseconds(5));
  EXPECT_EQ(limiter.width(), usual);
}

// The nodes of another place are slower, although none of them is busy.
TEST_F(ConcurrencyLimiterTest, NodesThatBecomeSlowCountAsBusyForAWhile) {
  const auto usual = static_cast<std::size_t>(ConcurrencyLimiter::kUsual);
  Decide(limiter, clock, milliseconds(1), 10);
  Decide(limiter, clock, milliseconds(30), 10'000);  // 5 minutes
  EXPECT_EQ(limiter.width(), usual);
  Decide(limiter, clock, milliseconds(30));  // 50 minutes
  EXPECT_EQ(limiter.width(), 1'000U);
}

}  // namespace
}  // namespace redlock
