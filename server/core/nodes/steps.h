// The steps that change a key or the guard's mark on a node.
//
// Except for a ReleaseStep, a step refers to its arguments, which must outlive the call that takes
// the step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/core/types.h"

namespace redlock {

// What a node must carry to vote. If it carries another stamp, it does nothing and answers
// kOtherSet. A step that may grant also compares the mark: with another one, the node answers
// kQuarantined. Releases compare nothing, so that they also reach nodes that have left the set.
struct Expected {
  std::string_view stamp;  // of the node set; empty: neither is compared
  std::string_view mark;   // the guard's; empty: not compared
};

// No step shortens the remaining TTL of a key, except when the holder gives the key away.
//
// The part of the lease's delay that still fits within `longest` after this TTL.
[[nodiscard]] inline Duration DelayOf(Duration ttl, const Owner& owner, Duration longest) {
  return std::max(std::min(owner.lock_delay, longest - ttl), Duration());
}

// The mode of the key decides what a step acquires, extends or repairs: the key itself, or a share
// of it. A release releases whichever of the two the token holds.

// TTLs in steps do not include the lock delay. To the TTL of a new holder, nodes add the delay of
// its `owner`. To that of an extension, they add the delay that they store. The sum never exceeds
// `longest`: nodes shorten the delay if needed, and store the shortened one. The TTL is therefore
// always the expiry minus the stored delay.
//
// Nodes measure by their own clocks for how long a lease is held. No step reads Owner::since.

// Acquires the key. The lease then belongs to the stream {fence, attempt}. If the token held the
// key before, the lease belongs to {number, attempt}, with a number one above the previous
// stream's.
struct AcquireStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  Duration longest;
  FencingToken fence;
  AttemptId attempt;
  const Owner& owner;
  // If this token already holds the key, extends it and keeps the stored fence, value and delay.
  bool adopt = false;
  Expected expected = {};
};

// Gives the key to another token if `from` holds it or no token does. If the step is repeated with
// the same attempt and a higher fence, it raises the fence. The lease then belongs to {fence,
// attempt}.
struct HandOverStep {
  const Key& key;
  const OwnerToken& from;
  const OwnerToken& to;
  Duration ttl;
  Duration longest;
  FencingToken fence;
  AttemptId attempt;
  const Owner& owner;
  Expected expected = {};
};

struct ExtendStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  Duration longest;
  // The node then stores at least this fence. If the stored fence belongs to an earlier holder, the
  // node refuses to store a lower one for this holder. 0: keeps the stored fence.
  FencingToken raise_to;
  // The node then stores at least this lock delay: it may know the token from an earlier hold.
  Duration least_delay;
  // The stream that extends, if any. It replaces a stream with a lower number, to which the lease
  // belonged before an adoption that did not reach this node. Unset: the lease then belongs to no
  // stream, so that the end of a stream does not delete a lease that is kept by other means.
  std::optional<Keeper> keeper = {};
  // The lease then belongs to `keeper`. If it belongs to another stream whose number is not lower,
  // the node answers kStaleFence with that number.
  bool adopt = false;
  // Of a shared key: if the token holds the keys exclusively, with a fence that is not higher, they
  // become shares. A later exclusive hold of the token, which has a higher fence, stays. 0: such
  // keys are not extended.
  FencingToken downgrade_from = {};
  Expected expected = {};
};

// Puts a lost key back for a token that a quorum has just confirmed. Never lowers a fence: if the
// node stores a higher one, which may be another holder's, it stores a fence above that.
struct RepairStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  Duration longest;
  FencingToken fence;
  // The stream that the lease belongs to according to the quorum. The end of an earlier stream must
  // not delete the key here. Unset: the quorum knows of no stream, and the end of a stream does not
  // delete the key here.
  std::optional<Keeper> keeper;
  // The repair counts as a vote. It needs a node that may grant, and that has seen no higher fence:
  // otherwise there may have been another holder since.
  bool counts = false;
  // As the nodes of the quorum store it.
  Owner owner = {};
  std::optional<Duration> held_for = {};  // unset: unknown
  Expected expected = {};
};

// Says that an exclusive acquisition waits until nobody shares the key any more. Until the TTL has
// passed, the node grants no new share. It extends and repairs the shares that exist. Another one's
// intent is left as it is.
struct IntendStep {
  const Key& key;  // a single one
  AttemptId id;    // whose intent it is
  Duration ttl;    // 0: withdraws the intent
};

// Replaces the value that the token publishes with the key, a share of it or its slot. A node
// refuses a number that is not above that of the present value and above the fence. It replies
// kStaleFence and the number to exceed.
struct ProclaimStep {
  const Key& key;
  const OwnerToken& token;
  const PublishedValue& value;
  std::uint64_t number;
  Expected expected = {};
};

struct InspectStep {
  const Key& key;
  // Somebody observes the key: for the next seconds, the node announces changes of keys.
  bool observe = false;
  Expected expected = {};
};

// Owns its key and token, because a clean-up keeps it.
struct ReleaseStep {
  Key key;
  OwnerToken token;
  // Set for a roll-back: releases only a key that this attempt acquired and that has not been
  // extended since. A late roll-back must not end a lease that its owner has confirmed meanwhile,
  // or that the owner's second attempt has acquired with the same token.
  std::optional<AttemptId> only_attempt = {};
  // Set for a token that its owner may use again: releases only a lease with a lower fence, and
  // stores this fence on the node. If the holder's fence is not lower, the node answers kStaleFence
  // with the fence. After a quorum is sealed, a later hold by the same token has a higher fence, so
  // that a release that arrives late at another node cannot end it. 0: not sealed. A node where the
  // token does not hold the key stores nothing.
  FencingToken seal = {};
  // Announces the release to the daemons that listen, if a key was released.
  bool announce = false;
  // Set if this stream has ended: releases only a lease that belongs to it or to a stream with a
  // lower number, which it has replaced. The client may have adopted the lease at another daemon
  // before this daemon noticed the end.
  std::optional<Keeper> at_end_of = {};
  // Keeps the key taken until this long after its acquisition, by the node's clock. Nobody holds it
  // then. A repetition finds it kept and is granted. 0: the key is free at once.
  Duration keep_for = {};
  // The lease was lost: the key stays taken for the delay that the node stores.
  bool leave_delay = false;
  bool operator==(const ReleaseStep&) const = default;
};

// Replaces the guard's mark if it is `from` (empty: if there is none), and if the node carries the
// stamp (empty: any).
struct MarkStep {
  const std::string& from;
  const std::string& to;
  std::string_view stamp;
};

}  // namespace redlock
