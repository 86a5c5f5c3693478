// A byte stream over a plain socket: TCP or Unix.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "server/loop/dialer.h"
#include "server/loop/fd_watcher.h"
#include "server/loop/resolver.h"
#include "server/redis/transport.h"

namespace redlock::redis {

// Looks up the host and tries its addresses. TlsTransport overrides how the open socket is used.
class SocketTransport : public Transport {
 public:
  // See OpenTransport().
  SocketTransport(EventLoop& loop, const Endpoint& endpoint, std::size_t attempt,
                  Listener& listener);
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
  void OnResolved(std::vector<SocketAddress> addresses, const std::string& error);
  void OnDialed(int fd, const std::string& error);
  void Close();

  EventLoop& loop_;
  const std::size_t attempt_;
  Listener& listener_;
  std::optional<Resolver> resolver_;
  std::optional<Dialer> dialer_;
  int fd_ = -1;
  std::optional<FdWatcher> watcher_;
};

}  // namespace redlock::redis
