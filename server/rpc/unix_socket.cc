#include "server/rpc/unix_socket.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "server/config/config.h"
#include "server/config/listen_address.h"
#include "server/core/format.h"

namespace redlock::rpc {
namespace {

using std::chrono::milliseconds;

std::string About(const std::string& path, const std::string& what) {
  return "--listen unix:" + path + ": " + what;
}

// For what a later start may find in order.
[[noreturn]] void Fail(const std::string& path, const std::string& what) {
  throw std::runtime_error(About(path, what));
}

[[noreturn]] void Refuse(const std::string& path, const std::string& what) {
  throw config::ConfigError(About(path, what));
}

// Locks the directory of a socket, so that only one daemon at a time looks at a path and changes
// it. Nothing is left behind, even after a crash.
class DirectoryLock {
 public:
  // Waits for a bounded time. locked() is false if the directory cannot be locked.
  explicit DirectoryLock(const std::string& path)
      : fd_(open(path.substr(0, path.rfind('/') + 1).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    constexpr milliseconds kPatience{2000}, kPause{5};
    if (fd_ < 0) error_ = errno;
    for (milliseconds waited{}; fd_ >= 0 && waited <= kPatience; waited += kPause) {
      if (flock(fd_, LOCK_EX | LOCK_NB) == 0) {
        error_ = 0;
        return;
      }
      error_ = errno;
      std::this_thread::sleep_for(kPause);
    }
  }
  ~DirectoryLock() {
    if (fd_ >= 0) close(fd_);
  }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

  [[nodiscard]] bool locked() const { return error_ == 0; }
  [[nodiscard]] int error() const { return error_; }

 private:
  const int fd_;
  int error_ = 0;
};

// Tries to connect. Returns 0 if a process listens at the path.
int Connect(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  static_assert(config::kMaxSocketPath < sizeof(address.sun_path));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int error =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  close(fd);
  return error == EAGAIN ? 0 : error;  // it listens, but its queue is full
}

// Fails unless a new socket may take the path.
void RequireFree(const std::string& path) {
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) {
    if (errno != ENOENT) Refuse(path, ErrorText(errno));
    return;
  }
  if (!S_ISSOCK(found.st_mode))
    Refuse(path, "the file exists and is not a socket; remove it or choose another path");
  const int error = Connect(path);
  if (error == ECONNREFUSED || error == ENOENT) return;  // left by a process that has ended
  if (error == 0) {
    Fail(path, "another process listens there; stop it or choose another path");
  }
  Fail(path, "cannot find out whether another process listens there: " + ErrorText(error));
}

}  // namespace

FileOwner OwnerOf(const std::string& text) {
  const std::size_t colon = text.find(':');
  const auto fail = [&](const char* what) {
    throw config::ConfigError("--unix-socket-owner " + text + ": " + what);
  };
  // Only one thread looks up users.
  // NOLINTBEGIN(concurrency-mt-unsafe)
  FileOwner owner;
  if (colon != 0) {
    const passwd* const user = getpwnam(text.substr(0, colon).c_str());
    if (user == nullptr) fail("there is no such user");
    owner = {user->pw_uid, user->pw_gid};
  }
  if (colon == std::string::npos) return owner;
  const group* const named = getgrnam(text.substr(colon + 1).c_str());
  // NOLINTEND(concurrency-mt-unsafe)
  if (named == nullptr) fail("there is no such group");
  owner.group = named->gr_gid;
  return owner;
}

UnixSocket::UnixSocket(std::string path)
    : path_(std::move(path)), temporary_(path_ + "." + std::to_string(getpid())) {
  const std::string directory = path_.substr(0, path_.rfind('/') + 1);
  if (::access(directory.c_str(), W_OK | X_OK) != 0) {
    Refuse(path_, "cannot create a socket in " + directory + ": " + ErrorText(errno));
  }
  RequireFree(path_);
}

void UnixSocket::Publish(const std::string& owner) {
  if (!owner.empty()) {
    const FileOwner ids = OwnerOf(owner);
    if (chown(temporary_.c_str(), ids.user, ids.group) != 0) {
      throw config::ConfigError("--unix-socket-owner " + owner + ": cannot set the owner of " +
                                path_ + ": " + ErrorText(errno));
    }
  }
  const DirectoryLock lock(path_);
  if (!lock.locked()) Fail(path_, "cannot lock the directory: " + ErrorText(lock.error()));
  RequireFree(path_);
  const int socket = open(temporary_.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (socket < 0 || rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    if (socket >= 0) close(socket);
    Fail(path_, "cannot create the socket: " + ErrorText(error));
  }
  published_ = socket;
}

UnixSocket::~UnixSocket() {
  if (published_ < 0) {
    unlink(temporary_.c_str());
    return;
  }
  const DirectoryLock lock(path_);
  struct stat ours {};
  struct stat found {};
  if (lock.locked() && fstat(published_, &ours) == 0 && lstat(path_.c_str(), &found) == 0 &&
      ours.st_dev == found.st_dev && ours.st_ino == found.st_ino) {
    unlink(path_.c_str());
  }
  close(published_);
}

}  // namespace redlock::rpc
