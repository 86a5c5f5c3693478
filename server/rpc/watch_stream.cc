#include "server/rpc/watch_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>
#include <utility>

namespace redlock::rpc {
namespace {

// A client that does not read may lag behind by so many events for each of its items.
constexpr std::size_t kQueuedPerItem = 8;
constexpr std::size_t kQueuedAtLeast = 64;

v1::WatchResponse ToWire(const Key& key, const WatchEvent& event, const NodeNames& names) {
  v1::WatchResponse out;
  out.set_key(key.value());
  out.set_consecutive_failures(event.consecutive_failures);
  Fill(*out.mutable_votes(), event.votes, names);
  switch (event.type) {
    case WatchEvent::Type::kExtended:
      out.set_type(v1::EVENT_TYPE_EXTENDED);
      Fill(*out.mutable_lease(), event.lease);
      return out;
    case WatchEvent::Type::kExtendFailed:
      out.set_type(v1::EVENT_TYPE_EXTEND_FAILED);
      break;
    case WatchEvent::Type::kLost:
    case WatchEvent::Type::kLifetimeEnded:
      out.set_type(v1::EVENT_TYPE_LOST);
      break;
  }
  out.set_reason(std::string(ToString(event.error.reason)));
  out.set_message(event.error.message);
  return out;
}

}  // namespace

WatchStream* WatchStream::Start(const ServiceContext& service, StreamRegistry& registry,
                                const grpc::ByteBuffer& request) {
  auto* const stream = new WatchStream(service, registry);
  stream->self_.reset(stream);
  stream->Begin(request);
  return stream;
}

WatchStream::WatchStream(const ServiceContext& service, StreamRegistry& registry)
    : service_(service), registry_(registry) {}

void WatchStream::Begin(const grpc::ByteBuffer& buffer) {
  v1::WatchRequest request;
  if (Violations faults = ParseMessage(buffer, request); !faults.empty()) {
    Close(ToStatus(faults));
    return;
  }
  auto checked = Check(request, service_.rules);
  if (auto* faults = std::get_if<Violations>(&checked)) {
    Close(ToStatus(*faults));
    return;
  }
  auto commands = std::get<std::vector<WatchCommand>>(std::move(checked));
  items_.resize(commands.size());
  live_items_ = commands.size();
  registered_ = registry_.Add(this, service_.max_streams);
  if (!registered_) {
    items_.clear();
    Close(ToStatus(
        {.reason = Reason::kOverloaded, .message = "the daemon's bound on open streams is reached"},
        {}, service_.names));
    return;
  }
  for (std::size_t i = 0; i < commands.size(); ++i) {
    items_[i].thread = &service_.shards.For(commands[i].key);
  }
  for (std::size_t i = 0; i < commands.size(); ++i) StartItem(i, std::move(commands[i]));
}

void WatchStream::StartItem(std::size_t index, WatchCommand command) {
  items_[index].thread->Post([self = self_, index, command = std::move(command)](Shard& shard) {
    self->items_[index].watchdog =
        shard.Watch(command, [raw = self.get(), self, index, key = command.key](WatchEvent event) {
          raw->OnEvent(index, key, std::move(event));
        });
    if (!self->items_[index].watchdog) {
      self->Close(ToStatus({.reason = Reason::kOverloaded,
                            .message = "the daemon's bound on operations under way is reached"},
                           {}, self->service_.names));
      self->EndWatchdogs();
    }
  });
}

void WatchStream::OnEvent(std::size_t index, const Key& key, WatchEvent event) {
  const WatchEvent::Type type = event.type;
  if (type != WatchEvent::Type::kLifetimeEnded) Send(ToWire(key, event, service_.names));
  if (event.goes_on) return;
  items_[index].watchdog.reset();
  ItemEnded(ToStatus(type == WatchEvent::Type::kLost
                         ? Error{.reason = Reason::kLockNotHeld, .message = event.error.message}
                         : event.error,
                     event.votes, service_.names));
}

void WatchStream::ItemEnded(const grpc::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (--live_items_ > 0) return;
  }
  Close(status);
}

void WatchStream::EndWatchdogs() {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    items_[i].thread->Post([self = self_, i](Shard&) {
      if (const auto watchdog = std::exchange(self->items_[i].watchdog, nullptr)) {
        watchdog->Cancel(Reason::kCancelled);
      }
    });
  }
}

void WatchStream::TellDraining() {
  v1::WatchResponse event;
  event.set_type(v1::EVENT_TYPE_DRAINING);
  event.set_reason(std::string(ToString(Reason::kDraining)));
  event.set_message("the daemon is shutting down: open the same leases at another one");
  Send(std::move(event));
}

void WatchStream::Send(v1::WatchResponse event) {
  bool overloaded = false;
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || finished_) return;
    // A client that lags behind needs the newest extension of a lease only.
    if (event.type() == v1::EVENT_TYPE_EXTENDED) {
      std::erase_if(queue_, [&event](const v1::WatchResponse& queued) {
        return queued.type() == v1::EVENT_TYPE_EXTENDED && queued.key() == event.key();
      });
    }
    overloaded = queue_.size() >= std::max(kQueuedAtLeast, kQueuedPerItem * items_.size());
    if (!overloaded) {
      queue_.push_back(std::move(event));
      if (!writing_) WriteNext();
    } else {
      queue_.clear();
    }
  }
  if (!overloaded) return;
  Close(ToStatus({.reason = Reason::kOverloaded, .message = "the client does not read its events"},
                 {}, service_.names));
  EndWatchdogs();
}

void WatchStream::WriteNext() {
  buffer_.Clear();
  bool own_buffer = false;
  (void)grpc::GenericSerialize<grpc::ProtoBufferWriter, v1::WatchResponse>(queue_.front(), &buffer_,
                                                                           &own_buffer);
  queue_.pop_front();
  writing_ = true;
  StartWrite(&buffer_);
}

void WatchStream::OnWriteDone(bool ok) {
  std::optional<grpc::Status> status;
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) queue_.clear();  // the client has gone; OnCancel follows
    if (!queue_.empty()) {
      WriteNext();
      return;
    }
    if (!closing_ || finished_) return;
    finished_ = true;
    status = closing_;
  }
  Finish(*status);
}

void WatchStream::Close(const grpc::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || finished_) return;
    closing_ = status;
    if (writing_) return;  // OnWriteDone finishes
    finished_ = true;
  }
  Finish(status);
}

void WatchStream::OnCancel() {
  EndWatchdogs();
  Close(grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED: the client has gone"));
}

void WatchStream::OnDone() {
  if (registered_) registry_.Remove(this);
  self_.reset();  // deletes this, unless a shard still holds it
}

}  // namespace redlock::rpc
