#include "server/rpc/wire.h"

#include <algorithm>
#include <utility>

#include "server/observe/origin.h"

namespace redlock::rpc {
namespace {

v1::VoteOutcome ToWire(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGranted:
      return v1::VOTE_OUTCOME_GRANTED;
    case Outcome::kHeld:
      return v1::VOTE_OUTCOME_HELD;
    case Outcome::kNotHeld:
      return v1::VOTE_OUTCOME_NOT_HELD;
    case Outcome::kStaleFence:
      return v1::VOTE_OUTCOME_STALE_FENCE;
    case Outcome::kError:
      return v1::VOTE_OUTCOME_ERROR;
    case Outcome::kTimeout:
      return v1::VOTE_OUTCOME_TIMEOUT;
    case Outcome::kQuarantined:
      return v1::VOTE_OUTCOME_QUARANTINED;
    case Outcome::kOtherSet:
      return v1::VOTE_OUTCOME_OTHER_SET;
  }
  return v1::VOTE_OUTCOME_UNSPECIFIED;
}

}  // namespace

std::string Excerpt(std::string_view text) {
  constexpr std::size_t kMost = 200;
  std::string excerpt(text.substr(0, kMost));
  const auto is_odd = [](unsigned char c) { return c < ' ' || c > '~'; };
  std::replace_if(excerpt.begin(), excerpt.end(), is_odd, '?');
  if (text.size() > kMost) excerpt += "...";
  return excerpt;
}

NodeNames NamesOf(const config::Config& config) {
  NodeNames names;
  for (const redis::Endpoint& node : config.nodes) names.push_back(node.Name());
  return names;
}

void Fill(google::protobuf::Duration& out, Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  out.set_seconds(seconds.count());
  out.set_nanos(static_cast<std::int32_t>((duration - seconds).count()));
}

void Fill(v1::Lease& out, const Lease& lease) {
  SetKey(out, lease.key);
  out.set_token(lease.token.str());
  out.set_fencing_token(lease.fence.value);
  Fill(*out.mutable_validity(), lease.validity);
}

void FillUntil(v1::Lease& out, const Lease& lease) {
  Fill(out, lease);
  Fill(*out.mutable_validity(), lease.valid_until.time_since_epoch());
}

void SetValidity(v1::Lease& waiting, MonotonicTime now) {
  google::protobuf::Duration& validity = *waiting.mutable_validity();
  const Duration until = std::chrono::seconds(validity.seconds()) + Duration(validity.nanos());
  Fill(validity, std::max(until - now.time_since_epoch(), Duration{}));
}

void Fill(v1::Holder& out, const InspectResult::Holder& holder) {
  observe::OriginParts origin = observe::Decode(holder.owner.origin);
  out.set_owner(holder.owner.label.str());
  out.set_identity(std::move(origin.identity));
  out.set_peer(std::move(origin.peer));
  out.set_daemon(std::move(origin.daemon));
  if (const auto held_for = observe::HeldFor(holder.owner))
    Fill(*out.mutable_held_for(), *held_for);
  out.set_fencing_token(holder.fence.value);
  out.set_slot(holder.slot);
  Fill(*out.mutable_remaining(), holder.remaining);
}

void Fill(v1::Waiter& out, const LeaseListing& waiter) {
  observe::OriginParts origin = observe::Decode(waiter.owner.origin);
  out.set_owner(waiter.owner.label.str());
  out.set_identity(std::move(origin.identity));
  out.set_peer(std::move(origin.peer));
  Fill(*out.mutable_waited(), waiter.waited);
  out.set_position(static_cast<std::int32_t>(waiter.position));
  if (waiter.key.IsShared()) out.set_mode(v1::LOCK_MODE_SHARED);
  out.set_max_holders(waiter.key.limit());
}

void Fill(google::protobuf::RepeatedPtrField<v1::Vote>& out, const Votes& votes,
          const NodeNames& names) {
  for (const Vote& vote : votes) {
    v1::Vote& added = *out.Add();
    added.set_node(names[vote.node]);
    added.set_outcome(ToWire(vote.outcome));
    added.set_message(Excerpt(vote.message));
    Fill(*added.mutable_latency(), vote.latency);
  }
}

}  // namespace redlock::rpc
