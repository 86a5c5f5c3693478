#include "server/rpc/hold_stream.h"

#include <utility>

namespace redlock::rpc {

std::shared_ptr<HoldStream> HoldStream::Self() {
  return std::static_pointer_cast<HoldStream>(shared_from_this());
}

void HoldStream::OnRequest(const grpc::ByteBuffer& message) {
  v1::HoldRequest request;
  if (Violations faults = ParseMessage(message, request); !faults.empty()) {
    Close(ToStatus(faults));
    return;
  }
  auto checked = Check(request, service_.rules);
  if (auto* faults = std::get_if<Violations>(&checked)) {
    Close(ToStatus(*faults));
    return;
  }
  auto command = std::get<HoldCommand>(std::move(checked));
  if (!Permit(access::Verb::kAcquire, command.acquire.key)) return;
  key_ = command.acquire.key;
  SetSubject(key_.value());
  thread_ = &service_.shards.For(key_);
  const auto until_deadline = UntilDeadline(context().deadline());
  if (!Register()) return;
  thread_->Do([self = Self(), command = std::move(command), until_deadline](Shard& shard) mutable {
    if (self->ended()) return;
    if (until_deadline) command.acquire.deadline = shard.Now() + *until_deadline;
    self->StartHold(shard, std::move(command));
  });
}

void HoldStream::StartHold(Shard& shard, HoldCommand command) {
  const auto self = Self();
  command.acquire.queued = [self](std::size_t position) { self->OnQueued(position); };
  hold_ = shard.Hold(std::move(command),
                     {.decided = [self](const AcquireResult& result) { self->OnDecided(result); },
                      .watched = [self](const WatchEvent& event) { self->OnEvent(event); }});
}

void HoldStream::OnQueued(std::size_t position) {
  v1::HoldResponse event;
  event.set_type(v1::EVENT_TYPE_QUEUED);
  event.set_key(key_.value());
  event.set_position(static_cast<std::int32_t>(position));
  Send(std::move(event));
}

void HoldStream::OnDecided(const AcquireResult& result) {
  if (!result.lease) {
    hold_.reset();
    Close(ToStatus(result.error, result.votes, service_.names));
    return;
  }
  v1::HoldResponse event;
  event.set_type(v1::EVENT_TYPE_ACQUIRED);
  event.set_key(key_.value());
  Fill(*event.mutable_lease(), *result.lease);
  Fill(*event.mutable_votes(), result.votes, service_.names);
  Send(std::move(event));
}

void HoldStream::OnEvent(const WatchEvent& event) {
  const bool lost = event.type == WatchEvent::Type::kLost;
  if (event.type != WatchEvent::Type::kLifetimeEnded) {
    Send(ToResponse<v1::HoldResponse>(key_, event, service_.names));
  }
  if (lost) log().Lost(context(), key_.value(), event.error.message);
  if (event.goes_on) return;
  hold_.reset();
  Close(ToStatus(
      lost ? Error{.reason = Reason::kLockNotHeld, .message = event.error.message} : event.error,
      event.votes, service_.names));
}

void HoldStream::EndLeases(Ending ending) {
  if (thread_ == nullptr) return;
  thread_->Do([self = Self(), ending](Shard&) {
    const auto hold = std::exchange(self->hold_, nullptr);
    if (hold) EndLease(*hold, ending);
  });
}

}  // namespace redlock::rpc
