#include "server/core/release.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace redlock {
namespace {

Round::Counts CountRelease(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGranted:
      return Round::Counts::kAsGrant;
    case Outcome::kHeld:
    case Outcome::kNotHeld:
      return Round::Counts::kAsDenial;
    case Outcome::kStaleFence:
    case Outcome::kError:
    case Outcome::kTimeout:
    case Outcome::kQuarantined:
      return Round::Counts::kAsUnknown;
  }
  return Round::Counts::kAsUnknown;
}

}  // namespace

void ReleaseOperation::Start(const Environment& env, OperationRegistry& registry, Key key,
                             OwnerToken token, std::optional<AttemptId> unless_adopted_from,
                             ReleaseDone done) {
  const std::shared_ptr<ReleaseOperation> self(new ReleaseOperation(
      env, registry, std::move(key), std::move(token), unless_adopted_from, std::move(done)));
  registry.Add(self);
  env.window.Enter(self->place_, RoundWindow::Line::kReleases, [raw = self.get()] { raw->Send(); });
}

void ReleaseOperation::Send() {
  Round::Start(
      env_, CountRelease,
      [this](Node& node, std::shared_ptr<ReplySink> sink) {
        node.Release({key_, token_, std::nullopt, seal_, true, unless_adopted_from_},
                     std::move(sink));
      },
      shared_from_this());
}

ReleaseOperation::ReleaseOperation(const Environment& env, OperationRegistry& registry, Key key,
                                   OwnerToken token, std::optional<AttemptId> unless_adopted_from,
                                   ReleaseDone done)
    : env_(env),
      registry_(registry),
      key_(std::move(key)),
      token_(std::move(token)),
      seal_(token_.value().starts_with(kMadeTokenPrefix)
                ? FencingToken{}
                : env.fences.Next(env.scheduler.WallNow())),
      unless_adopted_from_(unless_adopted_from),
      done_(std::move(done)) {
  registry_.BeginRelease(key_);
}

ReleaseOperation::~ReleaseOperation() { registry_.EndRelease(key_); }

void ReleaseOperation::Cancel(Reason why) {
  if (done_) Tell({.error = Error{.reason = why, .message = "the release goes on"}, .votes = {}});
}

void ReleaseOperation::OnDecided(Round& round) {
  // A node that is merely slow has the release in its queue; one that failed is owed another.
  std::vector<NodeIndex> owed;
  for (const Vote& vote : round.votes()) {
    if (vote.outcome == Outcome::kError) owed.push_back(vote.node);
  }
  CleanUp::Start(env_, registry_, Rest(), std::move(owed), CleanUp::Begin::kAfterPause);
  ReleaseResult result{.error = std::nullopt, .votes = round.votes()};
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply != nullptr) result.listeners = std::max(result.listeners, reply->listeners);
  }
  switch (round.verdict()) {
    case Verdict::kReached:
      break;
    case Verdict::kDenied:
      result.error =
          Error{.reason = Reason::kLockNotHeld, .message = "this token does not hold the key"};
      break;
    case Verdict::kPending:
    case Verdict::kUnreachable:
      result.error = Error{.reason = Reason::kQuorumUnavailable,
                           .message =
                               "too few nodes answered to decide; those that did have "
                               "released, the others are asked again in the background"};
      break;
  }
  const auto self = shared_from_this();
  place_.Leave();
  registry_.Remove(*this);
  if (done_) Tell(std::move(result));
}

void ReleaseOperation::OnLate(Round& /*round*/, NodeIndex node, const NodeReply& reply) {
  if (IsUnknown(reply.outcome)) {
    CleanUp::Start(env_, registry_, Rest(), {node}, CleanUp::Begin::kAfterPause);
  }
}

CleanUpTarget ReleaseOperation::Rest() const {
  return {key_, token_, std::nullopt, seal_, true, unless_adopted_from_};
}

void ReleaseOperation::Tell(ReleaseResult result) {
  env_.statistics.releases.Add(result.error ? std::optional(result.error->reason) : std::nullopt);
  std::exchange(done_, nullptr)(std::move(result));
}

}  // namespace redlock
