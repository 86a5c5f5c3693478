#include "server/rpc/watch_stream.h"

#include <utility>

namespace redlock::rpc {
namespace {

// A client that does not read may lag behind by so many events for each of its items.
constexpr std::size_t kQueuedPerItem = 8;

}  // namespace

std::shared_ptr<WatchStream> WatchStream::Self() {
  return std::static_pointer_cast<WatchStream>(shared_from_this());
}

void WatchStream::OnRequest(const grpc::ByteBuffer& message) {
  v1::WatchRequest request;
  if (Violations faults = ParseMessage(message, request); !faults.empty()) {
    Close(ToStatus(faults));
    return;
  }
  auto checked = Check(request, service_.rules);
  if (auto* faults = std::get_if<Violations>(&checked)) {
    Close(ToStatus(*faults));
    return;
  }
  auto commands = std::get<std::vector<WatchCommand>>(std::move(checked));
  for (const WatchCommand& command : commands) {
    if (!Permit(access::Verb::kExtend, command.key)) return;
  }
  if (commands.size() == 1) SetSubject(commands[0].key.value());
  max_queued_ = std::max(max_queued_, kQueuedPerItem * commands.size());
  items_.resize(commands.size());
  live_items_ = commands.size();
  for (std::size_t i = 0; i < commands.size(); ++i) {
    items_[i].thread = &service_.shards.For(commands[i].key);
  }
  if (!Register()) return;
  for (std::size_t i = 0; i < commands.size(); ++i) StartItem(i, std::move(commands[i]));
}

void WatchStream::StartItem(std::size_t index, WatchCommand command) {
  items_[index].thread->Do([self = Self(), index, command = std::move(command)](Shard& shard) {
    if (self->ended()) return;
    const Key key = command.key;
    self->items_[index].watchdog = shard.Watch(
        command, [self, index, key](const WatchEvent& event) { self->OnEvent(index, key, event); });
    if (self->items_[index].watchdog) return;
    self->Close(ToStatus({.reason = Reason::kOverloaded,
                          .message = "the daemon's bound on operations under way is reached"},
                         {}, self->service_.names));
    self->End(Ending::kRelease);
  });
}

void WatchStream::OnEvent(std::size_t index, const Key& key, const WatchEvent& event) {
  const bool lost = event.type == WatchEvent::Type::kLost;
  if (event.type != WatchEvent::Type::kLifetimeEnded) {
    Send(ToResponse<v1::WatchResponse>(key, event, service_.names));
  }
  if (lost) log().Lost(context(), key.value(), event.error.message);
  if (event.goes_on) return;
  items_[index].watchdog.reset();
  if (--live_items_ > 0) return;
  Close(ToStatus(
      lost ? Error{.reason = Reason::kLockNotHeld, .message = event.error.message} : event.error,
      event.votes, service_.names));
}

void WatchStream::EndLeases(Ending ending) {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    items_[i].thread->Do([self = Self(), i, ending](Shard&) {
      const auto watchdog = std::exchange(self->items_[i].watchdog, nullptr);
      if (watchdog) EndLease(*watchdog, ending);
    });
  }
}

}  // namespace redlock::rpc
