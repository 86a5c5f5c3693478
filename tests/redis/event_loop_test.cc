// The event loop, which drives all real time.
#include "server/loop/event_loop.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace redlock {
namespace {

using std::chrono::milliseconds;

class EventLoopTest : public ::testing::Test {
 protected:
  EventLoopTest() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
  }
  ~EventLoopTest() override {
    for (const int end : ends) close(end);
  }

  std::array<int, 2> ends{};
  EventLoop loop;
};

// A process that was suspended finds both ready at once.
TEST_F(EventLoopTest, ReceivedDataIsReadBeforeATimeoutFires) {
  constexpr std::size_t kSize = 1'000;  // bytes per read
  constexpr std::size_t kPieces = 3;
  std::size_t received = 0;
  std::size_t received_in_time = 0;
  EventLoop::StrandLock turn(loop);
  FdWatcher watcher(loop, ends[0], [&](FdWatcher::Events) {
    std::array<char, kSize> buffer{};
    const ssize_t size = read(ends[0], buffer.data(), buffer.size());
    if (size > 0) received += static_cast<std::size_t>(size);
  });
  watcher.Want({.readable = true, .writable = false});
  turn.Poll();
  const TimerHandle timer = loop.After(milliseconds(10), [&] { received_in_time = received; });
  std::this_thread::sleep_for(milliseconds(30));
  const std::string data(kSize * kPieces, 'x');
  ASSERT_EQ(write(ends[1], data.data(), data.size()), static_cast<ssize_t>(data.size()));
  turn.Poll();
  EXPECT_EQ(received_in_time, data.size());
}

TEST_F(EventLoopTest, ATimeoutFiresEvenIfSocketsAlwaysHaveMoreData) {
  bool fired = false;
  EventLoop::StrandLock turn(loop);
  FdWatcher watcher(loop, ends[0], [&](FdWatcher::Events) {
    char byte = 0;
    (void)!read(ends[0], &byte, 1);
    (void)!write(ends[1], &byte, 1);
    loop.GoRound();
  });
  watcher.Want({.readable = true, .writable = false});
  ASSERT_EQ(write(ends[1], "xx", 2), 2);
  const TimerHandle timer = loop.After({}, [&] { fired = true; });
  turn.Poll();
  EXPECT_TRUE(fired);
}

// Other threads get the strand between two turns.
TEST_F(EventLoopTest, TimersThatAreDueTogetherAreSpreadOverSeveralTurns) {
  constexpr std::size_t kTimers = 10'000;
  std::vector<std::size_t> fired;
  EventLoop::StrandLock turn(loop);
  std::vector<TimerHandle> timers;
  for (std::size_t i = 0; i < kTimers; ++i) {
    timers.push_back(loop.After({}, [&fired, i] { fired.push_back(i); }));
  }
  turn.Poll();
  EXPECT_GT(fired.size(), 0U);
  EXPECT_LT(fired.size(), kTimers / 2);
  for (int i = 0; i < 100 && fired.size() < kTimers; ++i) turn.Poll();
  EXPECT_EQ(fired.size(), kTimers);
  EXPECT_TRUE(std::ranges::is_sorted(fired));
}

}  // namespace
}  // namespace redlock
