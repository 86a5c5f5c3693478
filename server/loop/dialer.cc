#include "server/loop/dialer.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace redlock {
namespace {

std::string Message(int error) { return std::generic_category().message(error); }

}  // namespace

Dialer::Dialer(EventLoop& loop, std::vector<SocketAddress> addresses, Done done)
    : loop_(loop), addresses_(std::move(addresses)), done_(std::move(done)) {
  if (addresses_.size() > kMaxAddresses) addresses_.resize(kMaxAddresses);
  std::reverse(addresses_.begin(), addresses_.end());
  next_ = loop_.After({}, [this] { TryNext(); });
}

Dialer::Attempt::Attempt(EventLoop& loop, int socket, FdWatcher::Ready ready) : fd(socket) {
  watcher.emplace(loop, socket, std::move(ready));
  watcher->Want({.readable = false, .writable = true});
}

Dialer::Attempt::~Attempt() {
  watcher.reset();  // before the descriptor is closed
  if (fd >= 0) close(fd);
}

void Dialer::TryNext() {
  while (!addresses_.empty()) {
    const SocketAddress address = addresses_.back();
    addresses_.pop_back();
    const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const auto* const raw = reinterpret_cast<const sockaddr*>(&address.storage);
    if (fd < 0 || (connect(fd, raw, address.size) != 0 && errno != EINPROGRESS)) {
      last_error_ = Message(errno);
      if (fd >= 0) close(fd);
      continue;
    }
    attempts_.emplace_back(loop_, fd, [this, fd](FdWatcher::Events) {
      OnAnswer(std::find_if(attempts_.begin(), attempts_.end(),
                            [fd](const Attempt& attempt) { return attempt.fd == fd; }));
    });
    next_ = loop_.After(kHeadStart, [this] { TryNext(); });
    return;
  }
  if (attempts_.empty()) Finish(-1);
}

void Dialer::OnAnswer(Attempts::iterator attempt) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    attempts_.erase(attempt);
    last_error_ = Message(error);
    TryNext();
    return;
  }
  const int fd = std::exchange(attempt->fd, -1);
  attempts_.clear();
  Finish(fd);
}

void Dialer::Finish(int fd) {
  next_.Cancel();
  const Done done = std::move(done_);
  const std::string error = std::move(last_error_);
  done(fd, fd < 0 ? error : "");  // may destroy this
}

}  // namespace redlock
