#include "server/core/rounds/extension.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"
#include "server/core/rounds/fences.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

// Each raise requires that another holder's fence arrived in between. More in a row indicate a
// faulty node.
constexpr int kMaxRaises = 3;
// Each retry requires another adoption in between.
constexpr int kMaxAdoptions = 4;

Round::Counts CountExtension(Outcome outcome) {
  return Round::CountVote(outcome, Has(Safeguard::kRepairsDoNotVote) ? Round::Counts::kAsDenial
                                                                     : Round::Counts::kAsGrant);
}

Round::Counts CountInTransition(Outcome outcome) {
  return Round::CountVote(outcome, Round::Counts::kAsUnknown);
}

// Returns the stream that the lease belongs to: the latest one that the granting nodes know.
std::optional<Keeper> KeeperOfGrants(const Round& round, std::size_t nodes) {
  std::optional<Keeper> last;
  for (NodeIndex node = 0; node < nodes; ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply == nullptr || reply->outcome != Outcome::kGranted || !reply->keeper) continue;
    if (!last || last->number < reply->keeper->number) last = reply->keeper;
  }
  return last;
}

}  // namespace

Owner OwnerOfGrants(const Round& round, std::size_t nodes) {
  Owner owner;
  for (NodeIndex node = 0; node < nodes; ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply == nullptr || reply->outcome != Outcome::kGranted) continue;
    owner = BetterKnown(std::move(owner), reply->owner);
  }
  if (!Has(Safeguard::kRepairCarriesTerms)) {
    owner = Owner{.label = owner.label, .origin = owner.origin};
  }
  return owner;
}

std::shared_ptr<Extension> Extension::Start(const Environment& env, ExtendCommand command,
                                            ExtendDone done) {
  auto self =
      std::make_shared<Extension>(Passkey<Extension>(), env, std::move(command), std::move(done));
  env.operations.Add(self);
  if (self->command_.adopt == ExtendCommand::Adopt::kAsLast) {
    self->command_.keeper->number = env.fences.Next(env.scheduler.WallNow()).value;
  }
  if (self->command_.deadline) {
    self->deadline_timer_ = env.scheduler.At(
        *self->command_.deadline, [raw = self.get()] { raw->Cancel(Reason::kDeadlineExceeded); });
  }
  self->Enter();
  return self;
}

Extension::Extension(Passkey<Extension> /*key*/, const Environment& env, ExtendCommand command,
                     ExtendDone done)
    : env_(env),
      command_(std::move(command)),
      done_(std::move(done)),
      give_up_(env.scheduler.Now() + command_.ttl) {}

void Extension::Cancel(Reason why) {
  if (!done_) return;
  Finish({.lease = std::nullopt,
          .error = {.reason = why, .message = "the extension ended before a quorum answered"},
          .votes = round_ ? round_->votes() : last_votes_,
          .attempts = attempts_});
}

void Extension::StopRetrying() {
  command_.retry.max_retries = 0;
  if (!done_ || round_ || attempts_ == 0) return;
  Finish({.lease = std::nullopt,
          .error = std::move(last_error_),
          .votes = std::move(last_votes_),
          .attempts = attempts_});
}

void Extension::Enter() {
  const auto line = command_.held ? ConcurrencyLimiter::Priority::kHeldLeases
                                  : ConcurrencyLimiter::Priority::kExtensions;
  env_.limiter.Enter(permit_, line, command_.source, [this] { Attempt(); });
}

void Extension::Attempt() {
  ++attempts_;
  ttl_ = env_.set->Bounded(command_.ttl);
  const Round::Send send = [this](Node& node, std::shared_ptr<ReplySink> sink) {
    node.Extend({.key = command_.key,
                 .token = command_.token,
                 .ttl = ttl_,
                 .longest = LongestTtl(env_),
                 .raise_to = command_.raise_to,
                 .least_delay = command_.least_delay,
                 .keeper = command_.keeper,
                 .adopt = command_.adopt != ExtendCommand::Adopt::kNot,
                 .downgrade_from = command_.downgrade_from},
                std::move(sink));
  };
  // After a change of the node set, every member that still holds the token counts.
  round_ = env_.set->IsInTransition(env_.scheduler.Now())
               ? Round::StartPatiently(env_, CountInTransition, send, shared_from_this())
               : Round::Start(env_, CountExtension, send, shared_from_this());
}

void Extension::OnDecided(Round& round) {
  switch (round.verdict()) {
    case Verdict::kReached:
      Won(round);
      return;
    case Verdict::kDenied:
      Denied(round);
      return;
    case Verdict::kPending:
    case Verdict::kUnreachable:
      Undecided(round);
      return;
  }
}

