#include "server/core/acquisition.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/core/clean_up.h"

namespace redlock {
namespace {

// A proposal is refused once after a daemon with a faster clock, hardly ever twice.
constexpr int kMaxProposals = 4;

Round::Counts CountAcquisition(Outcome outcome) {
  switch (outcome) {
    case Outcome::kGranted:
      return Round::Counts::kAsGrant;
    case Outcome::kHeld:
      return Round::Counts::kAsDenial;
    case Outcome::kNotHeld:
    case Outcome::kStaleFence:
    case Outcome::kError:
    case Outcome::kTimeout:
    case Outcome::kQuarantined:
      return Round::Counts::kAsUnknown;
  }
  return Round::Counts::kAsUnknown;
}

bool AnyStale(const Votes& votes) {
  return std::any_of(votes.begin(), votes.end(),
                     [](const Vote& vote) { return vote.outcome == Outcome::kStaleFence; });
}

// When enough of the nodes that said "held" will have let go for a quorum to be free.
Duration UntilFree(const Round& round, std::size_t nodes) {
  std::vector<Duration> remaining;
  for (NodeIndex node = 0; node < nodes; ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply != nullptr && reply->outcome == Outcome::kHeld) remaining.push_back(reply->remaining);
  }
  std::sort(remaining.begin(), remaining.end());
  const std::size_t may_stay = nodes - QuorumOf(nodes);
  return remaining.size() > may_stay ? remaining[remaining.size() - may_stay - 1] : Duration{};
}

}  // namespace

std::shared_ptr<Acquisition> Acquisition::Start(const Environment& env, OperationRegistry& registry,
                                                AcquireCommand command, AcquireDone done) {
  if (command.token.empty()) command.token = env.new_token();
  std::shared_ptr<Acquisition> self(
      new Acquisition(env, registry, std::move(command), std::move(done)));
  registry.Add(self);
  if (self->command_.deadline) {
    self->deadline_timer_ = env.scheduler.At(
        *self->command_.deadline, [raw = self.get()] { raw->Cancel(Reason::kDeadlineExceeded); });
  }
  self->Attempt();
  return self;
}

Acquisition::Acquisition(const Environment& env, OperationRegistry& registry,
                         AcquireCommand command, AcquireDone done)
    : env_(env),
      registry_(registry),
      command_(std::move(command)),
      done_(std::move(done)),
      started_(env.scheduler.Now()) {}

void Acquisition::Attempt() {
  ++attempts_;
  proposals_ = 0;
  Propose();
}

void Acquisition::Propose() {
  ++proposals_;
  fence_ = env_.fences.Next(env_.scheduler.WallNow());
  const AttemptId attempt{env_.random.Bits()};
  round_ = Round::Start(
      env_, CountAcquisition,
      [this, attempt](Node& node, std::shared_ptr<ReplySink> sink) {
        node.Acquire({command_.key, command_.token, command_.ttl, fence_, attempt, command_.owner,
                      command_.extend_if_held},
                     std::move(sink));
      },
      shared_from_this(), attempt);
}

void Acquisition::OnDecided(Round& round) {
  votes_ = round.votes();
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    if (const NodeReply* reply = round.reply(node)) env_.fences.Saw(reply->fence);
  }
  switch (round.verdict()) {
    case Verdict::kReached:
      Won(round);
      return;
    case Verdict::kDenied:
      Lost(Reason::kLockAlreadyHeld, "another holder has the lock",
           UntilFree(round, env_.nodes.size()));
      return;
    case Verdict::kPending:
    case Verdict::kUnreachable:
      break;
  }
  if (AnyStale(votes_) && proposals_ < kMaxProposals) {
    // Some daemon's clock is ahead. What was granted goes back in the same write as the new
    // proposal, so this costs one round trip.
    RollBack();
    Propose();
    return;
  }
  Lost(Reason::kQuorumUnavailable, "too few nodes answered to decide", Duration{});
}

