#include "server/core/timer_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace redlock {
namespace {

MonotonicTime At(int ms) { return MonotonicTime(std::chrono::milliseconds(ms)); }

// Compares the queue with a map, which is slow but simple.
TEST(TimerQueue, FiresInOrderUnderRandomAddsAndCancels) {
  std::mt19937 random(7);
  TimerQueue queue;
  std::map<std::pair<MonotonicTime, int>, TimerHandle> expected;
  std::vector<int> fired;
  MonotonicTime now = At(0);
  for (int i = 0; i < 20'000; ++i) {
    const auto choice = random() % 8;
    if (choice < 4) {
      const MonotonicTime when = now + std::chrono::milliseconds(random() % 50);
      expected[{when, i}] = queue.Add(when, [&fired, i] { fired.push_back(i); });
    } else if (choice < 6 && !expected.empty()) {
      expected.erase(
          std::next(expected.begin(), static_cast<std::ptrdiff_t>(random() % expected.size())));
    } else {
      now += std::chrono::milliseconds(random() % 5);
      while (auto callback = queue.TakeDue(now)) {
        (*callback)();
        ASSERT_FALSE(expected.empty());
        ASSERT_EQ(fired.back(), expected.begin()->first.second);
        expected.erase(expected.begin());
      }
      ASSERT_TRUE(expected.empty() || expected.begin()->first.first > now);
    }
    ASSERT_EQ(queue.size(), expected.size());
    if (!expected.empty()) {
      ASSERT_EQ(queue.Next(), expected.begin()->first.first);
    }
  }
}

TEST(TimerQueue, HandlesMayOutliveTheQueueAndCallbacksMayOwnHandles) {
  TimerHandle outlives;
  {
    TimerQueue queue;
    outlives = queue.Add(At(1), [] {});
    auto owned = std::make_shared<TimerHandle>(queue.Add(At(3), [] {}));
    auto owner = std::make_shared<TimerHandle>();
    *owner = queue.Add(At(2), [owned, owner] {});
    owned.reset();
    owner.reset();
  }
  outlives.Cancel();
}

TEST(TimerQueue, ACallbackMayCancelItsOwnTimer) {
  TimerQueue queue;
  TimerHandle handle;
  bool fired = false;
  handle = queue.Add(At(1), [&] {
    handle.Cancel();
    fired = true;
  });
  (*queue.TakeDue(At(1)))();
  EXPECT_TRUE(fired);
  EXPECT_EQ(queue.size(), 0U);
}

}  // namespace
}  // namespace redlock
