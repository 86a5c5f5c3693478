#include "server/loop/listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <set>
#include <stdexcept>
#include <system_error>

namespace redlock {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses Resolve(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0)
    throw std::runtime_error("cannot resolve the host: " + std::string(gai_strerror(error)));
  return {found, &freeaddrinfo};
}

void SetOption(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);
}

std::runtime_error CannotListen(int error) {
  return std::runtime_error("cannot listen: " + std::generic_category().message(error));
}

// Returns 0 or an errno.
int ListenOn(const addrinfo& address, std::vector<OwnedFd>& sockets) {
  OwnedFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return errno;
  SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (address.ai_family == AF_INET6) SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (bind(fd.get(), address.ai_addr, address.ai_addrlen) != 0) return errno;
  if (listen(fd.get(), SOMAXCONN) != 0) return errno;
  sockets.push_back(std::move(fd));
  return 0;
}

}  // namespace

std::vector<OwnedFd> Listen(const std::string& host, std::uint16_t port) {
  std::vector<OwnedFd> sockets;
  std::set<std::string> seen;  // a look-up may return an address twice
  int missing = 0;
  const Addresses addresses = Resolve(host, port);
  for (const addrinfo* address = addresses.get(); address; address = address->ai_next) {
    const auto* const bytes = reinterpret_cast<const char*>(address->ai_addr);
    if (!seen.emplace(bytes, address->ai_addrlen).second) continue;
    const int error = ListenOn(*address, sockets);
    // localhost may resolve to ::1 on a machine without IPv6.
    if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) {
      missing = error;
    } else if (error != 0) {
      throw CannotListen(error);
    }
  }
  if (sockets.empty()) throw CannotListen(missing);
  return sockets;
}

}  // namespace redlock
