#include "server/observe/throttle.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace redlock::observe {
namespace {

using namespace std::chrono_literals;

class ThrottleTest : public ::testing::Test {
 protected:
  void Log(const std::string& group, const std::string& source, const std::string& text) {
    throttle_.Log(now_, group, source, {spdlog::level::warn, text, {}});
  }
  void LogMany(const std::string& group, const std::string& source, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) Log(group, source, source + std::to_string(i));
  }
  void TendFor(std::chrono::seconds time) {
    for (const auto end = now_ + time; now_ < end; now_ += 1s) throttle_.Tend(now_);
  }
  std::vector<std::string> TakeLines() { return std::exchange(lines_, {}); }

  static constexpr auto kBurst = static_cast<std::size_t>(Throttle::kSourceRate.burst);

  Throttle::Clock::time_point now_{1h};

 private:
  std::vector<std::string> lines_;
  Throttle throttle_{[this](const Throttle::Line& line) { lines_.push_back(line.text); }};
};

TEST_F(ThrottleTest, ShowsABurstAndThenAFixedRateWithTheNumberThatIsLeftOut) {
  LogMany("a", "x", kBurst + 7);
  EXPECT_EQ(TakeLines().size(), kBurst);
  now_ += 5s;
  Log("a", "x", "later");
  EXPECT_EQ(TakeLines(), std::vector<std::string>{"later (7 more not shown)"});
}

TEST_F(ThrottleTest, ASourceHidesNoOtherSourceAndNoOtherGroup) {
  LogMany("unauthenticated", "x", 11'106);
  TakeLines();
  Log("unauthenticated", "y", "y");
  Log("denied", "x", "denied");
  EXPECT_EQ(TakeLines(), (std::vector<std::string>{"y", "denied"}));
}

TEST_F(ThrottleTest, TheLastLineOfASourceIsShownInTheEnd) {
  LogMany("node", "n", 100);
  Log("node", "n", "connected");
  TakeLines();
  TendFor(10s);
  EXPECT_EQ(TakeLines(), std::vector<std::string>{"connected (" + std::to_string(100 - kBurst) +
                                                  " more not shown)"});
  TendFor(100s);
  EXPECT_TRUE(TakeLines().empty());
}

TEST_F(ThrottleTest, ALineThatWasHeldBackIsNotShownAfterALaterOne) {
  LogMany("node", "n", kBurst + 1);
  now_ += 5s;
  Log("node", "n", "connected");
  TakeLines();
  TendFor(100s);
  EXPECT_TRUE(TakeLines().empty());
}

TEST_F(ThrottleTest, ManySourcesTogetherAreLimitedAndEveryLineIsCounted) {
  constexpr std::size_t kSources = 10 * Throttle::kMostSources;
  for (std::size_t i = 0; i < kSources; ++i) Log("a", std::to_string(i), "line");
  const std::size_t shown = TakeLines().size();
  EXPECT_EQ(shown, static_cast<std::size_t>(Throttle::kGroupRate.burst));
  TendFor(60s);
  std::size_t counted = shown;
  for (const std::string& line : TakeLines()) {
    const auto more = line.find('(');
    counted += 1 + (more == std::string::npos ? 0 : std::stoul(line.substr(more + 1)));
  }
  EXPECT_EQ(counted, kSources);
}

TEST_F(ThrottleTest, ALineThatIsHeldBackIsCut) {
  LogMany("a", "x", kBurst);
  TakeLines();
  Log("a", "x", std::string(5000, 'l'));
  TendFor(10s);
  const auto lines = TakeLines();
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].size(), Throttle::kLongestHeldBack);
}

}  // namespace
}  // namespace redlock::observe
