#include "server/core/rounds/release.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"
#include "server/core/nodes/quorum.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

// Each new seal requires a stored fence that was higher than the previous seal.
constexpr int kMaxSeals = 4;

Round::Counts CountRelease(Outcome outcome) {
  return Round::CountVote(outcome, Round::Counts::kAsDenial);
}

FencingToken FirstSeal(const Environment& env, const ReleaseCommand& command) {
  if (IsUsedOnce(command.token) || !Has(Safeguard::kSeal)) return {};
  if (command.at_end_of) return {command.fence.value + 1};
  return env.fences.Next(env.scheduler.WallNow());
}

}  // namespace

void ReleaseOperation::Start(const Environment& env, ReleaseCommand command, ReleaseDone done) {
  const auto self = std::make_shared<ReleaseOperation>(Passkey<ReleaseOperation>(), env,
                                                       std::move(command), std::move(done));
  env.operations.Add(self);
  env.limiter.Enter(self->permit_, ConcurrencyLimiter::Priority::kReleases, self->command_.source,
                    [raw = self.get()] { raw->Send(); });
}

ReleaseOperation::ReleaseOperation(Passkey<ReleaseOperation> /*key*/, const Environment& env,
                                   ReleaseCommand command, ReleaseDone done)
    : env_(env),
      command_(std::move(command)),
      step_{.key = command_.key,
            .token = command_.token,
            .seal = FirstSeal(env, command_),
            .announce = true,
            .at_end_of = command_.at_end_of,
            .keep_for = env.set->Bounded(command_.keep_for),
            .leave_delay = command_.leave_delay},
      done_(std::move(done)),
      set_(env.set),
      nodes_(env.nodes.size()) {
  env_.releasing.Begin(command_.token);
}

ReleaseOperation::~ReleaseOperation() { env_.releasing.End(command_.token); }

void ReleaseOperation::Send() {
  for (NodeState& node : nodes_) ++node.on_the_way;
  // Also to nodes that have left the set, or are about to join it: they may hold the key.
  round_ = Round::StartEverywhere(
               env_, CountRelease,
               [this](Node& node, std::shared_ptr<ReplySink> sink) {
                 node.Release(step_, std::move(sink));
               },
               shared_from_this())
               .get();
}

void ReleaseOperation::OnDecided(Round& round) {
  const auto self = shared_from_this();
  votes_ = round.votes();
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    if (const NodeReply* reply = round.reply(node)) TakeIn(node, *reply);
  }
  if (RaiseSeal(round)) return;
  settling_ = true;
  AnswerIfDecided();
  if (!done_) {
    End();
  } else {
    timeout_ = env_.scheduler.After(env_.options.node_timeout, [this] { End(); });
  }
}

void ReleaseOperation::OnLate(Round& round, NodeIndex node, const NodeReply& reply) {
  const auto self = shared_from_this();
  TakeIn(node, reply);
  if (&round != round_ || !settling_) return;
  if (done_) {
    AnswerIfDecided();
    if (!done_) End();
  } else if (nodes_[node].failed && MayRepeat()) {
    CleanUp::Start(env_, step_, {node}, CleanUp::Begin::kAfterPause);
  }
}

void ReleaseOperation::TakeIn(NodeIndex node, const NodeReply& reply) {
  NodeState& state = nodes_[node];
  state.failed = IsUnknown(reply.outcome);
  REDLOCK_CHECK(state.on_the_way > 0);
  --state.on_the_way;
  state.lost = state.lost || (state.failed && !reply.never_sent);
  state.released = state.released || reply.outcome == Outcome::kGranted;
  state.sealed = state.sealed || reply.sealed;
  state.not_held = reply.outcome == Outcome::kHeld || reply.outcome == Outcome::kNotHeld;
  listeners_ = std::max(listeners_, reply.listeners);
  state.still_shared = reply.still_shared;
  if (reply.outcome == Outcome::kStaleFence) env_.fences.Saw(reply.fence);
}

// Raises the seal if the holder's fence came from a daemon whose clock is ahead of this one's.
bool ReleaseOperation::RaiseSeal(const Round& round) {
  if (!done_ || command_.at_end_of || !Any(round.votes(), Outcome::kStaleFence) ||
      ++seals_ == kMaxSeals || !Has(Safeguard::kRepeatWithHigherSeal)) {
    return false;
  }
  step_.seal = env_.fences.Next(env_.scheduler.WallNow());
  Send();
  return true;
}

Verdict ReleaseOperation::verdict() const {
  Tally tally = set_->NewTally();
  for (const NodeIndex index : set_->nodes()) {
    const NodeState& node = nodes_[index];
    if (node.released) {
      tally.Grant();
    } else if (node.not_held) {
      tally.Deny();
    } else if (node.failed) {
      tally.Fail();
    }
  }
  return tally.verdict();
}

bool ReleaseOperation::CanEndALaterHold() const {
  if (step_.seal.value == 0 || !Has(Safeguard::kDenialOfAllNodes)) return false;
  const auto sealed = std::count_if(set_->nodes().begin(), set_->nodes().end(),
                                    [this](NodeIndex node) { return nodes_[node].sealed; });
  if (static_cast<std::size_t>(sealed) >= set_->quorum()) return false;
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [](const NodeState& node) { return node.on_the_way > 0 || node.lost; });
}

// Once the caller knows that the token holds nothing, it may use the token again.
bool ReleaseOperation::MayRepeat() const {
  return step_.seal.value == 0 || verdict() != Verdict::kDenied;
}

void ReleaseOperation::AnswerIfDecided() {
  switch (verdict()) {
    case Verdict::kReached:
      if (!CanEndALaterHold()) Answer(std::nullopt);
      return;
    case Verdict::kDenied:
      if (CanEndALaterHold()) return;
      Answer(Error{.reason = Reason::kLockNotHeld, .message = "this token does not hold the key"});
      return;
    case Verdict::kPending:
    case Verdict::kUnreachable:
      Answer(Error{.reason = Reason::kQuorumUnavailable,
                   .message = "too few nodes answered to decide; those that answered have released "
                              "the lock, the others are retried in the background"});
      return;
  }
}

void ReleaseOperation::End() {
  const auto self = shared_from_this();
  timeout_.Cancel();
  if (done_) {
    Answer(
        Error{.reason = Reason::kQuorumUnavailable,
              .message = "not all nodes answered the release: this token must not be used again"});
  }
  // A slow node has the release in its queue; a failed node needs another one.
  std::vector<NodeIndex> owed;
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    if (nodes_[node].failed && MayRepeat()) owed.push_back(node);
  }
  CleanUp::Start(env_, step_, std::move(owed), CleanUp::Begin::kAfterPause);
  permit_.Leave();
  env_.operations.Remove(*this);
}

void ReleaseOperation::Answer(std::optional<Error> error) {
  if (!done_) return;
  env_.statistics.releases.Add(error ? std::optional(error->reason) : std::nullopt);
  const auto still_shared = std::ranges::count_if(
      set_->nodes(), [this](NodeIndex node) { return nodes_[node].still_shared; });
  std::exchange(
      done_, nullptr)({.error = std::move(error),
                       .votes = std::move(votes_),
                       .listeners = listeners_,
                       .still_shared = static_cast<std::size_t>(still_shared) >= set_->blocking()});
}

}  // namespace redlock
