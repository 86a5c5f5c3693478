// Connecting to one of several addresses.
#include "server/loop/dialer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace redlock {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A listening socket on a free port of 127.0.0.1.
class Listening {
 public:
  explicit Listening(int backlog) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address_.size = sizeof address;
    std::memcpy(&address_.storage, &address, sizeof address);
    auto* const raw = reinterpret_cast<sockaddr*>(&address_.storage);
    EXPECT_EQ(bind(fd_, raw, address_.size), 0);
    EXPECT_EQ(listen(fd_, backlog), 0);
    EXPECT_EQ(getsockname(fd_, raw, &address_.size), 0);
  }
  ~Listening() {
    for (const int peer : peers_) close(peer);
    if (fd_ >= 0) close(fd_);
  }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

  // Fills the queue of connections, so that the kernel drops what further clients send.
  void SwallowPackets() {
    for (int i = 0; i < 4; ++i) {
      peers_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
      (void)connect(peers_.back(), reinterpret_cast<sockaddr*>(&address_.storage), address_.size);
    }
  }
  void Stop() { close(std::exchange(fd_, -1)); }
  [[nodiscard]] bool HasClient() const {
    const int peer = accept(fd_, nullptr, nullptr);
    if (peer >= 0) close(peer);
    return peer >= 0;
  }
  [[nodiscard]] const SocketAddress& address() const { return address_; }

 private:
  int fd_;
  SocketAddress address_;
  std::vector<int> peers_;
};

class DialerTest : public ::testing::Test {
 protected:
  ~DialerTest() override {
    if (fd >= 0) close(fd);
  }
  void Dial(std::vector<SocketAddress> addresses) {
    const EventLoop::StrandLock turn(loop);
    dialer.emplace(loop, std::move(addresses), [this](int opened, const std::string& why) {
      ++answers;
      fd = opened;
      error = why;
      dialer.reset();
    });
    EXPECT_EQ(answers, 0) << "called back inside the constructor";
  }
  void Run(Duration time) {
    const MonotonicTime end = loop.Now() + time;
    while (answers == 0 && loop.Now() < end) {
      { const EventLoop::StrandLock turn(loop); }
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  EventLoop loop;
  std::optional<Dialer> dialer;
  int answers = 0;
  int fd = -1;
  std::string error;
};

TEST_F(DialerTest, AnAddressThatSwallowsPacketsDelaysTheNextOneBriefly) {
  Listening dead(0);
  dead.SwallowPackets();
  const Listening alive(1);
  Dial({dead.address(), alive.address()});
  Run(seconds(5));
  ASSERT_EQ(answers, 1);
  EXPECT_GE(fd, 0);
  EXPECT_TRUE(alive.HasClient());
}

TEST_F(DialerTest, AnAddressThatRefusesIsSkipped) {
  Listening refusing(1);
  refusing.Stop();
  const Listening alive(1);
  Dial({refusing.address(), alive.address()});
  Run(seconds(5));
  EXPECT_GE(fd, 0);
  EXPECT_TRUE(alive.HasClient());
}

TEST_F(DialerTest, TheFirstAddressIsPreferred) {
  const Listening first(1);
  const Listening second(1);
  Dial({first.address(), second.address()});
  Run(seconds(5));
  EXPECT_TRUE(first.HasClient());
  EXPECT_FALSE(second.HasClient());
}

TEST_F(DialerTest, IfEveryAddressRefusesTheReasonIsReported) {
  Listening one(1);
  one.Stop();
  Dial({one.address(), one.address()});
  Run(seconds(5));
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(fd, -1);
  EXPECT_EQ(error, "Connection refused");
}

TEST_F(DialerTest, MayBeDestroyedWhileItTries) {
  Listening dead(0);
  dead.SwallowPackets();
  Dial({dead.address(), dead.address()});
  Run(Dialer::kHeadStart + milliseconds(50));  // both are being tried
  {
    const EventLoop::StrandLock turn(loop);
    dialer.reset();
  }
  Run(milliseconds(20));
  EXPECT_EQ(answers, 0);
}

}  // namespace
}  // namespace redlock
