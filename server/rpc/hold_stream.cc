#include "server/rpc/hold_stream.h"

#include <utility>

namespace redlock::rpc {
namespace {

constexpr std::uint64_t kOnly = 0;  // the id of the only operation

}  // namespace

std::shared_ptr<HoldStream> HoldStream::Self() {
  return std::static_pointer_cast<HoldStream>(shared_from_this());
}

void HoldStream::OnRead(const grpc::ByteBuffer& message) {
  auto checked = ParseAndCheck<v1::HoldRequest>(message, service_.rules());
  if (auto* faults = std::get_if<Violations>(&checked)) {
    Close(ToStatus(*faults));
    return;
  }
  auto command = std::get<HoldCommand>(std::move(checked));
  command.acquire.owner.origin = origin();
  key_ = command.acquire.key;
  SetSubject(key_);
  thread_ = &service_.shards.For(key_);
  const auto until_deadline = UntilDeadline(context().deadline());
  Prove();
  if (!Register()) return;
  if (!caller().May(access::Action::kAcquire, key_)) {
    Refuse(Refusal::kPermissionDenied);
    return;
  }
  thread_->Do([self = Self(), command = std::move(command), until_deadline](Shard& shard) mutable {
    if (self->ended_) return;
    if (until_deadline) {
      command.acquire.deadline = shard.Now() + TimeToAcquire(*until_deadline);
    }
    self->leases_ =
        std::make_shared<LeaseSet>(shard, *self, self->caller().source(), self->recorder());
    self->leases_->Acquire(kOnly, std::move(command));
  });
}

void HoldStream::SendEvent(v1::HoldResponse event) {
  Send([&event](auto& outbox) { return outbox.Add(std::move(event)); });
}

void HoldStream::OnQueued(std::uint64_t /*id*/, std::size_t position) {
  v1::HoldResponse event;
  event.set_type(v1::EVENT_TYPE_QUEUED);
  SetKey(event, key_);
  event.set_position(static_cast<std::int32_t>(position));
  SendEvent(std::move(event));
}

void HoldStream::OnAcquired(std::uint64_t /*id*/, const AcquireResult& result) {
  if (!result.lease) {
    Close(ToStatus(result.error, result.votes, service_.names));
    return;
  }
  v1::HoldResponse event;
  event.set_type(v1::EVENT_TYPE_ACQUIRED);
  SetKey(event, result.lease->key);
  FillUntil(*event.mutable_lease(), *result.lease);
  Fill(*event.mutable_votes(), result.votes, service_.names);
  SendEvent(std::move(event));
}

void HoldStream::OnEvent(const Key& key, const WatchEvent& event) {
  if (event.goes_on || IsLoss(event)) {
    SendEvent(ToResponse<v1::HoldResponse>(key, event, service_.names));
  }
  if (IsLoss(event)) log().Lost(context(), key, event.error.message);
  if (!event.goes_on) Close(StatusAfter(event, service_.names));
}

bool HoldStream::MayKeep(const Key& key, LeaseOrigin /*origin*/) const {
  return caller().May(access::Action::kAcquire, key);
}

void HoldStream::RecheckLeases() {
  thread_->Do([self = Self()](Shard&) {
    if (self->leases_) self->leases_->Recheck();
  });
}

void HoldStream::EndLeases(StreamEnd end) {
  if (thread_ == nullptr || ended_.exchange(true)) return;
  thread_->Do([self = Self(), end](Shard&) {
    if (const auto leases = std::exchange(self->leases_, nullptr)) leases->End(end, [] {});
  });
}

}  // namespace redlock::rpc
