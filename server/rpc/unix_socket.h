// Puts the Unix sockets of the daemon at their paths, and removes them at the end.
//
// A second daemon must not take the path from the first, and the end of one must not remove the
// socket of the other. Therefore the daemon listens at a path of its own, and Publish() renames the
// socket if no process listens at the final path. A socket that a crashed daemon left is replaced.
#pragma once

#include <sys/types.h>

#include <string>

namespace redlock::rpc {

// The ids of user, user:group or :group. An id of -1 leaves the owner or the group unchanged.
struct FileOwner {
  uid_t user = static_cast<uid_t>(-1);
  gid_t group = static_cast<gid_t>(-1);
};

// Throws config::ConfigError if there is no such user or group.
[[nodiscard]] FileOwner OwnerOf(const std::string& text);

class UnixSocket {
 public:
  // Creates nothing yet. `path` is one that config::ValidateListen() accepts. Throws
  // std::runtime_error if a process listens there, and config::ConfigError if no socket can be
  // created there.
  explicit UnixSocket(std::string path);
  // Removes the published socket, unless another process has replaced it, and one that was not
  // published.
  ~UnixSocket();
  UnixSocket(const UnixSocket&) = delete;
  UnixSocket& operator=(const UnixSocket&) = delete;

  // Where to create the socket: PATH.PID
  [[nodiscard]] const std::string& temporary_path() const { return temporary_; }

  // Call once the socket listens. Throws config::ConfigError if the owner cannot be set, and
  // std::runtime_error if another daemon was faster. `owner` is as in OwnerOf(); empty: unchanged.
  void Publish(const std::string& owner);

 private:
  const std::string path_;
  const std::string temporary_;
  int published_ = -1;  // keeps the number of the socket's inode from being used again
};

}  // namespace redlock::rpc
