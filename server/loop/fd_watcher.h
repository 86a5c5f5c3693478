// Tells when a socket, or another descriptor, can be read or written.
#pragma once

#include <functional>

namespace redlock {

class EventLoop;

// In the loop's turns. Does not own the descriptor, which must stay open until this is destroyed.
class FdWatcher {
 public:
  struct Events {
    bool readable = false;  // also where the peer has hung up
    bool writable = false;
    bool operator==(const Events&) const = default;
  };
  // May destroy the watcher.
  using Ready = std::function<void(Events)>;

  FdWatcher(EventLoop& loop, int fd, Ready ready);
  ~FdWatcher();
  FdWatcher(const FdWatcher&) = delete;
  FdWatcher& operator=(const FdWatcher&) = delete;

  // Tells as long as it is so, from now on.
  void Want(Events events);

 private:
  struct Handle;  // libuv's, which outlives this for a moment
  static void OnError(Handle& handle);

  EventLoop& loop_;
  Handle* const handle_;
  Events wanted_;
};

}  // namespace redlock
