#include "server/core/nodes/guarded_node.h"

#include <utility>

#include "server/core/safeguard.h"

namespace redlock {

// Forwards an answer after the guard and the membership have seen it.
class GuardedNode::Checked final : public ReplySink {
 public:
  Checked(GuardedNode& node, bool may_grant, std::shared_ptr<ReplySink> sink)
      : node_(node), may_grant_(may_grant), asked_(node.scheduler_.Now()), sink_(std::move(sink)) {}
  void OnReply(NodeIndex node, NodeReply&& reply) override {
    node_.OnAnswer(may_grant_, asked_, reply);
    sink_->OnReply(node, std::move(reply));
  }

 private:
  GuardedNode& node_;
  const bool may_grant_;
  const MonotonicTime asked_;
  const std::shared_ptr<ReplySink> sink_;
};

// Adds the node's quarantine reason to an answer.
class GuardedNode::Noted final : public ReplySink {
 public:
  Noted(const NodeGuard& guard, std::shared_ptr<ReplySink> sink)
      : guard_(guard), sink_(std::move(sink)) {}
  void OnReply(NodeIndex node, NodeReply&& reply) override {
    reply.barred = guard_.Barred(node);
    sink_->OnReply(node, std::move(reply));
  }

 private:
  const NodeGuard& guard_;
  const std::shared_ptr<ReplySink> sink_;
};

void GuardedNode::OnAnswer(bool may_grant, MonotonicTime asked, NodeReply& reply) {
  const bool refused =
      reply.outcome == Outcome::kOtherSet || reply.outcome == Outcome::kQuarantined;
  if (guard_ != nullptr && (may_grant || refused)) {
    guard_->Check(index_, reply.sent.value_or(asked), reply);
  } else if (guard_ != nullptr && Has(Safeguard::kReadByWrongClock)) {
    guard_->CheckClock(index_, reply.sent.value_or(asked), reply);
  }
  if (reply.outcome != Outcome::kOtherSet) return;
  reply.message = "it belongs to another epoch of the node set, or has lost its record";
  membership_.OnOtherSet(index_);
  if (auto barred = guard_ == nullptr ? std::nullopt : guard_->Barred(index_)) {
    reply.outcome = Outcome::kQuarantined;
    reply.message = std::move(*barred);
  }
}

bool GuardedNode::HasVote(const std::shared_ptr<ReplySink>& sink) {
  auto refusal = membership_.Refusal(index_);
  if (!refusal) return true;
  Refuse(sink, refusal->outcome, std::move(refusal->why));
  return false;
}

bool GuardedNode::MayGrant(const std::shared_ptr<ReplySink>& sink) {
  if (!HasVote(sink)) return false;
  auto barred = guard_ == nullptr ? std::nullopt : guard_->Barred(index_);
  if (!barred) return true;
  Refuse(sink, Outcome::kQuarantined, std::move(*barred));
  return false;
}

// The mark is named with every step: the node then finds with one comparison that nothing has
// changed. Only steps that need the mark are refused because of it.
Expected GuardedNode::Named(bool stamp, bool mark) const {
  Expected expected;
  if (stamp) expected.stamp = membership_.set()->stamp();
  if (mark && guard_ != nullptr) expected.mark = guard_->mark(index_);
  return expected;
}

Expected GuardedNode::ToGrant() const {
  return Named(Has(Safeguard::kStampComparedByGrant), Has(Safeguard::kMarkComparedByGrant));
}

void GuardedNode::Refuse(const std::shared_ptr<ReplySink>& sink, Outcome outcome, std::string why) {
  if (refusals_.empty()) refuse_timer_ = scheduler_.After({}, [this] { TellRefused(); });
  refusals_.emplace_back(
      sink, NodeReply{.outcome = outcome, .message = std::move(why), .never_sent = true});
}

void GuardedNode::TellRefused() {
  for (auto& [sink, reply] : std::exchange(refusals_, {})) sink->OnReply(index_, std::move(reply));
}

void GuardedNode::Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) {
  if (!MayGrant(sink)) return;
  AcquireStep checked = step;
  checked.expected = ToGrant();
  node_.Acquire(checked, std::make_shared<Checked>(*this, true, std::move(sink)));
}

