// Resolves host names to addresses.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/loop/event_loop.h"

namespace redlock {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

// One look-up, in one of libuv's threads. Calls `done` once on the loop's strand, unless this is
// destroyed before. If there is no address, `error` says why.
class Resolver {
 public:
  using Done = std::function<void(std::vector<SocketAddress> addresses, const std::string& error)>;

  Resolver(EventLoop& loop, const std::string& host, std::uint16_t port, Done done);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

 private:
  struct Request;  // shared with libuv; outlives this if the look-up is cancelled
  static void Tell(Request& request, std::vector<SocketAddress> addresses, int status);

  std::shared_ptr<Request> request_;
};

}  // namespace redlock
