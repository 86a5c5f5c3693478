// Decorates a node with its guard: refuses steps that the guard does not allow, and shows the guard
// every answer to a step that grants before the answer is counted. Strand-confined.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "server/core/nodes/node.h"
#include "server/core/nodes/node_guard.h"

namespace redlock {

// The scheduler, the node and the guard must outlive it.
class GuardedNode final : public Node {
 public:
  GuardedNode(Scheduler& scheduler, NodeIndex index, Node& node, NodeGuard& guard)
      : scheduler_(scheduler), index_(index), node_(node), guard_(guard) {}

  void Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) override;
  void HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) override;
  void Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) override;
  void Inspect(const Key& key, std::shared_ptr<ReplySink> sink) override;

  void Repair(const RepairStep& step, std::shared_ptr<ReplySink> sink) override {
    node_.Repair(step, std::move(sink));
  }
  void Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) override {
    node_.Release(step, std::move(sink));
  }
  void Probe(const Key& key, std::shared_ptr<ReplySink> sink) override {
    node_.Probe(key, std::move(sink));
  }
  void Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) override {
    node_.Mark(step, std::move(sink));
  }
  void ReadMark(std::shared_ptr<ReplySink> sink) override { node_.ReadMark(std::move(sink)); }
  void ObserveWith(NodeObserver* observer) override { node_.ObserveWith(observer); }
  void ListenTo(AnnouncementSink* sink) override { node_.ListenTo(sink); }
  void Subscribe(const Key& key) override { node_.Subscribe(key); }
  void Unsubscribe(const Key& key) override { node_.Unsubscribe(key); }

 private:
  class Checked;
  class Noted;
  // Returns false if the guard quarantines the node; the refusal is then sent to `sink`.
  [[nodiscard]] bool Admits(const std::shared_ptr<ReplySink>& sink);
  void Refuse(const std::shared_ptr<ReplySink>& sink);
  void TellRefused();

  Scheduler& scheduler_;
  const NodeIndex index_;
  Node& node_;
  NodeGuard& guard_;
  // Not yet sent to their sinks.
  std::vector<std::pair<std::shared_ptr<ReplySink>, NodeReply>> refusals_;
  TimerHandle refuse_timer_;
};

// A shard's nodes: each behind the guard, or unwrapped if the guard is off.
class GuardedNodes {
 public:
  // No observer or sink is set on the nodes yet. The scheduler and `random` must outlive this.
  GuardedNodes(Scheduler& scheduler, Random& random, const LockOptions& options,
               std::vector<std::unique_ptr<Node>> nodes, NodeGuard::Report report);

  [[nodiscard]] std::span<Node* const> all() const { return all_; }
  // Null if the guard is off.
  [[nodiscard]] const NodeGuard* guard() const { return guard_ ? &*guard_ : nullptr; }
  [[nodiscard]] NodeGuard* guard() { return guard_ ? &*guard_ : nullptr; }
  // Destroys the nodes, together with the sinks that wait for their answers.
  void Clear();

 private:
  std::vector<std::unique_ptr<Node>> nodes_;
  std::optional<NodeGuard> guard_;
  std::vector<std::unique_ptr<GuardedNode>> guarded_;
  std::vector<Node*> all_;
};

}  // namespace redlock
