// A node behind its guard: refuses to acquire where the guard bars it, and lets the guard see every
// answer to a step that grants before anybody counts it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "server/core/nodes/node.h"
#include "server/core/nodes/node_guard.h"

namespace redlock {

// Both arguments must outlive it.
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
  // False where the guard bars the node; `sink` has its answer under way then.
  [[nodiscard]] bool Admits(const std::shared_ptr<ReplySink>& sink);
  void Refuse(const std::shared_ptr<ReplySink>& sink);
  void TellRefused();

  Scheduler& scheduler_;
  const NodeIndex index_;
  Node& node_;
  NodeGuard& guard_;
  std::vector<std::pair<std::shared_ptr<ReplySink>, NodeReply>> refusals_;  // to be told
  TimerHandle refuse_timer_;
};

// A shard's nodes: as they are where the guard is off, else each behind it.
class GuardedNodes {
 public:
  // Nodes have heard of nobody yet. The scheduler and the source of chance must outlive this.
  GuardedNodes(Scheduler& scheduler, Random& random, const LockOptions& options,
               std::vector<std::unique_ptr<Node>> nodes, NodeGuard::Report report);

  [[nodiscard]] std::span<Node* const> all() const { return all_; }
  // Null where it is off.
  [[nodiscard]] const NodeGuard* guard() const { return guard_ ? &*guard_ : nullptr; }
  [[nodiscard]] NodeGuard* guard() { return guard_ ? &*guard_ : nullptr; }
  // Destroys the nodes, with the sinks that wait for their answers.
  void Clear();

 private:
  std::vector<std::unique_ptr<Node>> nodes_;
  std::optional<NodeGuard> guard_;
  std::vector<std::unique_ptr<GuardedNode>> guarded_;
  std::vector<Node*> all_;
};

}  // namespace redlock
