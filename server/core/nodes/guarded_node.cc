#include "server/core/nodes/guarded_node.h"

#include <utility>

#include "server/core/safeguard.h"

namespace redlock {

// Forwards an answer after the guard has checked it.
class GuardedNode::Checked final : public ReplySink {
 public:
  Checked(NodeGuard& guard, MonotonicTime asked, std::shared_ptr<ReplySink> sink)
      : guard_(guard), asked_(asked), sink_(std::move(sink)) {}
  void OnReply(NodeIndex node, NodeReply reply) override {
    guard_.Check(node, asked_, reply);
    sink_->OnReply(node, std::move(reply));
  }

 private:
  NodeGuard& guard_;
  const MonotonicTime asked_;
  const std::shared_ptr<ReplySink> sink_;
};

// Adds the node's quarantine reason to an answer.
class GuardedNode::Noted final : public ReplySink {
 public:
  Noted(const NodeGuard& guard, std::shared_ptr<ReplySink> sink)
      : guard_(guard), sink_(std::move(sink)) {}
  void OnReply(NodeIndex node, NodeReply reply) override {
    reply.barred = guard_.Barred(node);
    sink_->OnReply(node, std::move(reply));
  }

 private:
  const NodeGuard& guard_;
  const std::shared_ptr<ReplySink> sink_;
};

bool GuardedNode::Admits(const std::shared_ptr<ReplySink>& sink) {
  if (!guard_.Barred(index_)) return true;
  Refuse(sink);
  return false;
}

void GuardedNode::Refuse(const std::shared_ptr<ReplySink>& sink) {
  if (refusals_.empty()) refuse_timer_ = scheduler_.After({}, [this] { TellRefused(); });
  refusals_.emplace_back(sink, NodeReply{.outcome = Outcome::kQuarantined,
                                         .message = guard_.Barred(index_).value_or("")});
}

void GuardedNode::TellRefused() {
  for (auto& [sink, reply] : std::exchange(refusals_, {})) sink->OnReply(index_, std::move(reply));
}

void GuardedNode::Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) {
  if (!Admits(sink)) return;
  AcquireStep marked = step;
  if (Has(Safeguard::kMarkComparedByGrant)) marked.mark = guard_.mark(index_);
  node_.Acquire(marked, std::make_shared<Checked>(guard_, scheduler_.Now(), std::move(sink)));
}

void GuardedNode::HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) {
  if (!Admits(sink)) return;
  HandOverStep marked = step;
  if (Has(Safeguard::kMarkComparedByGrant)) marked.mark = guard_.mark(index_);
  node_.HandOver(marked, std::make_shared<Checked>(guard_, scheduler_.Now(), std::move(sink)));
}

void GuardedNode::Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) {
  if (guard_.HasOldData(index_) && Has(Safeguard::kOldDataDoesNotExtend)) {
    Refuse(sink);
  } else {
    node_.Extend(step, std::move(sink));
  }
}

void GuardedNode::Inspect(const Key& key, std::shared_ptr<ReplySink> sink) {
  node_.Inspect(key, std::make_shared<Noted>(guard_, std::move(sink)));
}

GuardedNodes::GuardedNodes(Scheduler& scheduler, Random& random, const LockOptions& options,
                           std::vector<std::unique_ptr<Node>> nodes, NodeGuard::Report report)
    : nodes_(std::move(nodes)) {
  for (const auto& node : nodes_) all_.push_back(node.get());
  if (options.guard.mode == GuardMode::kOff) return;
  guard_.emplace(scheduler, random, options, all_, std::move(report));
  for (NodeIndex i = 0; i < nodes_.size(); ++i) {
    guarded_.push_back(std::make_unique<GuardedNode>(scheduler, i, *nodes_[i], *guard_));
    all_[i] = guarded_.back().get();
  }
}

void GuardedNodes::Clear() {
  guarded_.clear();
  guard_.reset();
  nodes_.clear();
}

}  // namespace redlock
