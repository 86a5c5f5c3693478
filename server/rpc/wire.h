// Translates the core's values into messages of redlock.v1.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/repeated_field.h>

#include <string>
#include <string_view>
#include <vector>

#include "proto/redlock/v1/lock_service.pb.h"
#include "server/config/config.h"
#include "server/core/shard.h"
#include "server/core/types.h"

namespace redlock::rpc {

// Node names by NodeIndex.
using NodeNames = std::vector<std::string>;
[[nodiscard]] NodeNames NamesOf(const config::Config& config);

// The beginning of a text that a node may have written, as printable ASCII: servers send errors of
// any length and with any bytes, but messages must be UTF-8.
[[nodiscard]] std::string Excerpt(std::string_view text);

void Fill(google::protobuf::Duration& out, Duration duration);
// Of a message with `key`, `keys`, `mode`, `max_holders` and `slot`.
template <typename Message>
void SetKey(Message& out, const Key& key) {
  if (key.IsSeveral()) {
    key.ForEach([&out](std::string_view name) { out.add_keys(std::string(name)); });
  } else {
    out.set_key(std::string(key.names()));
  }
  if (key.IsShared()) out.set_mode(v1::LOCK_MODE_SHARED);
  if (!key.IsSemaphore()) return;
  out.set_max_holders(key.limit());
  out.set_slot(key.slot());
}
void Fill(v1::Lease& out, const Lease& lease);
// For a message that waits to be written: stores the instant at which the validity ends in
// `validity`. SetValidity() replaces it with the time that is left at `now`.
void FillUntil(v1::Lease& out, const Lease& lease);
void SetValidity(v1::Lease& waiting, MonotonicTime now);
// Without the value.
void Fill(v1::Holder& out, const InspectResult::Holder& holder);
// The fields for the holders that InspectResponse and ObserveResponse have in common.
template <typename Response>
void FillHolders(Response& out, const std::vector<InspectResult::Holder>& held_by, bool shared,
                 int limit) {
  out.set_holders(static_cast<std::int32_t>(held_by.size()));
  for (const InspectResult::Holder& holder : held_by) {
    v1::Holder& added = *out.add_held_by();
    Fill(added, holder);
    added.set_value(holder.owner.value.str());
    if (shared) continue;
    out.set_owner(added.owner());
    out.set_value(added.value());
    if (added.has_held_for()) *out.mutable_held_for() = added.held_for();
  }
  if (shared && limit == 0) out.set_mode(v1::LOCK_MODE_SHARED);
  out.set_max_holders(limit);
}
void Fill(v1::Waiter& out, const LeaseListing& waiter);
void Fill(google::protobuf::RepeatedPtrField<v1::Vote>& out, const Votes& votes,
          const NodeNames& names);

}  // namespace redlock::rpc
