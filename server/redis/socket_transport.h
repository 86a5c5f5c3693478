// A stream over a socket as it is: TCP or unix.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "server/loop/fd_watcher.h"
#include "server/loop/resolver.h"
#include "server/redis/transport.h"

namespace redlock::redis {

// Looks the host up, and tries each of its addresses. What is done with the socket once it is open
// is virtual, for TLS.
class SocketTransport : public Transport {
 public:
  SocketTransport(EventLoop& loop, const Endpoint& endpoint, Listener& listener);
  ~SocketTransport() override;
  SocketTransport(const SocketTransport&) = delete;
  SocketTransport& operator=(const SocketTransport&) = delete;

  [[nodiscard]] std::size_t Write(std::string_view data) override;

 protected:
  // The socket is open.
  virtual void OnOpen() { Ready(); }
  // Something may be read, or written where that was wanted.
  virtual void OnEvents(FdWatcher::Events events);

  [[nodiscard]] int fd() const { return fd_; }
  // The stream is ready to be used.
  void Ready();
  void Want(FdWatcher::Events events) { watcher_->Want(events); }
  [[nodiscard]] Listener& listener() { return listener_; }
  // Closes, and tells the listener; this may be gone afterwards.
  void Fail(std::string why);

  // A TLS record, and more than the replies of most turns.
  std::array<char, 16 * 1024> incoming_;

 private:
  void TryNextAddress();
  void OnConnecting();
  void Close();

  EventLoop& loop_;
  Listener& listener_;
  std::optional<Resolver> resolver_;
  std::vector<SocketAddress> addresses_;  // yet to be tried, the next one last
  std::string last_error_;
  int fd_ = -1;
  bool open_ = false;
  std::optional<FdWatcher> watcher_;
  TimerHandle failed_;  // before the first address could be tried
};

}  // namespace redlock::redis
