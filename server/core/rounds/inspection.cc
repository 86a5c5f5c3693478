#include "server/core/rounds/inspection.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"
#include "server/core/safeguard.h"

namespace redlock {

std::shared_ptr<Inspection> Inspection::Start(const Environment& env, Key key, InspectDone done,
                                              Source source, bool observe) {
  std::shared_ptr<Inspection> self(new Inspection(env, std::move(key), std::move(done), observe));
  env.operations.Add(self);
  env.limiter.Enter(self->permit_, ConcurrencyLimiter::Priority::kReads, source,
                    [raw = self.get()] { raw->Send(); });
  return self;
}

Inspection::Inspection(const Environment& env, Key key, InspectDone done, bool observe)
    : env_(env),
      key_(std::move(key)),
      done_(std::move(done)),
      observe_(observe),
      answered_(env.nodes.size(), false) {}

void Inspection::Cancel(Reason /*why*/) {
  if (!done_) return;
  const auto self = shared_from_this();
  InspectResult result;
  result.undecided = true;
  std::exchange(done_, nullptr)(std::move(result));
  if (!set_) End();  // otherwise, the nodes are busy with it
}

void Inspection::End() {
  ended_ = true;
  permit_.Leave();
  env_.operations.Remove(*this);
}

void Inspection::Send() {
  started_ = env_.scheduler.Now();
  set_ = env_.set;
  cannot_tell_ = set_->size() - set_->nodes().size();
  const auto self = shared_from_this();
  for (const NodeIndex node : set_->nodes()) env_.nodes[node]->Inspect({key_, observe_}, self);
  timeout_ = env_.scheduler.After(env_.options.node_timeout, [this] { Finish(); });
}

void Inspection::OnReply(NodeIndex node, NodeReply&& reply) {
  if (ended_) return;
  answered_[node] = true;
  votes_.push_back({node, reply.barred ? Outcome::kQuarantined : reply.outcome,
                    reply.barred.value_or(reply.message), env_.scheduler.Now() - started_});
  highest_ = std::max(highest_, reply.fence);
  const Outcome vote = votes_.back().outcome;
  if ((Has(Safeguard::kQuarantinedIsNotVacant) ? vote : reply.outcome) == Outcome::kNotHeld) {
    ++vacant_;
  } else if (IsUnknown(vote)) {
    ++cannot_tell_;
  }
  if (reply.outcome == Outcome::kGranted) Add(reply);
  if (reply.outcome == Outcome::kNotHeld && reply.remaining > Duration()) {
    kept_.push_back(reply.remaining);
  }
  for (const OwnerToken& token : reply.keeping) keeping_.insert(token.str());
  const auto known = static_cast<std::size_t>(
      std::ranges::count_if(votes_, [](const Vote& one) { return !IsUnknown(one.outcome); }));
  if (known == set_->quorum() && !quorum_after_) quorum_after_ = env_.scheduler.Now() - started_;
  if (votes_.size() == set_->nodes().size()) Finish();
}

void Inspection::Add(const NodeReply& reply) {
  // Nodes know different fences of earlier holders. A lock that another library acquired has none.
  const FencingToken own = reply.fence_of_earlier_holder ? FencingToken{} : reply.fence;
  const auto add = [&](const OwnerToken& token, Duration remaining, const Owner& owner,
                       FencingToken fence) {
    Holding& holding = holdings_[token.str()];
    holding.remaining.push_back(remaining);
    holding.fence = std::max(holding.fence, fence);
    ++(reply.barred ? holding.barred : holding.fences[fence]);
    holding.owner = BetterKnown(std::move(holding.owner), owner);
    return &holding;
  };
  if (!IsMarker(reply.holder.value())) add(reply.holder, reply.remaining, reply.owner, own);
  limits_.push_back(LimitIn(reply.holder.value()));
  for (const Share& share : reply.shares) {
    Holding& holding = *add(share.token, share.remaining, share.owner, share.fence);
    holding.is_share = true;
    holding.slot = share.slot;
  }
}

std::optional<FencingToken> Inspection::AgreedFence(const Holding& holding) const {
  std::size_t nodes = 0;
  for (const auto& [fence, count] : holding.fences) {
    nodes += count;
    if (count >= set_->quorum()) return fence;
  }
  if (!Has(Safeguard::kObservedFencesAgree) && nodes >= set_->quorum()) return holding.fence;
  return std::nullopt;
}

void Inspection::Finish() {
  REDLOCK_CHECK(!ended_);
  const auto self = shared_from_this();
  timeout_.Cancel();
  // That nodes refuse at once does not show how quick they are.
  const bool timed_out = votes_.size() < set_->nodes().size();
  if (quorum_after_ || timed_out) {
    env_.limiter.OnRead(quorum_after_.value_or(env_.options.node_timeout));
  }
  End();
  if (!done_) return;  // cancelled
  for (const NodeIndex node : set_->nodes()) {
    if (answered_[node]) continue;
    ++cannot_tell_;
    votes_.push_back({node, Outcome::kTimeout, "no answer within the node timeout",
                      env_.scheduler.Now() - started_});
  }
  InspectResult result{.fence = highest_, .votes = std::move(votes_), .holders = {}};
  const std::size_t quorum = set_->quorum();
  // A lease of the previous node set may be held by fewer of the present members than a quorum.
  const std::size_t least = set_->IsInTransition(started_) ? set_->blocking() : quorum;
  // Of a token: the nodes that hold it, and those that may have forgotten that they do.
  std::size_t most = cannot_tell_;
  bool all_agreed = true;
  for (auto& [token, holding] : holdings_) {
    std::vector<Duration>& remaining = holding.remaining;
    const std::size_t may_hold = remaining.size() + cannot_tell_ - holding.barred;
    const std::optional<FencingToken> agreed = AgreedFence(holding);
    most = std::max(most, may_hold);
    all_agreed = all_agreed && (agreed || may_hold < least);
    keeping_.insert(token);
    if (remaining.size() < quorum) continue;
    std::sort(remaining.begin(), remaining.end(), std::greater<>());
    result.held = true;
    result.remaining = std::max(result.remaining, remaining[quorum - 1]);
    result.shared |= holding.is_share;
    result.held_by.push_back(
        {std::move(holding.owner), holding.fence, holding.slot, remaining[quorum - 1], agreed});
  }
  for (const std::string& token : keeping_) result.holders.emplace_back(token);
  // For as long as no quorum is free.
  if (!result.held && kept_.size() >= set_->blocking()) {
    std::ranges::sort(kept_, std::greater<>());
    result.kept_for = kept_[set_->blocking() - 1];
  }
  std::ranges::sort(result.held_by, {}, &InspectResult::Holder::fence);
  // While a quorum has a holder of a semaphore, it agrees on the limit.
  if (result.shared) {
    std::ranges::sort(limits_);
    result.limit = limits_[limits_.size() / 2];
  }
  result.undecided = !result.held && most >= least;
  const bool any_agreed = std::ranges::any_of(
      result.held_by,
      [](const InspectResult::Holder& holder) { return holder.agreed.has_value(); });
  if (any_agreed && all_agreed) {
    result.agreement = InspectResult::Agreement::kHeld;
  } else if (most < least && vacant_ >= quorum) {
    result.agreement = InspectResult::Agreement::kVacant;
  }
  std::exchange(done_, nullptr)(std::move(result));
}

}  // namespace redlock
