// The interface of one Redis node: the steps that the core sends to it. Implemented over hiredis in
// server/redis and by the simulation. Strand-confined: call only on the shard's strand
// (server/loop/event_loop.h); answers arrive there too.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "server/core/nodes/node_reply.h"
#include "server/core/nodes/set_steps.h"
#include "server/core/nodes/steps.h"
#include "server/core/types.h"

namespace redlock {

// What a node announces about a key.
enum class Topic {
  kReleases,
  kChanges,  // of the holder, its fence or its value; only while an InspectStep asks for it
};
inline constexpr std::array kTopics = {Topic::kReleases, Topic::kChanges};

// Receives the announcements of subscribed keys. Must outlive the node.
class AnnouncementSink {
 public:
  virtual ~AnnouncementSink() = default;
  // What happens on this node is announced from now on. Earlier announcements may have been missed.
  virtual void OnListening(NodeIndex node, Topic topic, const Key& key) = 0;
  // The connection broke: no announcement arrives until the next OnListening.
  virtual void OnDeaf(NodeIndex node) = 0;
  virtual void OnAnnounced(NodeIndex node, Topic topic, const Key& key) = 0;
};

// What a node reports about itself when a connection is made.
struct NodeFacts {
  std::string version;   // for display
  std::string run_id;    // drawn by the server process at startup
  std::string mark;      // the guard's mark; empty: none
  SetState set;          // what it stores about the node set
  bool durable = false;  // confirms nothing before it is on disk
  Eviction eviction;
  Duration uptime{};              // of the process, by its own clock, in whole seconds
  std::optional<Duration> clock;  // its wall clock, since the epoch
  MonotonicTime asked;            // when `clock` was requested
  MonotonicTime answered;         // when `clock` arrived
};

// Observes the connection that carries the steps. Must outlive the node or be removed first.
class NodeObserver {
 public:
  virtual ~NodeObserver() = default;
  // Called before the first step is sent.
  virtual void OnConnected(NodeIndex node, const NodeFacts& facts) = 0;
  // The connection broke or could not be made. `why` is human-readable.
  virtual void OnDisconnected(NodeIndex node, const std::string& why) = 0;
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
  virtual void Intend(const IntendStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Proclaim(const ProclaimStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void Inspect(const InspectStep& step, std::shared_ptr<ReplySink> sink) = 0;
  // Reports only whether the key is free (kNotHeld) or not (kHeld). The cheapest step.
  virtual void Probe(const Key& key, std::shared_ptr<ReplySink> sink) = 0;
  // Does what a grant does, on a reserved key, and compares nothing: kGranted if the node is able
  // to.
  virtual void TryGrant(std::shared_ptr<ReplySink> sink) = 0;
  // Mark and ReadMark report the resulting mark and the node's clock.
  virtual void Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) = 0;
  virtual void ReadMark(std::shared_ptr<ReplySink> sink) = 0;
  // Reads or changes what the node stores about the node set.
  virtual void AskSet(const SetStep& step, std::shared_ptr<SetSink> sink) = 0;
  // Reports the present settings. A node that was not durable when the connection was made counts
  // as not durable until the next connection.
  virtual void ReadSettings(std::shared_ptr<ReplySink> sink) = 0;

  // Sets the observer; null removes it. It is never called inside a call, and only from the next
  // connection on.
  virtual void ObserveWith(NodeObserver* observer) = 0;

  // Sets the sink of announcements; null removes it. It is never called inside a call. Each topic
  // of a key is subscribed to once.
  virtual void ListenTo(AnnouncementSink* sink) = 0;
  virtual void Subscribe(Topic topic, const Key& key) = 0;
  virtual void Unsubscribe(Topic topic, const Key& key) = 0;
};

}  // namespace redlock
