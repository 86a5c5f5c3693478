// The open TCP and Unix connections of callers: bounds their number, and can close one.
//
// gRPC owns the sockets and does not report when it closes one. This object remembers the inode of
// each socket: a descriptor that has another inode belongs to something else by now.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>

#include "server/core/types.h"
#include "server/sync/mutex.h"

namespace redlock::rpc {

// How many bytes have come on a TCP connection, and how many of them have been read.
[[nodiscard]] std::uint64_t BytesReceived(int fd);
[[nodiscard]] std::uint64_t BytesRead(int fd);

// Thread-safe.
class Connections {
 public:
  explicit Connections(std::size_t most) : most_(most) {}

  // Notes a connection that was just accepted. If there are too many, makes a place by closing the
  // oldest one on which no caller has been identified, unless it is too young. Returns false if the
  // connection must be refused.
  [[nodiscard]] bool Admit(int fd, MonotonicTime now);
  // A caller was identified on the connection. `peer` is what gRPC's contexts call it.
  void Prove(const std::string& peer);
  [[nodiscard]] std::size_t size() const;

  struct Connection {
    int fd = -1;
    ino_t inode = 0;
    std::string peer;  // as gRPC writes it; empty for Unix sockets, which are all called the same
    bool proven = false;  // Unix sockets are protected by their file mode
    MonotonicTime since;
    // For who reviews the connections.
    std::uint64_t bytes = 0;  // received
    std::optional<MonotonicTime> overloaded_since;
  };
  // Calls `look` for each open connection, and then closes those for which it returned true.
  void Review(const std::function<bool(Connection&)>& look);

 private:
  void Prune() REDLOCK_REQUIRES(mutex_);
  [[nodiscard]] bool CloseOldestUnproven(MonotonicTime now) REDLOCK_REQUIRES(mutex_);
  void Remove(int fd) REDLOCK_REQUIRES(mutex_);

  const std::size_t most_;
  mutable Mutex mutex_;
  std::unordered_map<int, Connection> by_fd_ REDLOCK_GUARDED_BY(mutex_);
  std::unordered_map<std::string, int> by_peer_ REDLOCK_GUARDED_BY(mutex_);
  MonotonicTime pruned_ REDLOCK_GUARDED_BY(mutex_);
};

}  // namespace redlock::rpc
