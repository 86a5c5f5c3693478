#include "server/core/round_window.h"

#include <gtest/gtest.h>

#include <algorithm>
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
  void Enter(Line line, const std::string& name, Source source = {}) {
    places.push_back(std::make_unique<RoundWindow::Place>());
    window.Enter(*places.back(), line, source, [this, name] { started.push_back(name); });
  }
  // What is admitted while the first `count` leave, one after the other.
  std::vector<std::string> AdmittedWhileLeaving(std::size_t count) {
    started.clear();
    for (std::size_t i = 0; i < count; ++i) places[i]->Leave();
    return started;
  }
  static std::size_t CountOf(const std::vector<std::string>& names, const std::string& name) {
    return static_cast<std::size_t>(std::count(names.begin(), names.end(), name));
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

// Whatever else waits, a lease that is held is extended in time.
TEST_F(RoundWindowTest, EachLineHasItsShareAndHeldLeasesTheLargest) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  for (int i = 0; i < 100; ++i) {
    Enter(Line::kAcquisitions, "acquisition");
    Enter(Line::kReleases, "release");
    Enter(Line::kExtensions, "extension");
    Enter(Line::kHeldLeases, "held");
  }
  const auto admitted = AdmittedWhileLeaving(32);
  EXPECT_EQ(CountOf(admitted, "held"), 16U);
  EXPECT_EQ(CountOf(admitted, "acquisition"), 8U);
  EXPECT_EQ(CountOf(admitted, "release"), 4U);
  EXPECT_EQ(CountOf(admitted, "extension"), 4U);
}

TEST_F(RoundWindowTest, ALineThatWasEmptyHasSavedUpNothing) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  for (int i = 0; i < 100; ++i) Enter(Line::kAcquisitions, "acquisition");
  (void)AdmittedWhileLeaving(30);
  for (int i = 0; i < 100; ++i) Enter(Line::kReleases, "release");
  started.clear();
  for (std::size_t i = 30; i < 60; ++i) places[i]->Leave();
  EXPECT_GE(CountOf(started, "acquisition"), 19U);
  EXPECT_GE(CountOf(started, "release"), 10U);
}

TEST_F(RoundWindowTest, SourcesTakeTurnsHoweverMuchOneAsksFor) {
  while (started.size() < window.width()) Enter(Line::kExtensions, "first");
  for (int i = 0; i < 1'000; ++i) Enter(Line::kExtensions, "flood", {1});
  for (int i = 0; i < 3; ++i) Enter(Line::kExtensions, "other " + std::to_string(i), {2});
  EXPECT_EQ(AdmittedWhileLeaving(7),
            (std::vector<std::string>{"flood", "other 0", "flood", "other 1", "flood", "other 2",
                                      "flood"}));
}

TEST_F(RoundWindowTest, TellsHowLongTheLineWillTakeByThePaceAtWhichItMoves) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  EXPECT_EQ(window.PredictedWait({}), Duration{});
  for (int i = 0; i < 1'100; ++i) Enter(Line::kAcquisitions, "waits");
  EXPECT_EQ(window.PredictedWait({}), Duration{});  // nothing has moved yet
  for (std::size_t i = 0; i < 100; ++i) {
    clock.now += milliseconds(2);
    places[i]->Leave();
  }
  EXPECT_EQ(window.PredictedWait({}), milliseconds(2'000));
}

TEST_F(RoundWindowTest, OneThatAsksForLittleDoesNotWaitForOneThatAsksForMuch) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  for (int i = 0; i < 1'100; ++i) Enter(Line::kAcquisitions, "waits", {1});
  for (std::size_t i = 0; i < 100; ++i) {
    clock.now += milliseconds(2);
    places[i]->Leave();
  }
  EXPECT_EQ(window.PredictedWait({1}), milliseconds(2'000));
  EXPECT_EQ(window.PredictedWait({2}), milliseconds(2));
}

TEST_F(RoundWindowTest, ThePaceIsThatOfLately) {
  while (started.size() < window.width()) Enter(Line::kAcquisitions, "first");
  for (int i = 0; i < 20'100; ++i) Enter(Line::kAcquisitions, "waits");
  for (std::size_t i = 0; i < 20'000; ++i) {
    clock.now += milliseconds(i < 4'000 ? 10 : 1);
    places[i]->Leave();
  }
  EXPECT_LT(window.PredictedWait({}), milliseconds(200));  // 100 that wait, 1 ms each
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
