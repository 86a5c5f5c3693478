// The interface of one Redis node: the steps that the core sends to it. Implemented over hiredis in
// server/redis and by the simulation. Strand-confined: call only on the shard's strand
// (server/loop/event_loop.h); answers arrive there too.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/core/types.h"

namespace redlock {

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
  // Remaining TTL of the holder, if there is one.
  Duration remaining{};
  // Describes an error; never contains a token.
  std::string message;
  // With kError: nothing was sent to the node.
  bool never_sent = false;
  // From a granted hand-over: the releaser held the key on this node.
  bool handed_over = false;
  // From an announced release: how many daemons received the announcement.
  int listeners = 0;
  // Only from Inspect: the holder of the key. The token is for comparison and must not be
  // displayed.
  OwnerToken holder;
  OwnerLabel owner;
  // From Inspect on a guarded node: why the node is quarantined, if it is.
  std::optional<std::string> barred;
  // The guard's mark on the node: with kQuarantined, and from Mark and ReadMark.
  std::string mark;
  // The node's wall clock, since the epoch: with a granted lock, and from Mark and ReadMark.
  std::optional<Duration> clock;
};

// Receives the answers to a step. The node keeps the sink alive until it has answered.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  virtual void OnReply(NodeIndex node, NodeReply reply) = 0;
};

// Receives the release announcements of subscribed keys. Must outlive the node.
class AnnouncementSink {
 public:
  virtual ~AnnouncementSink() = default;
  // Releases on this node are announced from now on. Earlier ones may have been missed.
  virtual void OnListening(NodeIndex node, const Key& key) = 0;
  // The connection broke: no announcement arrives until the next OnListening.
  virtual void OnDeaf(NodeIndex node) = 0;
  virtual void OnAnnounced(NodeIndex node, const Key& key) = 0;
};

// What a node reports about itself when a connection is made.
struct NodeFacts {
  std::string version;            // for display
  std::string run_id;             // drawn by the server process at startup
  std::string mark;               // the guard's mark; empty: none
  bool durable = false;           // confirms nothing before it is on disk
  Duration uptime{};              // of the process, by its own clock, in whole seconds
  std::optional<Duration> clock;  // its wall clock, since the epoch
  MonotonicTime asked;            // when `clock` was requested
};

// Observes the connection that carries the steps. Must outlive the node or be removed first.
class NodeObserver {
 public:
  virtual ~NodeObserver() = default;
  // Called before the first step is sent.
  virtual void OnConnected(NodeIndex node, const NodeFacts& facts) = 0;
  // The connection broke or could not be made.
  virtual void OnDisconnected(NodeIndex node) = 0;
};

// No step shortens the remaining TTL of a key, except when the holder gives the key away.

// Acquires the key. The lease then belongs to the stream {fence, attempt}. If the token held the
// key before, the lease belongs to {number, attempt}, with a number one above the previous
// stream's.
struct AcquireStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  FencingToken fence;
  AttemptId attempt;
  const OwnerLabel& owner;
  // If this token already holds the key, extends it and keeps the stored fence.
  bool adopt = false;
  // The guard's mark that must be on the node. If it is missing, the node does nothing and answers
  // kQuarantined. Empty: the mark is not compared.
  std::string_view mark = {};
};

// Gives the key to another token if `from` holds it or no token does. If the step is repeated with
// the same attempt and a higher fence, it raises the fence. The lease then belongs to {fence,
// attempt}.
struct HandOverStep {
  const Key& key;
  const OwnerToken& from;
  const OwnerToken& to;
  Duration ttl;
  FencingToken fence;
  AttemptId attempt;
  const OwnerLabel& owner;
  std::string_view mark = {};  // as in AcquireStep
};

struct ExtendStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  // The node then stores at least this fence. If the stored fence belongs to an earlier holder, the
  // node refuses to store a lower one for this holder. 0: keeps the stored fence.
  FencingToken raise_to;
  // The stream that extends, if any. It replaces a stream with a lower number, to which the lease
  // belonged before an adoption that did not reach this node. Unset: the lease then belongs to no
  // stream, so that the end of a stream does not delete a lease that is kept by other means.
  std::optional<Keeper> keeper = {};
  // The lease then belongs to `keeper`. If it belongs to another stream whose number is not lower,
  // the node answers kStaleFence with that number.
  bool adopt = false;
};

// Puts a lost key back for a token that a quorum has just confirmed. Never lowers a fence: if the
// node stores a higher one, which may be another holder's, it stores a fence above that.
struct RepairStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  FencingToken fence;
  // The stream that the lease belongs to according to the quorum. The end of an earlier stream must
  // not delete the key here. Unset: the quorum knows of no stream, and the end of a stream does not
  // delete the key here.
  std::optional<Keeper> keeper;
};

struct ReleaseStep {
  const Key& key;
  const OwnerToken& token;
  // Set for a roll-back: releases only a key that this attempt acquired and that has not been
  // extended since. A late roll-back must not end a lease that its owner has confirmed meanwhile,
  // or that the owner's second attempt has acquired with the same token.
  std::optional<AttemptId> only_attempt;
  // Set for a token that its owner may use again: releases only a lease with a lower fence, and
  // stores this fence on the node. If the holder's fence is not lower, the node answers kStaleFence
  // with the fence. After a quorum is sealed, a later hold by the same token has a higher fence, so
  // that a release that arrives late at another node cannot end it. 0: not sealed. A node where the
  // token does not hold the key stores nothing.
  FencingToken seal;
  // Announces the release to the daemons that listen, if a key was released.
  bool announce = false;
  // Set if this stream has ended: releases only a lease that belongs to it or to a stream with a
  // lower number, which it has replaced. The client may have adopted the lease at another daemon
  // before this daemon noticed the end.
  std::optional<Keeper> at_end_of = {};
};

// Replaces the guard's mark if it is `from` (empty: if there is none).
struct MarkStep {
  const std::string& from;
  const std::string& to;
};

// Arguments are not used after a call returns. Each step is answered exactly once, never inside the
// call: with the node's reply, however late, or with kError when no reply can come any more because
// the connection broke. Steps execute in the order in which they were sent, except those that are
// sent again because the node had lost its script.
class Node {
 public:
  virtual ~Node() = default;
  virtual void Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Repair(const RepairStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Inspect(const Key& key, std::shared_ptr<ReplySink> sink) = 0;
  // Reports only whether the key is free (kNotHeld) or not (kHeld). The cheapest step.
  virtual void Probe(const Key& key, std::shared_ptr<ReplySink> sink) = 0;
  // Mark and ReadMark report the resulting mark and the node's clock.
  virtual void Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void ReadMark(std::shared_ptr<ReplySink> sink) = 0;

  // Sets the observer; null removes it. It is never called inside a call, and only from the next
  // connection on.
  virtual void ObserveWith(NodeObserver* observer) = 0;

  // Sets the sink of announcements; null removes it. It is never called inside a call. A key is
  // subscribed to once.
  virtual void ListenTo(AnnouncementSink* sink) = 0;
  virtual void Subscribe(const Key& key) = 0;
  virtual void Unsubscribe(const Key& key) = 0;
};

}  // namespace redlock
