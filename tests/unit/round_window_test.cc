#include "server/core/round_window.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace redlock {
namespace {

using std::chrono::milliseconds;
using Line = RoundWindow::Line;

class StoppedClock final : public Clock {
 public:
  [[nodiscard]] MonotonicTime Now() const override { return now; }
  [[nodiscard]] WallTime WallNow() const override { return {}; }
  MonotonicTime now{std::chrono::seconds(1)};
};

class RoundWindowTest : public ::testing::Test {
 protected:
  void Enter(Line line, const std::string& name) {
    places.push_back(std::make_unique<RoundWindow::Place>());
    window.Enter(*places.back(), line, [this, name] { started.push_back(name); });
  }

  StoppedClock clock;
  RoundWindow window{clock, 1'000};  // outlives the places
  std::vector<std::string> started;
  std::vector<std::unique_ptr<RoundWindow::Place>> places;
};

TEST_F(RoundWindowTest, LetsInAsManyAsItIsWideAndTheNextWhenOneLeaves) {
  const std::size_t width = window.width();
  for (std::size_t i = 0; i < width + 2; ++i) Enter(Line::kAcquisitions, std::to_string(i));
  EXPECT_EQ(started.size(), width);
  places[3]->Leave();
  ASSERT_EQ(started.size(), width + 1);
  EXPECT_EQ(started.back(), std::to_string(width));
}

TEST_F(RoundWindowTest, ExtensionsGoBeforeAcquisitions) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  Enter(Line::kAcquisitions, "acquisition");
  Enter(Line::kExtensions, "extension");
  places.front()->Leave();
  EXPECT_EQ(started.back(), "extension");
}

TEST_F(RoundWindowTest, TellsHowLongTheLineWillTakeByThePaceAtWhichItMoves) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  EXPECT_EQ(window.PredictedWait(), Duration{});
  for (int i = 0; i < 1'100; ++i) Enter(Line::kAcquisitions, "waits");
  EXPECT_EQ(window.PredictedWait(), Duration{});  // nothing has moved yet
  for (std::size_t i = 0; i < 100; ++i) {
    clock.now += milliseconds(2);
    places[i]->Leave();
  }
  EXPECT_EQ(window.PredictedWait(), milliseconds(2'000));
}

TEST_F(RoundWindowTest, ThePaceIsThatOfLately) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  for (int i = 0; i < 20'100; ++i) Enter(Line::kAcquisitions, "waits");
  for (std::size_t i = 0; i < 20'000; ++i) {
    clock.now += milliseconds(i < 4'000 ? 10 : 1);
    places[i]->Leave();
  }
  EXPECT_LT(window.PredictedWait(), milliseconds(200));  // 100 that wait, 1 ms each
}

TEST_F(RoundWindowTest, WhoLeavesTheLineIsNotStarted) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  Enter(Line::kAcquisitions, "gone");
  Enter(Line::kAcquisitions, "next");
  places[places.size() - 2]->Leave();
  places.front()->Leave();
  EXPECT_EQ(started.back(), "next");
}

TEST_F(RoundWindowTest, NobodyIsLetInOnceClosed) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  Enter(Line::kAcquisitions, "late");
  window.Close();
  places.front()->Leave();
  EXPECT_EQ(started.back(), "first");
}

TEST_F(RoundWindowTest, RoundsThatTimedOutTogetherNarrowItOnce) {
  const std::size_t width = window.width();
  const MonotonicTime sent = clock.now;
  clock.now += milliseconds(50);
  for (int i = 0; i < 10; ++i) window.OnTimedOut(sent);
  EXPECT_EQ(window.width(), width / 2);
  const MonotonicTime sent_later = clock.now;
  clock.now += milliseconds(50);
  window.OnTimedOut(sent_later);
  EXPECT_EQ(window.width(), width / 4);
  for (int i = 0; i < 20; ++i) {
    const MonotonicTime again = clock.now;
    clock.now += milliseconds(50);
    window.OnTimedOut(again);
  }
  EXPECT_GE(window.width(), 1U);
}

TEST_F(RoundWindowTest, WidensUpToItsBoundWhileRoundsAreDecided) {
  RoundWindow narrow(clock, 100);
  for (int i = 0; i < 10'000; ++i) narrow.OnDecided();
  EXPECT_EQ(narrow.width(), 100U);
}

}  // namespace
}  // namespace redlock
