#include "server/rpc/observe_stream.h"

#include <algorithm>
#include <string>

#include "server/loop/event_loop.h"
#include "server/rpc/message.h"
#include "server/rpc/requests.h"

namespace redlock::rpc {
namespace {

std::string WhyUndecided(const Votes& votes, const NodeNames& names) {
  Votes unknown;
  std::ranges::copy_if(votes, std::back_inserter(unknown),
                       [](const Vote& vote) { return IsUnknown(vote.outcome); });
  if (unknown.empty()) return "the nodes do not agree on the holder and its fencing token";
  return "too few nodes answered to decide who holds the key (" + Describe(unknown, names) + ")";
}

v1::ObserveResponse ToResponse(const Observed& state, Duration age, const NodeNames& names) {
  const auto left = [age](Duration then) { return std::max(then - age, Duration{}); };
  v1::ObserveResponse out;
  switch (state.state) {
    case Observed::State::kHeld: {
      out.set_state(v1::HOLDER_STATE_HELD);
      std::vector<InspectResult::Holder> holders = state.held_by;
      for (InspectResult::Holder& holder : holders) holder.remaining = left(holder.remaining);
      FillHolders(out, holders, state.shared, state.limit);
      out.set_fencing_token(state.fence.value);
      Fill(*out.mutable_remaining(), left(state.remaining));
      break;
    }
    case Observed::State::kVacant:
      out.set_state(v1::HOLDER_STATE_VACANT);
      if (state.kept_for > Duration{}) Fill(*out.mutable_kept_for(), left(state.kept_for));
      break;
    case Observed::State::kUndecided:
      out.set_state(v1::HOLDER_STATE_UNDECIDED);
      out.set_message(WhyUndecided(state.votes, names));
      break;
  }
  return out;
}

}  // namespace

grpc::ByteBuffer StateOutbox::Take() {
  const ObservedPtr state = std::exchange(latest_, nullptr);
  return Serialize(ToResponse(*state, BootTime() - state->at, names_));
}

void ObserveStream::OnRead(const grpc::ByteBuffer& message) {
  auto checked = ParseAndCheck<v1::ObserveRequest>(message, service_.rules());
  if (auto* faults = std::get_if<Violations>(&checked)) {
    Close(ToStatus(*faults));
    return;
  }
  key_ = std::get<ObserveCommand>(std::move(checked)).key;
  SetSubject(key_);
  thread_ = &service_.shards.For(key_);
  Prove();
  if (!Register()) return;
  if (!caller().May(access::Action::kInspect, key_)) {
    Refuse(Refusal::kPermissionDenied);
    return;
  }
  thread_->Do([self = std::static_pointer_cast<ObserveStream>(shared_from_this())](Shard& shard) {
    if (self->ended_) return;
    self->observation_ =
        shard.Observe(self->key_, [self](const ObservedPtr& state) { self->OnState(state); });
  });
}

void ObserveStream::OnState(const ObservedPtr& state) {
  Send([&state](StateOutbox& outbox) {
    outbox.Put(state);
    return true;
  });
}

void ObserveStream::TellDraining() {
  EndLeases(StreamEnd::kShutDown);
  Close(ToStatus({.reason = Reason::kDraining,
                  .message = "the daemon is shutting down: observe the key at another daemon"},
                 {}, service_.names));
}

void ObserveStream::RecheckLeases() {
  if (thread_ != nullptr && !caller().May(access::Action::kInspect, key_)) {
    Refuse(Refusal::kPermissionDenied);
  }
}

void ObserveStream::EndLeases(StreamEnd /*end*/) {
  if (thread_ == nullptr || ended_.exchange(true)) return;
  thread_->Do([self = std::static_pointer_cast<ObserveStream>(shared_from_this())](Shard&) {
    self->observation_.reset();
  });
}

}  // namespace redlock::rpc
