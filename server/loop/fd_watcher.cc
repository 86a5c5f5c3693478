#include "server/loop/fd_watcher.h"

#include <uv.h>

#include <memory>
#include <utility>

#include "server/loop/event_loop.h"

namespace redlock {

struct FdWatcher::Handle {
  uv_poll_t poll;
  Ready ready;
  FdWatcher* owner;
  bool closed = false;
};

FdWatcher::FdWatcher(EventLoop& loop, int fd, Ready ready)
    : loop_(loop), handle_(new Handle{.poll = {}, .ready = std::move(ready), .owner = this}) {
  uv_poll_init(loop.uv(), &handle_->poll, fd);
  handle_->poll.data = handle_;
}

FdWatcher::~FdWatcher() {
  handle_->closed = true;
  uv_poll_stop(&handle_->poll);
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->poll),
           [](uv_handle_t* handle) { delete static_cast<Handle*>(handle->data); });
}

// libuv stops watching after an error. Report the descriptor as readable, so that reading it
// returns the error.
void FdWatcher::OnError(Handle& handle) {
  const Events wanted = std::exchange(handle.owner->wanted_, {});
  handle.ready({.readable = true, .writable = false});
  if (!handle.closed && handle.owner->wanted_ == Events{}) handle.owner->Want(wanted);
}

void FdWatcher::Want(Events events) {
  if (events == wanted_) return;
  wanted_ = events;
  loop_.GoRound();
  const int mask =
      (events.readable ? UV_READABLE | UV_DISCONNECT : 0) | (events.writable ? UV_WRITABLE : 0);
  if (mask == 0) {
    uv_poll_stop(&handle_->poll);
    return;
  }
  uv_poll_start(&handle_->poll, mask, [](uv_poll_t* poll, int status, int ready) {
    auto* const handle = static_cast<Handle*>(poll->data);
    if (handle->closed) return;
    handle->owner->loop_.OnReady();
    if (status < 0) {
      OnError(*handle);
      return;
    }
    handle->ready({.readable = (ready & (UV_READABLE | UV_DISCONNECT)) != 0,
                   .writable = (ready & UV_WRITABLE) != 0});
  });
}

}  // namespace redlock
