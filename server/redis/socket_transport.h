// A byte stream over a plain socket: TCP or Unix.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "server/loop/fd_watcher.h"
#include "server/loop/resolver.h"
#include "server/redis/transport.h"

namespace redlock::redis {

// Looks up the host and tries each of its addresses. TlsTransport overrides how the open socket is
// used.
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
  // The socket can be read, or written if that was wanted.
  virtual void OnEvents(FdWatcher::Events events);

  [[nodiscard]] int fd() const { return fd_; }
  // To be called when the stream is ready for use.
  void Ready();
  void Want(FdWatcher::Events events) { watcher_->Want(events); }
  [[nodiscard]] Listener& listener() { return listener_; }
  // Closes the socket and calls the listener, which may destroy this.
  void Fail(std::string why);

  // Large enough for a TLS record, and for the replies of most turns of the loop.
  std::array<char, std::size_t{16} * 1024> incoming_;

 private:
  void TryNextAddress();
  void OnConnecting();
  void Close();

  EventLoop& loop_;
  Listener& listener_;
  std::optional<Resolver> resolver_;
  std::vector<SocketAddress> addresses_;  // still to be tried, the next one last
  std::string last_error_;
  int fd_ = -1;
  bool open_ = false;
  std::optional<FdWatcher> watcher_;
  TimerHandle failed_;  // starts the first attempt if no look-up is needed
};

}  // namespace redlock::redis
