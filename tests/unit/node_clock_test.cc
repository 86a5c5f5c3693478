#include "server/core/nodes/node_clock.h"

#include <gtest/gtest.h>

namespace redlock {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kEpoch = hours(24 * 365 * 50);
constexpr DriftBudget kBudget{.factor = 0.01, .buffer = milliseconds(2)};

// A clock that is read periodically, with 0.2 ms between request and reply.
class NodeClockTest : public ::testing::Test {
 protected:
  // Returns by how much the clock is off.
  Duration ReadAfter(Duration pause, Duration gained, Duration delay = microseconds(200)) {
    now_ += pause;
    shown_ += pause + gained;
    verdict_ = clock_.Read(now_, now_ + delay, shown_ + delay / 2);
    return verdict_.off;
  }
  // Returns the pause, if the clock gained without being off.
  Duration PauseAfter(Duration pause, Duration gained, Duration delay = microseconds(200)) {
    EXPECT_EQ(ReadAfter(pause, gained, delay), Duration{});
    return verdict_.pause_for_step;
  }
  NodeClock::Verdict verdict_;
  NodeClock clock_{kBudget};

 private:
  MonotonicTime now_{hours(24 * 300)};
  Duration shown_ = kEpoch;
};

TEST_F(NodeClockTest, AcceptsDriftWithinHalfTheBudget) {
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(ReadAfter(seconds(1), milliseconds(4)), Duration{});
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(ReadAfter(seconds(1), -milliseconds(4)), Duration{});
}

TEST_F(NodeClockTest, ReturnsByHowMuchAStepExceedsTheBudget) {
  (void)ReadAfter({}, {});
  const Duration ahead = ReadAfter(milliseconds(1), seconds(3));
  EXPECT_GT(ahead, milliseconds(2998));
  EXPECT_LT(ahead, seconds(3));
  EXPECT_EQ(ReadAfter(milliseconds(1), {}), Duration{})
      << "later readings are compared with the new time";
  EXPECT_LT(ReadAfter(milliseconds(1), -seconds(3)), -milliseconds(2998));
}

TEST_F(NodeClockTest, AccumulatesSmallStepsOverReadings) {
  // Each of these steps alone would pass.
  int noticed_at = 0;
  for (int i = 1; i <= 10 && noticed_at == 0; ++i) {
    if (ReadAfter(milliseconds(1), microseconds(500)) != Duration{}) noticed_at = i;
  }
  EXPECT_GT(noticed_at, 2);
  EXPECT_LT(noticed_at, 6);
}

TEST_F(NodeClockTest, DetectsARateBeyondTheBudget) {
  (void)ReadAfter({}, {});
  EXPECT_EQ(ReadAfter(milliseconds(100), microseconds(1300)), Duration{})
      << "1.3 %, but only briefly";
  EXPECT_GT(ReadAfter(seconds(1), milliseconds(13)), Duration{});
}

TEST_F(NodeClockTest, ALateReplyProvesNothing) {
  (void)ReadAfter({}, {});
  // The clock may have been read at any time in these 40 ms.
  EXPECT_EQ(ReadAfter(milliseconds(1), milliseconds(15), milliseconds(40)), Duration{});
  EXPECT_GT(ReadAfter(milliseconds(1), milliseconds(60), milliseconds(40)), Duration{});
}

TEST_F(NodeClockTest, AGainOverALongGapMayBeAStep) {
  (void)ReadAfter({}, {});
  // 2.5 s in 10 minutes: less than half of the drift budget.
  const Duration pause = PauseAfter(seconds(600), milliseconds(2500));
  EXPECT_GT(pause, seconds(490)) << "the drift budget of such a lease is smaller than the step";
  EXPECT_LT(pause, seconds(510));
  EXPECT_EQ(PauseAfter(seconds(1), {}), Duration{}) << "followed from there on";
  EXPECT_EQ(PauseAfter(seconds(600), microseconds(900)), Duration{}) << "an ordinary clock";
  EXPECT_EQ(PauseAfter(seconds(600), -milliseconds(50)), Duration{}) << "expires keys late";
}

TEST_F(NodeClockTest, ThePauseIsAsLongAsTheLeasesThatTheStepEndangers) {
  (void)ReadAfter({}, {});
  const Duration pause = PauseAfter(seconds(1), microseconds(5500));
  EXPECT_GE(pause, milliseconds(895));  // (5.5 ms - 1 ms) / 0.5 %
  EXPECT_LE(pause, milliseconds(905));
}

TEST_F(NodeClockTest, AfterAViolationThePauseGrowsWithIt) {
  (void)ReadAfter({}, {});
  EXPECT_GT(ReadAfter(seconds(1), milliseconds(26)), milliseconds(19));
  EXPECT_GT(verdict_.pause_for_off, seconds(4));
  EXPECT_LT(verdict_.pause_for_off, seconds(5));
  EXPECT_LT(ReadAfter(seconds(1), -seconds(3)), Duration{});
  EXPECT_GT(verdict_.pause_for_off, seconds(590));
}

TEST_F(NodeClockTest, AnAnswerThatWasLateDoesNotMakeTheNextOneLookLikeAStep) {
  (void)ReadAfter({}, {});
  EXPECT_EQ(PauseAfter(seconds(1), {}, milliseconds(60)), Duration{});
  EXPECT_EQ(PauseAfter(seconds(1), {}), Duration{});
  // Even the first reading may take long.
  NodeClock other(kBudget);
  const MonotonicTime now(hours(1));
  EXPECT_EQ(other.Read(now, now + milliseconds(40), kEpoch).pause_for_step, Duration{});
  EXPECT_EQ(
      other.Read(now + seconds(1), now + milliseconds(1001), kEpoch + seconds(1)).pause_for_step,
      Duration{});
}

TEST_F(NodeClockTest, ALateAnswerDoesNotHideAStep) {
  (void)ReadAfter({}, {});
  (void)ReadAfter(milliseconds(500), {}, milliseconds(60));
  EXPECT_GT(PauseAfter(milliseconds(500), milliseconds(5)), milliseconds(700));
}

TEST_F(NodeClockTest, AClockThatDriftsIsReadMoreOften) {
  (void)ReadAfter({}, {});
  for (int i = 0; i < 3; ++i) (void)ReadAfter(seconds(1), microseconds(100));
  EXPECT_FALSE(clock_.Drifts());
  for (int i = 0; i < 3; ++i) (void)ReadAfter(seconds(1), milliseconds(4));
  EXPECT_TRUE(clock_.Drifts());
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(PauseAfter(NodeClock::kCloseInterval, microseconds(400)), Duration{}) << i;
  }
  EXPECT_TRUE(clock_.Drifts());
  for (int i = 0; i < 3; ++i) (void)ReadAfter(seconds(1), -milliseconds(4));
  EXPECT_TRUE(clock_.Drifts());
  for (int i = 0; i < 3; ++i) (void)ReadAfter(seconds(1), {});
  EXPECT_FALSE(clock_.Drifts());
}

}  // namespace
}  // namespace redlock
