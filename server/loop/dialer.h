// Connects a TCP or Unix socket to one of several addresses of a host.
#pragma once

#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "server/core/clock.h"
#include "server/loop/event_loop.h"
#include "server/loop/fd_watcher.h"
#include "server/loop/resolver.h"

namespace redlock {

// Tries the addresses in their order. If one does not answer within kHeadStart, the next one is
// tried beside it, so an address that swallows packets costs little (as in RFC 8305). The first
// socket that is open wins. Must be used on the loop's strand. Has no time limit of its own.
class Dialer {
 public:
  // Further addresses are ignored.
  static constexpr std::size_t kMaxAddresses = 8;
  static constexpr Duration kHeadStart = std::chrono::milliseconds(200);

  // Called once, never inside the constructor, unless this is destroyed before. Passes on an open,
  // non-blocking socket; or -1 if no address can be reached, and why not.
  using Done = std::function<void(int fd, const std::string& error)>;

  Dialer(EventLoop& loop, std::vector<SocketAddress> addresses, Done done);
  Dialer(const Dialer&) = delete;
  Dialer& operator=(const Dialer&) = delete;

 private:
  struct Attempt {
    Attempt(EventLoop& loop, int socket, FdWatcher::Ready ready);
    ~Attempt();
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    int fd;  // closed with this, unless it is -1
    std::optional<FdWatcher> watcher;
  };
  using Attempts = std::list<Attempt>;

  void TryNext();
  void Finish(int fd);
  void OnAnswer(Attempts::iterator attempt);

  EventLoop& loop_;
  std::vector<SocketAddress> addresses_;  // still to be tried, the next one last
  Done done_;
  std::string last_error_;
  Attempts attempts_;  // waiting for an answer
  TimerHandle next_;
};

}  // namespace redlock
