#include "server/rpc/listening.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "server/config/listen_address.h"
#include "server/core/check.h"
#include "server/core/format.h"

namespace redlock::rpc {
namespace {

constexpr int kBacklog = 4096;  // the kernel lowers it to net.core.somaxconn

mode_t SocketMode(const config::Config& config) {
  return static_cast<mode_t>(std::stoul(config.unix_socket_mode, nullptr, 8));
}

// While this object exists, sockets are created with these permissions, so that no other user can
// connect before the permissions are set.
class CreationMode {
 public:
  explicit CreationMode(mode_t mode) : before_(umask(~mode & 0777)) {}
  ~CreationMode() { umask(before_); }
  CreationMode(const CreationMode&) = delete;
  CreationMode& operator=(const CreationMode&) = delete;

 private:
  const mode_t before_;
};

// Accepted sockets inherit these options.
void SetTcpOptions(int fd, const addrinfo& to, const config::Config& config) {
  const auto set = [fd](int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_REUSEADDR, 1);
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A connection whose data is not acknowledged for this long is broken.
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(Millis(config.keepalive_timeout)));
  if (to.ai_family == AF_INET6) set(IPPROTO_IPV6, IPV6_V6ONLY, 0);
}

int PortOf(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size);
  // The port is at the same place in both families.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&name)->sin_port);
}

void SetPort(addrinfo& of, int port) {
  reinterpret_cast<sockaddr_in*>(of.ai_addr)->sin_port = htons(static_cast<std::uint16_t>(port));
}

using Resolved = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Resolved Resolve(const std::string& host, const std::string& port, int& error) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  return {found, &freeaddrinfo};
}

}  // namespace

Listening::Listening(const std::string& address, const config::Config& config) : address_(address) {
  if (const auto path = config::SocketPath(address)) {
    unix_socket_ = std::make_unique<UnixSocket>(*path);
    ListenOnPath(config);
  } else {
    ListenOnHost(config);
  }
}

Listening::~Listening() {
  for (const int fd : sockets_) close(fd);
}

void Listening::ListenOnPath(const config::Config& config) {
  const std::string& path = unix_socket_->temporary_path();
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  REDLOCK_CHECK(path.size() < sizeof name.sun_path);  // see config::kMaxSocketPath
  std::memcpy(name.sun_path, path.c_str(), path.size());
  unlink(path.c_str());  // of a crashed daemon that had the same process id
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const CreationMode of_socket(SocketMode(config));
  if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
      listen(fd, kBacklog) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    throw std::runtime_error("--listen " + address_ + ": cannot listen: " + ErrorText(error));
  }
  sockets_.push_back(fd);
  unix_socket_->Publish(config.unix_socket_owner);
}

void Listening::ListenOnHost(const config::Config& config) {
  const std::size_t colon = address_.rfind(':');
  std::string host = address_.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  // "Any address" listens on IPv4 and IPv6, as far as the machine has them.
  const bool any = host == "0.0.0.0";
  int error = 0;
  Resolved found = Resolve(any ? "::" : host, address_.substr(colon + 1), error);
  std::string why = error == 0 ? "" : gai_strerror(error);
  const auto listen_on_each = [&] {
    for (addrinfo* to = found.get(); to != nullptr; to = to->ai_next) {
      if (!sockets_.empty()) SetPort(*to, PortOf(sockets_[0]));  // port 0 is chosen once
      const int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd >= 0) SetTcpOptions(fd, *to, config);
      if (fd >= 0 && bind(fd, to->ai_addr, to->ai_addrlen) == 0 && listen(fd, kBacklog) == 0) {
        sockets_.push_back(fd);
        continue;
      }
      const int failure = errno;
      why = ErrorText(failure);
      if (fd >= 0) close(fd);
      // The machine may lack one of the two families, but another daemon must not have the port.
      if (failure != EAFNOSUPPORT && failure != EADDRNOTAVAIL) return false;
    }
    return !sockets_.empty();
  };
  bool listens = listen_on_each();
  if (any && sockets_.empty()) {
    found = Resolve(host, address_.substr(colon + 1), error);
    listens = listen_on_each();
  }
  if (!listens) {
    throw std::runtime_error("--listen " + address_ + ": cannot listen: " + why +
                             "; use an address of this machine that is not in use");
  }
  address_ = address_.substr(0, colon + 1) + std::to_string(PortOf(sockets_[0]));
}

}  // namespace redlock::rpc
