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
  // The fence is that of an earlier holder: the node does not know one of the present holder, which
  // another library put there.
  bool fence_of_earlier_holder = false;
  // From an extension that was granted: the stream that the lease belongs to, if it belongs to one.
  // With kStaleFence from an adoption: its number alone; `fence` is 0 then.
  std::optional<Keeper> keeper;
  // From a release that was granted and was to be sealed: the seal could be stored.
  bool sealed = false;
  // Left of the holder's TTL, if there is a holder.
  Duration remaining{};
  // Of an error; never holds a token.
  std::string message;
  // With kError: nothing was sent to the node.
  bool never_sent = false;
  // From a hand-over that was granted: the releaser held the key here.
  bool handed_over = false;
  // From a release that was announced: how many daemons heard of it.
  int listeners = 0;
  // From Inspect only: who holds the key. The token is for comparison, not for showing.
  OwnerToken holder;
  OwnerLabel owner;
  // From a guarded node's Inspect: why the node is quarantined, if it is.
  std::optional<std::string> barred;
  // What the guard has left on the node: with kQuarantined, and from Mark and ReadMark.
  std::string mark;
  // The node's wall clock, since the epoch: with grants of a lock, and from Mark and ReadMark.
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

// The lease belongs to {fence, attempt} from then on; if it was held before, to {number, attempt}
// with a number one above that of the stream before.
struct AcquireStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  FencingToken fence;
  AttemptId attempt;
  const OwnerLabel& owner;
  // If this token already holds the key: extends it, with the fence as it is.
  bool adopt = false;
  // What the guard has left on the node. Where the node has it no more, it answers kQuarantined and
  // does nothing. Empty: not looked at.
  std::string_view mark = {};
};

// Gives the key to another token if `from` holds it, or nobody does. Repeated with the same attempt
// and a higher fence, it raises the fence. The lease belongs to {fence, attempt} from then on.
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
  // The node stores at least this fence afterwards; it refuses to take a lower one for its own if
  // the fence that it stores is an earlier holder's. 0: as it is.
  FencingToken raise_to;
  // The stream that extends, if a stream does. It replaces a stream with a lower number, which is
  // one that the lease belonged to before an adoption that did not reach this node. Unset: the
  // lease belongs to no stream from then on, so that no stream's end deletes what is kept by other
  // means.
  std::optional<Keeper> keeper = {};
  // The lease belongs to `keeper` from then on. Answers kStaleFence, with the number, if it belongs
  // to another stream whose number is not lower.
  bool adopt = false;
};

// Puts a lost key back for a token that a quorum has just confirmed. Never lowers a fence: if the
// node stores a higher one, which may be another holder's, it stores one above that.
struct RepairStep {
  const Key& key;
  const OwnerToken& token;
  Duration ttl;
  FencingToken fence;
  // The stream that the quorum says the lease belongs to; the end of an earlier one must not delete
  // the key here. Unset: the quorum knows of none, and no stream's end deletes the key here.
  std::optional<Keeper> keeper;
};

struct ReleaseStep {
  const Key& key;
  const OwnerToken& token;
  // Set for a roll-back: releases only what this very attempt acquired and what has not been
  // extended since. A roll-back that comes late must not end a lease that its owner, or the
  // owner's second attempt with the same token, has meanwhile confirmed.
  std::optional<AttemptId> only_attempt;
  // Set for a token that its owner may use again: releases only what has a lower fence, and leaves
  // this fence on the node. Answers kStaleFence, with the fence, if the holder's is not lower. A
  // quorum that was sealed lets a later hold by the same token have a higher fence only, so that a
  // release that arrives late elsewhere cannot end it. 0: not sealed. Nothing is stored on a node
  // on which the token does not hold the key.
  FencingToken seal;
  // Informs the daemons that listen, if a key was released.
  bool announce = false;
  // Set if this stream has ended: releases only a lease that belongs to it, or to a stream with a
  // lower number, which it has replaced. The client may have adopted the lease at another daemon
  // before this one noticed.
  std::optional<Keeper> at_end_of = {};
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
  virtual void Repair(const RepairStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Inspect(const Key& key, std::shared_ptr<ReplySink> sink) = 0;
  // Tells whether the key is free (kNotHeld) or not (kHeld), and nothing else: the cheapest step.
  virtual void Probe(const Key& key, std::shared_ptr<ReplySink> sink) = 0;
  // Both tell the mark as it then is, and the node's clock.
  virtual void Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void ReadMark(std::shared_ptr<ReplySink> sink) = 0;

  // Null: nobody. Heard of never inside the call, and from the next connection on.
  virtual void ObserveWith(NodeObserver* observer) = 0;

  // Announcements go to `sink`, never inside a call; null: to nobody. A key is subscribed to once.
  virtual void ListenTo(AnnouncementSink* sink) = 0;
  virtual void Subscribe(const Key& key) = 0;
  virtual void Unsubscribe(const Key& key) = 0;
};

}  // namespace redlock