// The command names no slot, and the token may have different ones on different nodes: a late
// request of a lost attempt can have left one. Returns false if the granting nodes agree on a slot,
// which the command then names. Otherwise asks for each of them.
bool Extension::FindSlot(const Round& round) {
  if (!command_.key.IsSemaphore() || command_.key.slot() != 0) return false;
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply == nullptr || reply->outcome != Outcome::kGranted) continue;
    if (!std::ranges::count(slots_, reply->own_slot)) slots_.push_back(reply->own_slot);
  }
  const bool agree = slots_.size() == 1 || !Has(Safeguard::kSlotsAgree);
  if (!agree) return TryNextSlot();
  command_.key = command_.key.Slot(command_.key.limit(), slots_.front());
  slots_.clear();
  return false;
}

bool Extension::TryNextSlot() {
  if (slots_.empty()) return false;
  command_.key = command_.key.Slot(command_.key.limit(), slots_.back());
  slots_.pop_back();
  --attempts_;  // the same attempt, finished in another round
  Attempt();
  return true;
}

void Extension::Denied(const Round& round) {
  if (TryNextSlot()) return;
  Finish({.lease = std::nullopt,
          .error = {.reason = Reason::kLockNotHeld, .message = "this token does not hold the key"},
          .votes = round.votes(),
          .attempts = attempts_});
}

void Extension::Undecided(Round& round) {
  if (AdoptAgain(round)) return;
  if (round.set().IsInTransition(round.started())) {
    if (PutBackMissing(round)) return;
    if (IsDeniedInTransition(round)) {
      Denied(round);
      return;
    }
  }
  Error error = round.WhyUndecided();
  Failed(round, error.reason, std::move(error.message));
}

bool Extension::IsDeniedInTransition(const Round& round) const {
  const auto without_it = std::ranges::count_if(round.votes(), [](const Vote& vote) {
    return vote.outcome == Outcome::kNotHeld || vote.outcome == Outcome::kHeld;
  });
  const NodeSet& set = round.set();
  return set.size() - static_cast<std::size_t>(without_it) < set.blocking();
}

bool Extension::PutBackMissing(Round& round) {
  const NodeSet& set = round.set();
  std::vector<NodeIndex> missing;
  std::size_t held = 0;
  for (const Vote& vote : round.votes()) {
    if (vote.outcome == Outcome::kGranted) ++held;
    if (vote.outcome == Outcome::kNotHeld) missing.push_back(vote.node);
  }
  if (held < set.blocking() && Has(Safeguard::kPutBackNeedsHolders)) return false;
  if (held >= set.quorum() || held + missing.size() < set.quorum()) return false;
  if (command_.lost || env_.releasing.Contains(command_.token)) return false;
  if (FindSlot(round) || RaiseFence(round)) return true;
  const FencingToken fence = FencesOfGrants(round, env_.nodes.size()).highest;
  const auto keeper = KeeperOfGrants(round, env_.nodes.size());
  const Owner owner = OwnerOfGrants(round, env_.nodes.size());
  put_back_ =
      PutBack::Start(env_,
                     {.key = command_.key,
                      .token = command_.token,
                      .ttl = ttl_,
                      .longest = LongestTtl(env_),
                      .fence = fence,
                      .keeper = keeper,
                      .counts = true,
                      .owner = owner,
                      .held_for = HeldFor(owner, env_.scheduler.WallNow())},
                     missing, set.quorum() - held, [this, &round, held](std::size_t granted) {
                       put_back_.reset();
                       if (held + granted >= round.set().quorum()) {
                         Won(round);
                       } else {
                         Failed(round, Reason::kQuorumUnavailable,
                                "too few nodes could be given the key after the node set changed");
                       }
                     });
  return true;
}

bool Extension::AdoptAgain(const Round& round) {
  if (!Any(round.votes(), Outcome::kStaleFence)) return false;
  switch (command_.adopt) {
    case ExtendCommand::Adopt::kNot:
      return false;
    case ExtendCommand::Adopt::kInSequence:
      Finish({.lease = std::nullopt,
              .error = {.reason = Reason::kLockNotHeld,
                        .message =
                            "another stream adopted the lease with the same or a higher sequence"},
              .votes = round.votes(),
              .attempts = attempts_});
      return true;
    case ExtendCommand::Adopt::kAsLast:
      break;
  }
  if (++adoptions_ == kMaxAdoptions) return false;
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply == nullptr || !reply->keeper) continue;
    command_.keeper->number = std::max(command_.keeper->number, reply->keeper->number + 1);
  }
  --attempts_;  // the same attempt, finished in a second round
  Attempt();
  return true;
}

