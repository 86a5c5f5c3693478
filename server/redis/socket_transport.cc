#include "server/redis/socket_transport.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace redlock::redis {
namespace {

std::string Message(int error) { return std::generic_category().message(error); }

SocketAddress UnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t size = std::min(path.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, path.data(), size);
  SocketAddress result;
  std::memcpy(&result.storage, &address, sizeof address);
  result.size = sizeof address;
  return result;
}

// Parses a numeric address, which needs no look-up and thus no other thread.
std::optional<SocketAddress> NumericAddress(const std::string& host, std::uint16_t port) {
  SocketAddress result;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&result.storage, &v4, sizeof v4);
    result.size = sizeof v4;
  } else if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&result.storage, &v6, sizeof v6);
    result.size = sizeof v6;
  } else {
    return std::nullopt;
  }
  return result;
}

void SetOption(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

// Sets TCP options. They have no effect on a Unix socket.
void Tune(int fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // Lets the kernel detect that the node of an idle connection has vanished.
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 2);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

}  // namespace

SocketTransport::SocketTransport(EventLoop& loop, const Endpoint& endpoint, std::size_t attempt,
                                 Listener& listener)
    : loop_(loop), attempt_(attempt), listener_(listener) {
  if (endpoint.kind == Endpoint::Kind::kUnix) {
    OnResolved({UnixAddress(endpoint.path)}, "");
  } else if (const auto numeric = NumericAddress(endpoint.host, endpoint.port)) {
    OnResolved({*numeric}, "");
  } else {
    resolver_.emplace(loop_, endpoint.host, endpoint.port,
                      [this](std::vector<SocketAddress> found, const std::string& error) {
                        OnResolved(std::move(found), error);
                      });
  }
}

SocketTransport::~SocketTransport() { Close(); }

void SocketTransport::OnResolved(std::vector<SocketAddress> addresses, const std::string& error) {
  if (addresses.empty()) {
    listener_.OnClosed(error);
    return;
  }
  // An address may accept connections and then fail, so each attempt begins with another one.
  const auto first = static_cast<std::ptrdiff_t>(attempt_ % addresses.size());
  std::rotate(addresses.begin(), addresses.begin() + first, addresses.end());
  dialer_.emplace(loop_, std::move(addresses),
                  [this](int fd, const std::string& why) { OnDialed(fd, why); });
}

void SocketTransport::OnDialed(int fd, const std::string& error) {
  dialer_.reset();
  if (fd < 0) {
    listener_.OnClosed(error);
    return;
  }
  fd_ = fd;
  Tune(fd_);
  watcher_.emplace(loop_, fd_, [this](FdWatcher::Events events) { OnEvents(events); });
  OnOpen();
}

void SocketTransport::Ready() {
  watcher_->Want({.readable = true, .writable = false});
  listener_.OnConnected();
}

void SocketTransport::OnEvents(FdWatcher::Events events) {
  if (events.writable) {
    watcher_->Want({.readable = true, .writable = false});
    listener_.OnWritable();
    return;  // the listener may have destroyed this; a readable socket is reported again
  }
  const ssize_t size = recv(fd_, incoming_.data(), incoming_.size(), 0);
  if (size > 0) {
    listener_.OnData({incoming_.data(), static_cast<std::size_t>(size)});
  } else if (size == 0) {
    Fail("connection closed by the node");
  } else if (errno != EAGAIN && errno != EINTR) {
    Fail(Message(errno));
  }
}

std::size_t SocketTransport::Write(std::string_view data) {
  const ssize_t size = send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
  // The next read reports a broken connection.
  if (size < 0 && errno != EAGAIN && errno != EINTR) return 0;
  const std::size_t taken = size > 0 ? static_cast<std::size_t>(size) : 0;
  if (taken < data.size()) watcher_->Want({.readable = true, .writable = true});
  return taken;
}

void SocketTransport::Fail(std::string why) {
  Close();
  listener_.OnClosed(std::move(why));
}

void SocketTransport::Close() {
  watcher_.reset();
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

}  // namespace redlock::redis
