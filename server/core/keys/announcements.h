// What this daemon hears about one key.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "server/core/clock.h"
#include "server/core/nodes/node.h"

namespace redlock {

// Subscribes to the announcements of a key on all nodes, until it is destroyed. The nodes and the
// key must outlive it.
class Subscription {
 public:
  Subscription(std::span<Node* const> nodes, Topic topic, const Key& key)
      : nodes_(nodes), topic_(topic), key_(key) {
    for (Node* node : nodes_) node->Subscribe(topic_, key_);
  }
  ~Subscription() {
    for (Node* node : nodes_) node->Unsubscribe(topic_, key_);
  }
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

 private:
  const std::span<Node* const> nodes_;
  const Topic topic_;
  const Key& key_;
};

// Which nodes would announce a release to this daemon, and which have since the last attempt.
class Announcements {
 public:
  explicit Announcements(std::size_t nodes) : nodes_(nodes) {}

  // Returns how many nodes listen, this one included.
  std::size_t OnListening(NodeIndex node) {
    nodes_[node].listening = true;
    return Count(&OfNode::listening);
  }
  void OnDeaf(NodeIndex node) { nodes_[node].listening = false; }

  // This daemon releases the key: the next announcement of each node says nothing new.
  void ExpectOwn() {
    for (OfNode& node : nodes_) node.own_until = MonotonicTime::max();
  }
  // Bounds what ExpectOwn() has set: nodes that did not release the key announce nothing.
  void ExpectOwnOnlyUntil(MonotonicTime until) {
    for (OfNode& node : nodes_) node.own_until = std::min(node.own_until, until);
  }
  // Whether the announcement that has just arrived is of this daemon's own release.
  [[nodiscard]] bool TakeOwn(NodeIndex node, MonotonicTime now) {
    return std::exchange(nodes_[node].own_until, MonotonicTime()) > now;
  }

  // Returns how many nodes have announced a release since the last attempt, this one included.
  std::size_t Add(NodeIndex node) {
    nodes_[node].announced = true;
    return Count(&OfNode::announced);
  }
  // An attempt begins.
  void Clear() {
    for (OfNode& node : nodes_) node.announced = false;
  }

 private:
  struct OfNode {
    bool listening = false;
    bool announced = false;
    MonotonicTime own_until;
  };
  [[nodiscard]] std::size_t Count(bool OfNode::*flag) const {
    return static_cast<std::size_t>(std::ranges::count(nodes_, true, flag));
  }

  std::vector<OfNode> nodes_;
};

}  // namespace redlock
