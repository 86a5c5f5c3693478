#include "server/rpc/connections.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>  // netinet/tcp.h lacks newer fields of tcp_info
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <vector>

namespace redlock::rpc {
namespace {

// A younger connection may be that of a caller whose first call is still on its way.
constexpr Duration kTimeToProve = std::chrono::seconds(1);
// How often to look for closed connections while there are too many.
constexpr Duration kPruneInterval = std::chrono::milliseconds(50);

std::optional<ino_t> InodeOf(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return std::nullopt;
  return status.st_ino;
}

bool IsOpen(const Connections::Connection& connection) {
  return InodeOf(connection.fd) == connection.inode;
}

// As gRPC writes it: "ipv4:127.0.0.1:1234" or "ipv6:%5B::1%5D:1234". Empty for Unix sockets.
std::string PeerOf(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) return {};
  if (name.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(name);
    inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    return std::string("ipv4:") + text.data() + ":" + std::to_string(ntohs(v4.sin_port));
  }
  if (name.ss_family != AF_INET6) return {};
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(name);
  const std::string port = ":" + std::to_string(ntohs(v6.sin6_port));
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text.data(), text.size());
    return std::string("ipv4:") + text.data() + port;
  }
  inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
  return std::string("ipv6:%5B") + text.data() + "%5D" + port;
}

// gRPC then closes it as if the caller had. Resets a TCP connection: after a mere shutdown, gRPC
// would go on to read as long as bytes come. Works on a duplicate, because gRPC may close the
// descriptor at any time, and it may then become that of another file.
void Close(const Connections::Connection& connection) {
  const int fd = fcntl(connection.fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return;
  const sockaddr nowhere{.sa_family = AF_UNSPEC, .sa_data = {}};
  if (InodeOf(fd) == connection.inode && connect(fd, &nowhere, sizeof nowhere) != 0) {
    shutdown(fd, SHUT_RDWR);
  }
  close(fd);
}

}  // namespace

std::uint64_t BytesReceived(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_bytes_received;
}

std::uint64_t BytesRead(int fd) {
  int waiting = 0;
  ioctl(fd, FIONREAD, &waiting);
  return BytesReceived(fd) - static_cast<std::uint64_t>(waiting);
}

bool Connections::Admit(int fd, MonotonicTime now) {
  const auto inode = InodeOf(fd);
  if (!inode) return false;
  const MutexLock lock(mutex_);
  Remove(fd);  // of a connection that was closed
  if (by_fd_.size() >= most_ && now - pruned_ >= kPruneInterval) {
    pruned_ = now;
    Prune();
  }
  if (by_fd_.size() >= most_ && !CloseOldestUnproven(now)) return false;
  std::string peer = PeerOf(fd);
  const bool is_unix = peer.empty();
  if (!is_unix) by_peer_[peer] = fd;
  by_fd_[fd] = {
      .fd = fd, .inode = *inode, .peer = std::move(peer), .proven = is_unix, .since = now};
  return true;
}

void Connections::Prove(const std::string& peer) {
  const MutexLock lock(mutex_);
  if (const auto found = by_peer_.find(peer); found != by_peer_.end()) {
    by_fd_[found->second].proven = true;
  }
}

std::size_t Connections::size() const {
  const MutexLock lock(mutex_);
  return by_fd_.size();
}

void Connections::Review(const std::function<bool(Connection&)>& look) {
  const MutexLock lock(mutex_);
  Prune();
  for (auto& [fd, connection] : by_fd_) {
    if (look(connection)) Close(connection);
  }
}

void Connections::Prune() {
  std::vector<int> closed;
  for (const auto& [fd, connection] : by_fd_) {
    if (!IsOpen(connection)) closed.push_back(fd);
  }
  for (const int fd : closed) Remove(fd);
}

bool Connections::CloseOldestUnproven(MonotonicTime now) {
  const Connection* oldest = nullptr;
  for (const auto& [fd, connection] : by_fd_) {
    if (connection.proven || now - connection.since < kTimeToProve) continue;
    if (oldest == nullptr || connection.since < oldest->since) oldest = &connection;
  }
  if (oldest == nullptr) return false;
  Close(*oldest);
  Remove(oldest->fd);
  return true;
}

void Connections::Remove(int fd) {
  const auto found = by_fd_.find(fd);
  if (found == by_fd_.end()) return;
  const auto of_peer = by_peer_.find(found->second.peer);
  if (of_peer != by_peer_.end() && of_peer->second == fd) by_peer_.erase(of_peer);
  by_fd_.erase(found);
}

}  // namespace redlock::rpc
