#include "server/observe/trend.h"

#include <gtest/gtest.h>

#include <chrono>

namespace redlock::observe {
namespace {

using namespace std::chrono_literals;

class TrendTest : public ::testing::Test {
 protected:
  void Acquire(int times, Duration wait) {
    for (int i = 0; i < times; ++i) {
      statistics_.acquisitions.Add(std::nullopt);
      statistics_.acquisition_times.Add(wait);
    }
  }
  void SampleAfter(std::chrono::seconds time) {
    now_ += time;
    trend_.Add(now_, WallTime(now_.time_since_epoch()), statistics_);
  }

  Trend::Clock::time_point now_{1h};
  Statistics statistics_{3};
  Trend trend_;
};

TEST_F(TrendTest, HasNoPointBeforeTheSecondSample) {
  Acquire(7, 1ms);
  SampleAfter(0s);
  EXPECT_TRUE(trend_.points().empty());
}

TEST_F(TrendTest, APointTellsWhatHappenedSinceTheSampleBefore) {
  Acquire(1000, 9s);
  SampleAfter(5s);
  Acquire(10, 200ms);
  Acquire(10, 400ms);
  SampleAfter(5s);
  ASSERT_EQ(trend_.points().size(), 1U);
  EXPECT_DOUBLE_EQ(trend_.points()[0].acquired_per_second, 4);
  EXPECT_NEAR(std::chrono::duration<double>(trend_.points()[0].wait.value()).count(), 0.3, 1e-6);
  EXPECT_EQ(trend_.points()[0].at, WallTime(now_.time_since_epoch()));
}

TEST_F(TrendTest, ThereIsNoWaitIfNothingWasAcquired) {
  SampleAfter(5s);
  SampleAfter(5s);
  ASSERT_EQ(trend_.points().size(), 1U);
  EXPECT_EQ(trend_.points()[0].acquired_per_second, 0);
  EXPECT_FALSE(trend_.points()[0].wait);
}

TEST_F(TrendTest, AfterAMissedSampleTheRateIsThatOfTheWholeTime) {
  SampleAfter(5s);
  Acquire(30, 1ms);
  SampleAfter(15s);
  EXPECT_DOUBLE_EQ(trend_.points().at(0).acquired_per_second, 2);
}

TEST_F(TrendTest, TheAnswersOfTheLastMinuteCount) {
  const auto answer = [this](NodeIndex node, int times, Duration time) {
    for (int i = 0; i < times; ++i) statistics_.nodes[node].answer_times.Add(time);
  };
  EXPECT_EQ(trend_.AnswerTimes(0).count(), 0U) << "before the first sample";
  answer(0, 1000, 1s);
  SampleAfter(5s);
  EXPECT_EQ(trend_.AnswerTimes(0).count(), 0U) << "it is unknown when these were";
  answer(0, 3, 1ms);
  answer(1, 2, 4ms);
  SampleAfter(5s);
  EXPECT_EQ(trend_.AnswerTimes(0).count(), 3U);
  EXPECT_NEAR(trend_.AnswerTimes(0).sum_seconds(), 0.003, 1e-6);
  EXPECT_EQ(trend_.AnswerTimes(1).count(), 2U);
  EXPECT_EQ(trend_.AnswerTimes(2).count(), 0U);
  answer(0, 1, 1ms);
  for (int i = 0; i < 11; ++i) SampleAfter(5s);
  EXPECT_EQ(trend_.AnswerTimes(0).count(), 4U) << "the first of them were 60 s ago";
  SampleAfter(5s);
  EXPECT_EQ(trend_.AnswerTimes(0).count(), 1U);
  SampleAfter(120s);
  EXPECT_EQ(trend_.AnswerTimes(0).count(), 0U);
}

TEST_F(TrendTest, KeepsTheNewestPoints) {
  for (std::size_t i = 0; i <= Trend::kMost; ++i) SampleAfter(5s);
  ASSERT_EQ(trend_.points().size(), Trend::kMost);
  const WallTime oldest = trend_.points().front().at;
  SampleAfter(5s);
  EXPECT_EQ(trend_.points().size(), Trend::kMost);
  EXPECT_GT(trend_.points().front().at, oldest);
  EXPECT_EQ(trend_.points().back().at, WallTime(now_.time_since_epoch()));
}

}  // namespace
}  // namespace redlock::observe