void Acquisition::Won(Round& round) {
  // A node that adopted keeps the fence it had; all others store the proposal.
  bool adopted = false;
  bool agree = true;
  std::optional<FencingToken> fence;
  FencingToken highest;
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply == nullptr || reply->outcome != Outcome::kGranted) continue;
    adopted = adopted || reply->fence != fence_;
    agree = agree && (!fence || *fence == reply->fence);
    fence = reply->fence;
    highest = std::max(highest, reply->fence);
  }
  if (adopted && (!agree || highest.value == 0)) {
    Unify(std::max(highest, fence_));
    return;
  }
  const MonotonicTime now = env_.scheduler.Now();
  const Duration validity = Validity(command_.ttl, now - round.started(), env_.options.drift);
  if (validity <= Duration::zero()) {
    Lost(Reason::kValidityExpired, "a quorum granted after the validity had ended", Duration{});
    return;
  }
  Succeed({command_.key, command_.token, highest, round.attempt(), validity, now + validity});
}

void Acquisition::Unify(FencingToken highest) {
  // The token holds some nodes from before and some from now: one more round gives all one fence.
  unifying_ = Extension::Start(env_, registry_,
                               {.key = command_.key,
                                .token = command_.token,
                                .ttl = command_.ttl,
                                .retry = {.max_retries = 0, .min_delay = {}, .max_jitter = {}},
                                .deadline = std::nullopt,
                                .raise_to = highest},
                               [this, self = shared_from_this()](ExtendResult result) {
                                 unifying_.reset();
                                 if (!done_) return;
                                 votes_ = std::move(result.votes);
                                 if (result.lease) {
                                   Succeed(std::move(*result.lease));
                                 } else {
                                   Lost(Reason::kQuorumUnavailable, std::move(result.error.message),
                                        Duration{});
                                 }
                               });
}

void Acquisition::Succeed(Lease lease) {
  winner_ = round_.get();
  Finish({.lease = std::move(lease),
          .error = {},
          .votes = std::move(votes_),
          .attempts = attempts_,
          .waited = env_.scheduler.Now() - started_});
}

void Acquisition::Lost(Reason reason, std::string message, Duration retry_after) {
  RollBack();
  const auto delay = NextRetryDelay(command_.retry, attempts_, env_.random);
  if (delay) {
    retry_timer_ = env_.scheduler.After(*delay, [this] { Attempt(); });
    return;
  }
  if (reason == Reason::kLockAlreadyHeld && attempts_ > 1) {
    Fail(Reason::kMaxRetriesExceeded, "the retries are used up and the key is still held",
         retry_after);
    return;
  }
  Fail(reason, std::move(message), retry_after);
}

void Acquisition::RollBack() {
  if (!round_) return;
  round_->Abandon();
  // A node that said no holds nothing of ours. One that has not answered yet gets the release
  // right behind the request.
  std::vector<NodeIndex> may_hold;
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    const NodeReply* reply = round_->reply(node);
    if (reply == nullptr || reply->outcome == Outcome::kGranted || IsUnknown(reply->outcome)) {
      may_hold.push_back(node);
    }
  }
  const AttemptId attempt = round_->attempt();
  round_.reset();
  CleanUp::Start(env_, registry_, {command_.key, command_.token, attempt, {}}, std::move(may_hold));
}

void Acquisition::OnLate(Round& round, NodeIndex node, const NodeReply& reply) {
  env_.fences.Saw(reply.fence);
  if (&round == winner_ || &round == round_.get()) return;  // adds to a lease that was won
  if (reply.outcome != Outcome::kGranted) return;
  // The round was given up. Its roll-back may have overtaken the grant on another connection.
  CleanUp::Start(env_, registry_, {command_.key, command_.token, round.attempt(), {}}, {node});
}

void Acquisition::Cancel(Reason why) {
  if (!done_) return;
  if (round_) votes_ = round_->votes();
  RollBack();
  Fail(why, "gave up while waiting for the lock", Duration{});
}

void Acquisition::Fail(Reason reason, std::string message, Duration retry_after) {
  Finish({.lease = std::nullopt,
          .error = {.reason = reason, .message = std::move(message), .retry_after = retry_after},
          .votes = std::move(votes_),
          .attempts = attempts_,
          .waited = env_.scheduler.Now() - started_});
}

void Acquisition::Finish(AcquireResult result) {
  const auto self = shared_from_this();
  const auto done = std::exchange(done_, nullptr);
  deadline_timer_.Cancel();
  retry_timer_.Cancel();
  round_.reset();  // it refers to this
  if (unifying_) std::exchange(unifying_, nullptr)->Cancel(Reason::kCancelled);
  registry_.Remove(*this);
  done(std::move(result));
}

}  // namespace redlock
