#include "server/core/rounds/hand_over.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "server/core/rounds/clean_up.h"
#include "server/core/safeguard.h"

namespace redlock {

// Takes the answer of a node that releases instead of handing over.
class HandOver::Rest final : public ReplySink {
 public:
  explicit Rest(std::shared_ptr<HandOver> hand_over) : hand_over_(std::move(hand_over)) {}
  void OnReply(NodeIndex node, NodeReply&& reply) override {
    hand_over_->OnRest(node, std::move(reply));
  }

 private:
  const std::shared_ptr<HandOver> hand_over_;
};

std::shared_ptr<HandOver> HandOver::Start(const Environment& env, Key key, OwnerToken token,
                                          ReleaseDone done) {
  std::shared_ptr<HandOver> self(
      new HandOver(env, std::move(key), std::move(token), std::move(done)));
  env.operations.Add(self);
  ++env.statistics.hand_overs;
  return self;
}

HandOver::HandOver(const Environment& env, Key key, OwnerToken token, ReleaseDone done)
    : env_(env),
      key_(std::move(key)),
      token_(std::move(token)),
      started_(env.scheduler.Now()),
      done_(std::move(done)),
      set_(env.set),
      votes_(env.nodes.size()) {
  env_.releasing.Begin(token_);
}

HandOver::~HandOver() { env_.releasing.End(token_); }

void HandOver::OnReply(NodeIndex node, const NodeReply& reply) {
  Outcome outcome = reply.outcome;
  // The next holder acquired a node that the token did not hold.
  if (outcome == Outcome::kGranted && !reply.handed_over) outcome = Outcome::kNotHeld;
  const bool may_have_a_part = key_.IsSeveral() || IsMarker(reply.holder.value());
  const bool may_have_another_slot = outcome == Outcome::kNotHeld && key_.IsSemaphore();
  if ((outcome == Outcome::kHeld && may_have_a_part) || may_have_another_slot) {
    ReleaseRest(node);
  } else {
    Count(node, outcome, reply.message);
  }
}

void HandOver::ReleaseRest(NodeIndex node) {
  env_.nodes[node]->Release({.key = key_, .token = token_, .seal = SealOfToken(), .announce = true},
                            std::make_shared<Rest>(shared_from_this()));
}

void HandOver::OnRest(NodeIndex node, NodeReply reply) {
  all_sealed_ = all_sealed_ && (reply.outcome != Outcome::kGranted || reply.sealed);
  Count(node, reply.outcome, std::move(reply.message));
}

FencingToken HandOver::SealOfToken() const { return IsUsedOnce(token_) ? FencingToken{} : seal_; }

void HandOver::Count(NodeIndex node, Outcome outcome, std::string message) {
  // A failed later proposal does not undo what an earlier one achieved.
  if (votes_[node] && votes_[node]->outcome == Outcome::kGranted) return;
  votes_[node] = Vote{node, outcome, std::move(message), env_.scheduler.Now() - started_};
  AnswerIfDecided();
  if (settling_ && !ended_ && AllIn()) End();
}

bool HandOver::AllIn() const {
  return std::ranges::all_of(set_->nodes(),
                             [this](NodeIndex node) { return votes_[node].has_value(); });
}

Verdict HandOver::verdict() const {
  Tally tally = set_->NewTally();
  for (const NodeIndex node : set_->nodes()) {
    const auto& vote = votes_[node];
    if (!vote) continue;
    switch (vote->outcome) {
      case Outcome::kGranted:
        tally.Grant();
        break;
      case Outcome::kHeld:
      case Outcome::kNotHeld:
        tally.Deny();
        break;
      case Outcome::kStaleFence:  // the next proposal may be accepted
        if (settling_) tally.Fail();
        break;
      case Outcome::kError:
      case Outcome::kTimeout:
      case Outcome::kQuarantined:
      case Outcome::kOtherSet:
        tally.Fail();
        break;
    }
  }
  return tally.verdict();
}

// Nodes on which the token does not hold the key have not stored its seal. See release.h.
bool HandOver::CanEndALaterHold() const {
  if (IsUsedOnce(token_)) return false;
  return std::any_of(set_->nodes().begin(), set_->nodes().end(), [this](NodeIndex node) {
    return !votes_[node] || IsUnknown(votes_[node]->outcome);
  });
}

void HandOver::AnswerIfDecided() {
  constexpr const char* kUndecided =
      "too few nodes answered to decide; those that answered have released the lock, "
      "the others are retried in the background";
  switch (verdict()) {
    case Verdict::kPending:
      return;
    case Verdict::kReached:
      if (all_sealed_ || !CanEndALaterHold()) {
        Answer(std::nullopt);
      } else if (ended_) {
        Answer(Error{.reason = Reason::kQuorumUnavailable, .message = kUndecided});
      }
      return;
    case Verdict::kDenied:
      if (!CanEndALaterHold()) {
        Answer(
            Error{.reason = Reason::kLockNotHeld, .message = "this token does not hold the key"});
      } else if (ended_) {
        Answer(Error{.reason = Reason::kQuorumUnavailable, .message = kUndecided});
      }
      return;
    case Verdict::kUnreachable:
      if (!settling_) return;
      Answer(Error{.reason = Reason::kQuorumUnavailable, .message = kUndecided});
      return;
  }
}

void HandOver::Settle() {
  if (std::exchange(settling_, true)) return;
  AnswerIfDecided();
  if (AllIn()) {
    End();
    return;
  }
  timeout_ = env_.scheduler.After(env_.options.node_timeout, [this] { End(); });
}

void HandOver::End() {
  const auto self = shared_from_this();
  timeout_.Cancel();
  ended_ = true;
  std::vector<NodeIndex> owed;
  for (NodeIndex node = 0; node < votes_.size(); ++node) {
    const auto& vote = votes_[node];
    const bool released =
        vote && (vote->outcome == Outcome::kGranted || vote->outcome == Outcome::kHeld ||
                 vote->outcome == Outcome::kNotHeld);
    if (!released && Has(Safeguard::kHandOverFreesTheRest)) owed.push_back(node);
    if (!vote)
      votes_[node] = Vote{node, Outcome::kTimeout, "no answer within the node timeout", {}};
  }
  // Once the caller knows that the token holds nothing, it may use the token again.
  if (!IsUsedOnce(token_) && verdict() == Verdict::kDenied) owed.clear();
  AnswerIfDecided();
  CleanUp::Start(env_, {.key = key_, .token = token_, .seal = SealOfToken()}, std::move(owed));
  env_.operations.Remove(*this);
}

void HandOver::Answer(std::optional<Error> error) {
  if (!done_) return;
  ReleaseResult result{.error = std::move(error), .votes = {}};
  for (const auto& vote : votes_) {
    if (vote) result.votes.push_back(*vote);
  }
  env_.statistics.releases.Add(result.error ? std::optional(result.error->reason) : std::nullopt);
  std::exchange(done_, nullptr)(std::move(result));
}

}  // namespace redlock