// Repeats the attempt with a new fence if the granting nodes do not agree on one. Returns false if
// they do.
bool Extension::RaiseFence(const Round& round) {
  const GrantedFences fences = FencesOfGrants(round, env_.nodes.size());
  env_.fences.Saw(fences.highest);
  if ((fences.agree || !Has(Safeguard::kFencesAgree)) && fences.highest.value != 0) return false;
  if (raises_ == kMaxRaises) {
    Failed(round, Reason::kQuorumUnavailable, "the nodes do not agree on a fencing token");
    return true;
  }
  // A lock that another library acquired has no fence yet. If the fences differ, the highest may
  // belong to another holder that held the lock before this token was put back. So a new fence
  // above all of them is used.
  command_.raise_to =
      Has(Safeguard::kRaiseAboveAll) ? env_.fences.Next(env_.scheduler.WallNow()) : fences.highest;
  // Nodes that disagree on the fence may know the token from different holds.
  command_.least_delay =
      std::max(command_.least_delay, OwnerOfGrants(round, env_.nodes.size()).lock_delay);
  ++raises_;
  --attempts_;  // the same attempt, finished in a second round
  Attempt();
  return true;
}

void Extension::Won(Round& round) {
  if (FindSlot(round) || RaiseFence(round)) return;
  const FencingToken fence = FencesOfGrants(round, env_.nodes.size()).highest;
  const Duration elapsed = env_.scheduler.Now() - round.started();
  const Duration validity = Validity(ttl_, elapsed, env_.options.drift);
  if (validity <= Duration::zero()) {
    Failed(round, Reason::kValidityExpired, "a quorum answered only after the validity had ended");
    return;
  }
  lease_ = Lease{command_.key,    command_.token, fence,
                 command_.keeper, validity,       env_.scheduler.Now() + validity};
  confirmed_keeper_ = KeeperOfGrants(round, env_.nodes.size());
  winner_ = &round;
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply != nullptr && reply->outcome == Outcome::kNotHeld) Repair(round, node);
  }
  Finish({.lease = lease_,
          .error = {},
          .votes = round.votes(),
          .attempts = attempts_,
          .owner = OwnerOfGrants(round, env_.nodes.size())});
}

void Extension::OnLate(Round& round, NodeIndex node, const NodeReply& reply) {
  if (&round == winner_ && reply.outcome == Outcome::kNotHeld) Repair(round, node);
}

void Extension::Repair(const Round& round, NodeIndex node) {
  // A slow node can answer after the owner has gone on to release; it must not get the key back.
  if (env_.releasing.Contains(lease_->token) && Has(Safeguard::kNoRepairDuringRelease)) return;
  const Duration left = lease_->valid_until - env_.scheduler.Now();
  if (left < std::chrono::milliseconds(1)) return;
  const auto& keeper = Has(Safeguard::kRepairNamesTheStream) ? confirmed_keeper_ : command_.keeper;
  const Owner owner = OwnerOfGrants(round, env_.nodes.size());
  env_.nodes[node]->Repair(
      {.key = lease_->key,
       .token = lease_->token,
       .ttl = left,
       .longest = LongestTtl(env_),
       .fence = lease_->fence,
       .keeper = keeper,
       .owner = owner,
       .held_for = HeldFor(owner, env_.scheduler.WallNow())},
      std::make_shared<IgnoreReply>());  // the next extension detects a failure
}

void Extension::Failed(const Round& round, Reason reason, std::string message) {
  const bool used_up = command_.retry.max_retries >= 0 && attempts_ > command_.retry.max_retries;
  const Duration delay = NextRetryDelay(command_.retry, env_.random);
  if (used_up || env_.scheduler.Now() + delay >= give_up_) {
    Finish({.lease = std::nullopt,
            .error = {.reason = reason, .message = std::move(message)},
            .votes = round.votes(),
            .attempts = attempts_});
    return;
  }
  last_error_ = {.reason = reason, .message = std::move(message)};
  last_votes_ = round.votes();
  round_.reset();
  permit_.Leave();
  retry_timer_ = env_.scheduler.After(delay, [this] { Enter(); });
}

void Extension::Finish(ExtendResult result) {
  REDLOCK_CHECK(done_ != nullptr);
  const auto self = shared_from_this();
  deadline_timer_.Cancel();
  retry_timer_.Cancel();
  if (put_back_) {
    put_back_->Abandon();
    put_back_.reset();
  }
  if (round_) {
    round_->Abandon();
    round_.reset();  // it refers to this
  }
  permit_.Leave();
  env_.operations.Remove(*this);
  env_.statistics.extensions.Add(result.lease ? std::nullopt : std::optional(result.error.reason));
  std::exchange(done_, nullptr)(std::move(result));
}

}  // namespace redlock