void GuardedNode::HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) {
  if (!MayGrant(sink)) return;
  HandOverStep checked = step;
  checked.expected = ToGrant();
  node_.HandOver(checked, std::make_shared<Checked>(*this, true, std::move(sink)));
}

void GuardedNode::Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) {
  if (!HasVote(sink)) return;
  if (guard_ != nullptr && guard_->HasOldData(index_) && Has(Safeguard::kOldDataDoesNotExtend)) {
    Refuse(sink, Outcome::kQuarantined, guard_->Barred(index_).value_or(""));
    return;
  }
  ExtendStep checked = step;
  checked.expected = Named(Has(Safeguard::kStampComparedByExtension), true);
  node_.Extend(checked, std::make_shared<Checked>(*this, false, std::move(sink)));
}

void GuardedNode::Repair(const RepairStep& step, std::shared_ptr<ReplySink> sink) {
  if (step.counts ? !MayGrant(sink) : !HasVote(sink)) return;
  RepairStep checked = step;
  checked.expected = step.counts ? ToGrant() : Named(Has(Safeguard::kStampComparedByRepair), true);
  node_.Repair(checked, std::make_shared<Checked>(*this, step.counts, std::move(sink)));
}

void GuardedNode::Proclaim(const ProclaimStep& step, std::shared_ptr<ReplySink> sink) {
  if (!HasVote(sink)) return;
  ProclaimStep checked = step;
  checked.expected = Named(Has(Safeguard::kStampComparedByExtension), true);
  node_.Proclaim(checked, std::make_shared<Checked>(*this, false, std::move(sink)));
}

void GuardedNode::Inspect(const InspectStep& step, std::shared_ptr<ReplySink> sink) {
  if (!HasVote(sink)) return;
  // A node that has lost its data knows nothing of a lease that may be valid, so the mark is
  // compared too.
  InspectStep checked = step;
  checked.expected =
      Named(Has(Safeguard::kStampComparedByRead), Has(Safeguard::kMarkComparedByRead));
  // The answer's clock can be what puts the node into quarantine, so it is checked first.
  if (guard_ != nullptr) sink = std::make_shared<Noted>(*guard_, std::move(sink));
  node_.Inspect(checked, std::make_shared<Checked>(*this, false, std::move(sink)));
}

GuardedNodes::GuardedNodes(Scheduler& scheduler, Random& random, const LockOptions& options,
                           std::vector<std::unique_ptr<Node>> nodes, NodeReports reports)
    : nodes_(std::move(nodes)), all_nodes_(std::make_shared<NodeSet>(nodes_.size())) {
  for (const auto& node : nodes_) all_.push_back(node.get());
  if (!options.node_set.compared) return;
  if (options.guard.mode != GuardMode::kOff) {
    guard_.emplace(scheduler, random, options, all_, std::move(reports.guard));
  }
  if (options.node_set.coordinates) {
    grants_.emplace(scheduler, options, all_, std::move(reports.grants));
  }
  NodeGuard* const guard = guard_ ? &*guard_ : nullptr;
  membership_.emplace(scheduler, random, options, all_, options.node_set.names, guard,
                      grants_ ? &*grants_ : nullptr, std::move(reports.set));
  for (NodeIndex i = 0; i < nodes_.size(); ++i) {
    guarded_.push_back(
        std::make_unique<GuardedNode>(scheduler, i, *nodes_[i], *membership_, guard));
    all_[i] = guarded_.back().get();
  }
}

void GuardedNodes::Clear() {
  guarded_.clear();
  membership_.reset();
  grants_.reset();
  guard_.reset();
  nodes_.clear();
}

}  // namespace redlock
