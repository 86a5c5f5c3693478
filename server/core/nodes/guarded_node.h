// Decorates a node with the node set and the guard: refuses steps that they do not allow, adds to
// each step what the node must carry, and shows them every answer before it is counted.
// Strand-confined.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "server/core/nodes/grant_watch.h"
#include "server/core/nodes/membership.h"
#include "server/core/nodes/node.h"
#include "server/core/nodes/node_guard.h"

namespace redlock {

// The scheduler, the node, the membership and the guard must outlive it. The guard is null if it is
// off.
class GuardedNode final : public Node {
 public:
  GuardedNode(Scheduler& scheduler, NodeIndex index, Node& node, Membership& membership,
              NodeGuard* guard)
      : scheduler_(scheduler), index_(index), node_(node), membership_(membership), guard_(guard) {}

  void Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) override;
  void HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) override;
  void Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) override;
  void Repair(const RepairStep& step, std::shared_ptr<ReplySink> sink) override;
  void Intend(const IntendStep& step, std::shared_ptr<ReplySink> sink) override {
    node_.Intend(step, std::move(sink));
  }
  void Proclaim(const ProclaimStep& step, std::shared_ptr<ReplySink> sink) override;
  void Inspect(const InspectStep& step, std::shared_ptr<ReplySink> sink) override;

  void Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) override {
    node_.Release(step, std::move(sink));
  }
  void Probe(const Key& key, std::shared_ptr<ReplySink> sink) override {
    node_.Probe(key, std::move(sink));
  }
  void TryGrant(std::shared_ptr<ReplySink> sink) override { node_.TryGrant(std::move(sink)); }
  void Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) override {
    node_.Mark(step, std::move(sink));
  }
  void ReadMark(std::shared_ptr<ReplySink> sink) override { node_.ReadMark(std::move(sink)); }
  void AskSet(const SetStep& step, std::shared_ptr<SetSink> sink) override {
    node_.AskSet(step, std::move(sink));
  }
  void ReadSettings(std::shared_ptr<ReplySink> sink) override {
    node_.ReadSettings(std::move(sink));
  }
  void ObserveWith(NodeObserver* observer) override { node_.ObserveWith(observer); }
  void ListenTo(AnnouncementSink* sink) override { node_.ListenTo(sink); }
  void Subscribe(Topic topic, const Key& key) override { node_.Subscribe(topic, key); }
  void Unsubscribe(Topic topic, const Key& key) override { node_.Unsubscribe(topic, key); }

 private:
  class Checked;
  class Noted;
  // Return false if the node has no vote, or may not grant; the refusal is then sent to `sink`.
  [[nodiscard]] bool HasVote(const std::shared_ptr<ReplySink>& sink);
  [[nodiscard]] bool MayGrant(const std::shared_ptr<ReplySink>& sink);
  [[nodiscard]] Expected Named(bool stamp, bool mark) const;
  [[nodiscard]] Expected ToGrant() const;
  void OnAnswer(bool may_grant, MonotonicTime asked, NodeReply& reply);
  void Refuse(const std::shared_ptr<ReplySink>& sink, Outcome outcome, std::string why);
  void TellRefused();

  Scheduler& scheduler_;
  const NodeIndex index_;
  Node& node_;
  Membership& membership_;
  NodeGuard* const guard_;
  // Not yet sent to their sinks.
  std::vector<std::pair<std::shared_ptr<ReplySink>, NodeReply>> refusals_;
  TimerHandle refuse_timer_;
};

// Receives what changes about the nodes, for the log. Each may be empty.
struct NodeReports {
  NodeGuard::Report guard;
  Membership::Report set;
  GrantWatch::Report grants;
};

// A shard's nodes, each behind the node set and the guard.
class GuardedNodes {
 public:
  // No observer or sink is set on the nodes yet. The scheduler and `random` must outlive this.
  GuardedNodes(Scheduler& scheduler, Random& random, const LockOptions& options,
               std::vector<std::unique_ptr<Node>> nodes, NodeReports reports);

  [[nodiscard]] std::span<Node* const> all() const { return all_; }
  // Null if the guard is off.
  [[nodiscard]] const NodeGuard* guard() const { return guard_ ? &*guard_ : nullptr; }
  // Null if another shard of the daemon watches, or if records are not compared.
  [[nodiscard]] const GrantWatch* grants() const { return grants_ ? &*grants_ : nullptr; }
  // Null if records are not compared.
  [[nodiscard]] Membership* membership() { return membership_ ? &*membership_ : nullptr; }
  [[nodiscard]] const Membership* membership() const {
    return membership_ ? &*membership_ : nullptr;
  }
  // The set in force.
  [[nodiscard]] const NodeSetPtr& set() const {
    return membership_ ? membership_->set() : all_nodes_;
  }
  // Destroys the nodes, together with the sinks that wait for their answers.
  void Clear();

 private:
  std::vector<std::unique_ptr<Node>> nodes_;
  const NodeSetPtr all_nodes_;
  std::optional<NodeGuard> guard_;
  std::optional<GrantWatch> grants_;
  std::optional<Membership> membership_;
  std::vector<std::unique_ptr<GuardedNode>> guarded_;
  std::vector<Node*> all_;
};

}  // namespace redlock
