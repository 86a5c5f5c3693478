// Reports when a socket or another descriptor can be read or written.
#pragma once

#include <functional>

namespace redlock {

class EventLoop;

// Must be used on the loop's strand. Does not own the descriptor, which must stay open until this
// is destroyed.
class FdWatcher {
 public:
  struct Events {
    bool readable = false;  // also set if the peer has hung up
    bool writable = false;
    bool operator==(const Events&) const = default;
  };
  // May destroy the watcher.
  using Ready = std::function<void(Events)>;

  FdWatcher(EventLoop& loop, int fd, Ready ready);
  ~FdWatcher();
  FdWatcher(const FdWatcher&) = delete;
  FdWatcher& operator=(const FdWatcher&) = delete;

  // From now on, calls `ready` as long as one of these events is present (level-triggered).
  void Want(Events events);

 private:
  struct Handle;  // owned by libuv, which frees it shortly after this is destroyed
  static void OnError(Handle& handle);

  EventLoop& loop_;
  Handle* const handle_;
  Events wanted_;
};

}  // namespace redlock
