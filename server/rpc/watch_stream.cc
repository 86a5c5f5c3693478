#include "server/rpc/watch_stream.h"

#include <algorithm>
#include <utility>

namespace redlock::rpc {
namespace {

// How many events per item may wait for a client that reads slowly.
constexpr std::size_t kQueuedPerItem = 8;

}  // namespace

std::shared_ptr<WatchStream> WatchStream::Self() {
  return std::static_pointer_cast<WatchStream>(shared_from_this());
}

void WatchStream::OnRead(const grpc::ByteBuffer& message) {
  auto checked = ParseAndCheck<v1::WatchRequest>(message, service_.rules());
  if (auto* faults = std::get_if<Violations>(&checked)) {
    Close(ToStatus(*faults));
    return;
  }
  auto commands = std::get<std::vector<WatchCommand>>(std::move(checked));
  if (commands.size() == 1) SetSubject(commands[0].key);
  WithOutbox([most = kQueuedPerItem * commands.size()](auto& outbox) { outbox.SetMost(most); });
  Sort(std::move(commands));
  Prove();
  if (!Register()) return;
  if (MayKeepAll()) {
    Start();
  } else {
    Refuse(Refusal::kPermissionDenied);
  }
}

// Sorts the commands by shard.
void WatchStream::Sort(std::vector<WatchCommand> commands) {
  live_items_ = commands.size();
  const auto shards = service_.shards.shards();
  parts_.resize(shards.size());
  for (std::size_t i = 0; i < shards.size(); ++i) parts_[i].thread = shards[i].get();
  for (WatchCommand& command : commands) {
    parts_[service_.shards.IndexFor(command.key)].commands.push_back(std::move(command));
  }
}

bool WatchStream::MayKeepAll() const {
  return std::all_of(parts_.begin(), parts_.end(), [this](const Part& part) {
    return std::all_of(part.commands.begin(), part.commands.end(), [this](const auto& command) {
      return MayKeep(command.key, LeaseOrigin::kTakenOver);
    });
  });
}

void WatchStream::Start() {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].commands.empty()) continue;
    parts_[i].thread->Do([self = Self(), i](Shard& shard) {
      if (self->ended_) return;
      Part& part = self->parts_[i];
      part.leases =
          std::make_shared<LeaseSet>(shard, *self, self->caller().source(), self->recorder());
      for (WatchCommand& command : std::exchange(part.commands, {})) {
        part.leases->Watch(std::move(command));
      }
    });
  }
}

void WatchStream::OnEvent(const Key& key, const WatchEvent& event) {
  if (event.goes_on || IsLoss(event)) {
    auto response = ToResponse<v1::WatchResponse>(key, event, service_.names);
    Send([&response](auto& outbox) { return outbox.Add(std::move(response)); });
  }
  if (IsLoss(event)) log().Lost(context(), key, event.error.message);
  if (!event.goes_on && --live_items_ == 0) Close(StatusAfter(event, service_.names));
}

bool WatchStream::MayKeep(const Key& key, LeaseOrigin /*origin*/) const {
  return caller().May(access::Action::kExtend, key);
}

void WatchStream::RecheckLeases() {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    parts_[i].thread->Do([self = Self(), i](Shard&) {
      if (const auto& leases = self->parts_[i].leases) leases->Recheck();
    });
  }
}

void WatchStream::EndLeases(StreamEnd end) {
  if (ended_.exchange(true)) return;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    parts_[i].thread->Do([self = Self(), i, end](Shard&) {
      const auto leases = std::exchange(self->parts_[i].leases, nullptr);
      if (leases) leases->End(end, [] {});
    });
  }
}

}  // namespace redlock::rpc
