// What the core asks of one Redis node. Implemented over hiredis in server/redis and by the
// simulation. Everything in the shard's turns (server/loop/event_loop.h): one thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/core/types.h"

namespace redlock {

struct NodeReply {
  Outcome outcome = Outcome::kError;
  // The fence that the node stores for the key: after an acquisition or extension that was granted,
  // with kStaleFence, and from Inspect.
  FencingToken fence;
  // Left of the holder's TTL, where there is a holder.
  Duration remaining{};
  // Of an error; never holds a token.
  std::string message;
  // From a hand-over that was granted: the releaser held the key here.
  bool handed_over = false;
  // From a release that was announced: how many daemons heard of it.
  int listeners = 0;
  // From Inspect only: who holds the key. The token is for comparison, not for showing.
  OwnerToken holder;
  OwnerLabel owner;
  // From a guarded node's Inspect: why the node is quarantined, if it is.
  std::optional<std::string> barred;
  // What the guard has left on the node: with kQuarantined, and from Mark and Look.
  std::string mark;
  // The node's wall clock, since the epoch: with grants of a lock, and from Mark and Look.
  std::optional<Duration> clock;
};

// Takes in the answers of a step. The node keeps it alive until it has answered.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  virtual void OnReply(NodeIndex node, NodeReply reply) = 0;
};

// Hears of releases, while it has subscribed to a key. Must outlive the node.
class AnnouncementSink {
 public:
  virtual ~AnnouncementSink() = default;
  // From now on, releases on this node will be heard; those before may have been missed.
  virtual void OnListening(NodeIndex node, const Key& key) = 0;
  // The connection broke: no release is heard until the next OnListening.
  virtual void OnDeaf(NodeIndex node) = 0;
  virtual void OnAnnounced(NodeIndex node, const Key& key) = 0;
};

// What a node tells of itself when a connection is made.
struct NodeFacts {
  std::string version;            // for people
  std::string run_id;             // drawn by its server process at start
  std::string mark;               // what a guard left on it; empty: nothing
  bool durable = false;           // confirms nothing before it is on disk
  Duration uptime{};              // of the process, by its own clock, in whole seconds
  std::optional<Duration> clock;  // its wall clock, since the epoch,
  MonotonicTime asked;            // and when it was asked for
};

// Hears of the connection over which steps are sent. Must outlive the node, or be taken back.
class NodeObserver {
 public:
  virtual ~NodeObserver() = default;
  // Before the first step is sent.
  virtual void OnConnected(NodeIndex node, const NodeFacts& facts) = 0;
  // Broken, or not made.
  virtual void OnDisconnected(NodeIndex node) = 0;
};

// No step shortens what is left of a key's TTL, unless the holder gives it away.

struct AcquireStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  FencingToken fence;
  AttemptId attempt;
  const OwnerLabel& owner;
  // Extends, with the fence as it is, where this token already holds the key.
  bool adopt = false;
  // What the guard has left on the node. Where the node has it no more, it answers kQuarantined and
  // does nothing. Empty: not looked at.
  std::string_view mark = {};
};

// Gives the key to another token where `from` holds it, or where nobody does. Repeated with the
// same attempt and a higher fence, it raises the fence.
struct HandOverStep {
  const Key& key;
  const OwnerToken& from;
  const OwnerToken& to;
  Duration ttl;
  FencingToken fence;
  AttemptId attempt;
  const OwnerLabel& owner;
  std::string_view mark = {};  // as for an acquisition
};

struct ExtendStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  // The node stores at least this fence afterwards. 0: as it is.
  FencingToken raise_to;
  // Set where a stream takes it upon itself to release the lock at its end: adopts, as an
  // acquisition can. See ReleaseStep::unless_adopted_from.
  std::optional<AttemptId> adopt_by = {};
};

// Puts a lost key back for a token that a quorum has just confirmed. Never lowers a fence: where
// the node stores a higher one, which may be another holder's, it stores one above that.
struct HealStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  FencingToken fence;
};

struct ReleaseStep {
  const Key& key;
  const OwnerToken& token;
  // Set for a roll-back: releases only what this very attempt acquired and what has not been
  // extended since. A roll-back that comes late must not end a lease that its owner, or the
  // owner's second attempt with the same token, has meanwhile confirmed.
  std::optional<AttemptId> only_attempt;
  // Set for a token that its owner may use again: releases only what has a lower fence, and leaves
  // this fence on the node. A quorum that was sealed lets a later hold by the same token have a
  // higher fence only, so that a release that arrives late elsewhere cannot end it. 0: not.
  FencingToken seal;
  // Tells the daemons that listen, if a key was let go.
  bool announce = false;
  // Set where a stream has ended: does nothing where another attempt than this one has adopted the
  // lock since. Its client may have come back by another daemon before this one noticed.
  std::optional<AttemptId> unless_adopted_from = {};
};

// Replaces the guard's mark, where it is `from` (empty: where there is none).
struct MarkStep {
  const std::string& from;
  const std::string& to;
};

// Steps are read before a call returns. Each is answered exactly once, never inside the call: with
// the node's reply, however late, or with kError when it cannot come any more (the connection
// broke). Steps are carried out in the order in which they were sent, but for those that are sent a
// second time, because the node had lost its script.
class Node {
 public:
  virtual ~Node() = default;
  virtual void Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Heal(const HealStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Inspect(const Key& key, std::shared_ptr<ReplySink> sink) = 0;
  // Tells whether the key is free (kNotHeld) or not (kHeld), and nothing else: the cheapest step.
  virtual void Probe(const Key& key, std::shared_ptr<ReplySink> sink) = 0;
  // Both tell the mark as it then is, and the node's clock.
  virtual void Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Look(std::shared_ptr<ReplySink> sink) = 0;

  // Null: nobody. Heard of never inside the call, and from the next connection on.
  virtual void ObserveWith(NodeObserver* observer) = 0;

  // Announcements go to `sink`, never inside a call; null: to nobody. A key is subscribed to once.
  virtual void ListenTo(AnnouncementSink* sink) = 0;
  virtual void Subscribe(const Key& key) = 0;
  virtual void Unsubscribe(const Key& key) = 0;
};

}  // namespace redlock
