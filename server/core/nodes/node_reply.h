// What a node answers to a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core/types.h"

namespace redlock {

// What a node reports about keys that it removes when memory is short.
struct Eviction {
  std::string policy;         // the maxmemory-policy by which it may evict; empty: it evicts none
  std::uint64_t evicted = 0;  // keys, since the server started or its statistics were reset
};

// What may change while a server runs, and decides whether it keeps what it confirmed.
struct NodeSettings {
  bool durable = false;  // confirms nothing before it is on disk
  Eviction eviction;
};

// How many shares of a key a node lists.
inline constexpr std::size_t kMostListedShares = 200;

// Of a key that is shared, or a slot of a semaphore.
struct Share {
  OwnerToken token;  // not to be displayed
  Duration remaining{};
  Owner owner;
  FencingToken fence;
  int slot = 0;  // of a semaphore
};

struct NodeReply {
  Outcome outcome = Outcome::kError;
  // The fence that the node stores for the key. Set after a granted acquisition or extension, with
  // kStaleFence, and from Inspect.
  FencingToken fence;
  // `fence` belongs to an earlier holder. The node knows no fence of the present holder, because
  // another library wrote the key.
  bool fence_of_earlier_holder = false;
  // From a granted extension: the stream that the lease belongs to, if any. With kStaleFence from
  // an adoption: only the number is set, and `fence` is 0.
  std::optional<Keeper> keeper;
  // From a granted release with a seal: whether the seal could be stored.
  bool sealed = false;
  // Remaining TTL of the holder, if there is one. From Inspect with kNotHeld: how long the node
  // still refuses the key to everyone, as the last holder requested.
  Duration remaining{};
  // Describes an error, or what is wrong despite a granted trial; never contains a token.
  std::string message;
  // With kError: nothing was sent to the node.
  bool never_sent = false;
  // From a granted release: others still share the key. That is not announced.
  bool still_shared = false;
  // From a granted hand-over: the releaser held the key on this node.
  bool handed_over = false;
  // From an announced release: how many daemons received the announcement.
  int listeners = 0;
  // From Inspect, and with kHeld from Acquire and HandOver: the holder of the key. The token is for
  // comparison and must not be displayed.
  OwnerToken holder;
  // From the same steps, and from a granted extension: the holder, as far as the node knows it.
  Owner owner;
  // If the key is shared or a semaphore, `holder` is the marker, and this lists who has a share or
  // a slot. From Inspect: at most kMostListedShares. With kHeld: at most one, with its token and
  // owner only. Of those who share the key, it is the one whose share expires last; of those who
  // have a slot, likewise, if no slot is free.
  std::vector<Share> shares;
  // With kHeld from the same steps as `holder`: how many share the key. A share that stays taken
  // after its release counts too.
  int sharers = 0;
  // From Inspect: the values that keep the key, a share or a slot taken although nobody holds it.
  // Each is the token of a lost lease, or the value that replaces a released one. Never displayed.
  std::vector<OwnerToken> keeping;
  // With kHeld from an acquisition or a hand-over of a slot: the slots that are in use. `holder` is
  // the marker.
  SlotSet used_slots;
  // From the same, and from a granted extension of a slot: the slot that the token has. 0 if it has
  // none.
  int own_slot = 0;
  // From Inspect on a guarded node: why the node is quarantined, if it is.
  std::optional<std::string> barred;
  // The stamp of the node set and the guard's mark on the node: with kQuarantined and kOtherSet,
  // and from Mark and ReadMark.
  std::string stamp;
  std::string mark;
  // The node's wall clock, since the epoch: with a granted lock, and from Mark and ReadMark. Of
  // acquisitions that a node carries out at once, only the first grant needs to have it.
  std::optional<Duration> clock;
  // If the step was sent later than the node was asked for it: when it was sent. Set with `clock`,
  // and with a grant that leaves it out.
  std::optional<MonotonicTime> sent;
  // Only from ReadSettings.
  std::optional<NodeSettings> settings;
};

// Receives the answers to a step. The node keeps the sink alive until it has answered.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  virtual void OnReply(NodeIndex node, NodeReply&& reply) = 0;
};

// For steps whose outcome shows later, or does not matter.
class IgnoreReply final : public ReplySink {
 public:
  void OnReply(NodeIndex /*node*/, NodeReply&& /*reply*/) override {}
};

}  // namespace redlock
