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
  Duration ReadAfter(Duration pause, Duration gained, Duration delay = microseconds(200)) {
    now_ += pause;
    shown_ += pause + gained;
    return clock_.Read(now_, now_ + delay, shown_ + delay / 2);
  }
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

}  // namespace
}  // namespace redlock
