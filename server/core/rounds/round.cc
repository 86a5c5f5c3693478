#include "server/core/rounds/round.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "server/core/check.h"
#include "server/core/safeguard.h"

namespace redlock {

Round::Round(Passkey<Round> /*key*/, const Environment& env, Rule rule,
             std::shared_ptr<Listener> listener, AttemptId attempt)
    : env_(env),
      rule_(rule),
      listener_(std::move(listener)),
      attempt_(attempt),
      set_(env.set),
      // The clock is read before the first byte is sent: validity counts from here.
      started_(env.scheduler.Now()),
      tally_(set_->NewTally()),
      nodes_(env.nodes.size()) {
  votes_.reserve(set_->size());
}

std::shared_ptr<Round> Round::Start(const Environment& env, Rule rule, const Send& send,
                                    std::shared_ptr<Listener> listener, AttemptId attempt) {
  auto round = std::make_shared<Round>(Passkey<Round>(), env, rule, std::move(listener), attempt);
  round->AskAll(round->set_->nodes(), send);
  return round;
}

std::shared_ptr<Round> Round::StartPatiently(const Environment& env, Rule rule, const Send& send,
                                             std::shared_ptr<Listener> listener) {
  auto round =
      std::make_shared<Round>(Passkey<Round>(), env, rule, std::move(listener), AttemptId());
  round->patient_ = true;
  round->AskAll(round->set_->nodes(), send);
  return round;
}

std::shared_ptr<Round> Round::StartEverywhere(const Environment& env, Rule rule, const Send& send,
                                              std::shared_ptr<Listener> listener) {
  auto round =
      std::make_shared<Round>(Passkey<Round>(), env, rule, std::move(listener), AttemptId());
  std::vector<NodeIndex> all(env.nodes.size());
  std::iota(all.begin(), all.end(), NodeIndex{});
  round->AskAll(all, send);
  return round;
}

void Round::AskAll(std::span<const NodeIndex> nodes, const Send& send) {
  for (const NodeIndex node : nodes) nodes_[node].asked_at = started_;
  for (const NodeIndex node : nodes) send(*env_.nodes[node], shared_from_this());
  SetTimeout(started_);
}

std::shared_ptr<Round> Round::StartOneFirst(const Environment& env, Rule rule, Send send,
                                            std::shared_ptr<Listener> listener, AttemptId attempt,
                                            NodeIndex first) {
  auto round = std::make_shared<Round>(Passkey<Round>(), env, rule, std::move(listener), attempt);
  round->send_ = std::move(send);
  round->first_ = first;
  round->Ask(first);
  round->SetTimeout(round->started_);
  return round;
}

Round::Counts Round::CountVote(Outcome outcome, Counts not_held) {
  switch (outcome) {
    case Outcome::kGranted:
      return Counts::kAsGrant;
    case Outcome::kHeld:
      return Counts::kAsDenial;
    case Outcome::kNotHeld:
      return not_held;
    case Outcome::kStaleFence:
    case Outcome::kError:
    case Outcome::kTimeout:
    case Outcome::kQuarantined:
    case Outcome::kOtherSet:
      return Counts::kAsUnknown;
  }
  return Counts::kAsUnknown;
}

void Round::Ask(NodeIndex node) {
  nodes_[node].asked_at = env_.scheduler.Now();
  send_(*env_.nodes[node], shared_from_this());
}

// The set has changed since the round began: a node that is asked now votes under the new record.
bool Round::IsOutdated() const { return env_.set != set_ && Has(Safeguard::kRoundKeepsItsSet); }

void Round::GiveUpTheRest() {
  const MonotonicTime now = env_.scheduler.Now();
  for (const NodeIndex node : set_->nodes()) {
    if (was_asked(node)) continue;
    (void)Count(node, Outcome::kOtherSet, "the node set changed during the round", now);
  }
  send_ = nullptr;
}

void Round::AskTheRest() {
  first_.reset();
  if (IsOutdated()) {
    GiveUpTheRest();
    return;
  }
  for (const NodeIndex node : set_->nodes()) {
    if (!was_asked(node)) Ask(node);
  }
  send_ = nullptr;
  SetTimeout(env_.scheduler.Now());
}

void Round::AskAnotherFirst(NodeIndex after) {
  if (IsOutdated()) {
    first_.reset();
    GiveUpTheRest();
    return;
  }
  const std::vector<NodeIndex>& members = set_->nodes();
  const auto place =
      static_cast<std::size_t>(std::find(members.begin(), members.end(), after) - members.begin());
  for (std::size_t i = 1; i < members.size(); ++i) {
    const NodeIndex next = members[(place + i) % members.size()];
    if (was_asked(next)) continue;
    first_ = next;
    Ask(next);
    SetTimeout(env_.scheduler.Now());
    return;
  }
}

void Round::SetTimeout(MonotonicTime asked) {
  // Too few members are configured to decide anything.
  const bool hopeless = verdict() != Verdict::kPending;
  timeout_ = env_.scheduler.At(asked + (hopeless ? Duration{} : env_.options.node_timeout),
                               [this] { TimeOut(); });
}

void Round::Abandon() {
  decided_ = true;
  timeout_.Cancel();
}

void Round::OnReply(NodeIndex node, NodeReply&& reply) {
  REDLOCK_CHECK(was_asked(node) && !nodes_[node].reply);
  const MonotonicTime now = env_.scheduler.Now();
  const NodeReply& answer = nodes_[node].reply.emplace(std::move(reply));
  if (answer.outcome != Outcome::kError && !answer.never_sent) {
    env_.statistics.nodes[node].answer_times.Add(now - *nodes_[node].asked_at);
  }
  if (decided_) {
    listener_->OnLate(*this, node, answer);
    return;
  }
  if (!set_->Contains(node)) return;  // it has no vote
  if (IsCounted(node)) return;        // asked first and too late: the next one is being asked
  const Counts counts = Count(node, answer.outcome, answer.message, now);
  if (first_ == node) {
    switch (counts) {
      case Counts::kAsGrant:
        AskTheRest();
        break;
      case Counts::kAsDenial:
        denied_by_first_ = true;
        break;
      case Counts::kAsUnknown:
        AskAnotherFirst(node);
        break;
    }
  }
  DecideIfReady(now);
}

bool Round::IsCounted(NodeIndex node) const {
  return std::any_of(votes_.begin(), votes_.end(),
                     [node](const Vote& vote) { return vote.node == node; });
}

Round::Counts Round::Count(NodeIndex node, Outcome outcome, std::string message,
                           MonotonicTime now) {
  const Counts counts = rule_(outcome);
  switch (counts) {
    case Counts::kAsGrant:
      tally_.Grant();
      break;
    case Counts::kAsDenial:
      tally_.Deny();
      break;
    case Counts::kAsUnknown:
      tally_.Fail();
      break;
  }
  ++env_.statistics.nodes[node].votes[static_cast<std::size_t>(outcome)];
  votes_.push_back({node, outcome, std::move(message), now - started_});
  return counts;
}

Error Round::WhyUndecided() const {
  if (auto mismatch = set_->Mismatch()) return std::move(*mismatch);
  const auto other = std::find_if(votes_.begin(), votes_.end(), [](const Vote& vote) {
    return vote.outcome == Outcome::kOtherSet;
  });
  if (other == votes_.end()) {
    return {.reason = Reason::kQuorumUnavailable, .message = "too few nodes answered to decide"};
  }
  return {.reason = Reason::kNodeSetMismatch,
          .message = "too few nodes have a vote in this daemon's node set: " + other->message};
}

void Round::DecideIfReady(MonotonicTime now) {
  REDLOCK_CHECK(!decided_);
  if (verdict() == Verdict::kPending) return;
  if (patient_ && verdict() != Verdict::kReached && tally_.pending() > 0) return;
  decided_ = true;
  timeout_.Cancel();
  env_.statistics.round_times.Add(now - started_);
  TellWindow(now);
  listener_->OnDecided(*this);
}

void Round::TellWindow(MonotonicTime now) {
  if (verdict() != Verdict::kUnreachable) {
    env_.limiter.OnDecided(started_, now);
  } else if (Any(votes_, Outcome::kTimeout)) {
    env_.limiter.OnTimedOut(started_);
  }
}

void Round::TimeOut() {
  // A pending node keeps this alive; the listener may drop the last other reference.
  const auto self = shared_from_this();
  const auto first = first_;
  const MonotonicTime now = env_.scheduler.Now();
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    if (!was_asked(node) || IsCounted(node) || !set_->Contains(node)) continue;
    (void)Count(node, Outcome::kTimeout, "no answer within the node timeout", now);
  }
  if (first) AskAnotherFirst(*first);
  DecideIfReady(now);
}

}  // namespace redlock
