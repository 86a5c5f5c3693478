#include "client/cpp/src/timed_socket.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace redlock::client {

TimedSocket::~TimedSocket() {
  if (fd_ >= 0) close(fd_);
}

bool TimedSocket::Connect(const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) return false;
  std::string host = address.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  if (getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &first) != 0) return false;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> found(first, freeaddrinfo);
  fd_ = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return false;
  if (connect(fd_, found->ai_addr, found->ai_addrlen) == 0) return true;
  return errno == EINPROGRESS && Await(POLLOUT);
}

bool TimedSocket::Send(const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t sent = send(fd_, data, size, MSG_NOSIGNAL);
    if (sent < 0 && (errno != EAGAIN || !Await(POLLOUT))) return false;
    if (sent < 0) continue;
    data += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

ssize_t TimedSocket::Receive(char* data, std::size_t size) {
  return Await(POLLIN) ? recv(fd_, data, size, 0) : -1;
}

bool TimedSocket::Await(short event) const {
  using std::chrono::milliseconds;
  const auto left = std::chrono::ceil<milliseconds>(deadline_ - std::chrono::steady_clock::now());
  pollfd waiting{.fd = fd_, .events = event, .revents = 0};
  return left > milliseconds(0) && poll(&waiting, 1, static_cast<int>(left.count())) > 0;
}

}  // namespace redlock::client
