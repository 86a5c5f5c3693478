#include "server/core/rounds/attempt.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/core/check.h"
#include "server/core/fnv1a.h"
#include "server/core/format.h"
#include "server/core/nodes/kept.h"
#include "server/core/rounds/clean_up.h"
#include "server/core/rounds/fences.h"
#include "server/core/rounds/slots.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

// A proposal may be refused once if another daemon's clock is ahead, but hardly ever twice.
constexpr int kMaxProposals = 4;
// The first slot is a guess. After that, only contenders can take a slot that was free.
constexpr int kMaxSlotsTried = 4;

Round::Counts CountAcquisition(Outcome outcome) {
  return Round::CountVote(outcome, Round::Counts::kAsUnknown);
}

// Returns the time until so many nodes that answered "held" expire that a quorum is free.
Duration UntilFree(const Round& round) {
  std::vector<Duration> remaining;
  for (const NodeIndex node : round.set().nodes()) {
    const NodeReply* reply = round.reply(node);
    if (reply != nullptr && reply->outcome == Outcome::kHeld) remaining.push_back(reply->remaining);
  }
  if (remaining.empty()) return {};
  std::sort(remaining.begin(), remaining.end());
  const std::size_t may_stay = round.set().size() - round.set().quorum();
  return remaining.size() > may_stay ? remaining[remaining.size() - may_stay - 1]
                                     : remaining.front();
}

struct Named {
  OwnerToken token;
  Owner owner;
  int sharers = 0;  // as the same node reports
};

// The holder that a denial names. Nothing if it names none.
std::optional<Named> NamedBy(const NodeReply& denial) {
  if (!IsMarker(denial.holder.value())) return Named{denial.holder, denial.owner};
  if (denial.shares.empty()) return std::nullopt;
  const Share& share = denial.shares.front();
  return Named{share.token, share.owner, denial.sharers};
}

// The holder whose token most of the counted denials name, of those that say that the key is `held`
// in this way: a marker, or '' for exclusively. A node on which the lease was restored may know
// only the token.
Named HolderOf(const Round& round, std::string_view held = {}) {
  std::vector<Named> all;
  for (const Vote& vote : round.votes()) {
    if (vote.outcome != Outcome::kHeld) continue;
    const NodeReply& denial = *round.reply(vote.node);
    const std::string_view found = denial.holder.value();
    if (held != (IsMarker(found) ? found : "")) continue;
    if (auto named = NamedBy(denial)) all.push_back(std::move(*named));
  }
  Named holder;
  std::ptrdiff_t most = 0;
  for (const Named& named : all) {
    const auto same = std::ranges::count(all, named.token, &Named::token);
    if (same < most || (same == most && !holder.owner.empty())) continue;
    most = same;
    holder = named;
  }
  return holder;
}

// Whether all who denied say that nobody holds the key, but that it stays taken after a release.
bool IsKeptOnly(const Round& round) {
  return std::ranges::all_of(round.votes(), [&round](const Vote& vote) {
    return vote.outcome != Outcome::kHeld || IsKept(round.reply(vote.node)->holder);
  });
}

// Whether holders share the key on some of the nodes that denied.
bool IsShared(const Round& round) {
  return std::ranges::any_of(round.votes(), [&round](const Vote& vote) {
    return vote.outcome == Outcome::kHeld &&
           round.reply(vote.node)->holder.value() == kSharedMarker;
  });
}

// Of one of several holders, for messages. Where it comes from and since when follow the message.
std::string NameOf(const Owner& owner) {
  return owner.label.empty() ? "one without a label" : Quoted(owner.label.value());
}

// The node that all contenders for a key ask first. Any node works if all daemons choose the same.
// Acquisitions of several keys contend with different ones, and all ask the same node. The set has
// at least one node that can be asked.
NodeIndex FirstNode(const Key& key, const NodeSet& set) {
  if (key.IsSeveral()) return set.nodes().front();
  return set.nodes()[Fnv1a(key.names()) % set.nodes().size()];
}

}  // namespace

Error HeldBy(const Owner& owner, Duration free_in) {
  Error error{.reason = Reason::kLockAlreadyHeld,
              .message = "another holder has the lock",
              .retry_after = free_in,
              .owner = owner};
  if (!owner.label.empty()) error.message += ": " + Quoted(owner.label.value());
  return error;
}

Error HeldByShares(const Owner& owner, int holders, Duration free_in) {
  Error error{.reason = Reason::kLockAlreadyHeld,
              .message = "holders share the lock",
              .retry_after = free_in,
              .owner = owner,
              .holders = holders};
  if (holders == 1) error.message = "a holder shares the lock";
  if (holders > 1) error.message = std::to_string(holders) + ' ' + error.message;
  if (!owner.empty()) error.message += (holders == 1 ? ": " : ", among them ") + NameOf(owner);
  return error;
}

Error TakenAfterRelease(Duration free_in) {
  return {.reason = Reason::kLockAlreadyHeld,
          .message = "nobody holds the lock, but its last holder keeps it taken for " +
                     InWords(free_in) + " more",
          .retry_after = free_in};
}

Error AllSlotsTaken(int limit, const Owner& owner, Duration free_in) {
  Error error{.reason = Reason::kLockAlreadyHeld,
              .message = "all " + std::to_string(limit) + " slots are taken",
              .retry_after = free_in,
              .owner = owner,
              .holders = limit};
  if (!owner.empty()) error.message += ", one of them by " + NameOf(owner);
  return error;
}

Error HasSlotAlready(Duration free_in) {
  return {.reason = Reason::kLockAlreadyHeld,
          .message = "this token has a slot already",
          .retry_after = free_in};
}

std::shared_ptr<Attempt> Attempt::Start(const Environment& env,
                                        std::shared_ptr<const AcquireCommand> command, Order order,
                                        Done done) {
  auto self = std::make_shared<Attempt>(Passkey<Attempt>(), env, std::move(command), order, nullptr,
                                        std::move(done));
  env.limiter.Enter(self->permit_, ConcurrencyLimiter::Priority::kAcquisitions,
                    self->command_->source, [raw = self.get()] { raw->Propose(); });
  return self;
}

std::shared_ptr<Attempt> Attempt::TakeOver(const Environment& env,
                                           std::shared_ptr<const AcquireCommand> command,
                                           std::shared_ptr<HandOver> releaser, Done done) {
  auto self = std::make_shared<Attempt>(Passkey<Attempt>(), env, std::move(command),
                                        Order::kAllAtOnce, std::move(releaser), std::move(done));
  self->id_ = {env.random.Bits()};
  self->ProposeHandOver();
  return self;
}

Attempt::Attempt(Passkey<Attempt> /*key*/, const Environment& env,
                 std::shared_ptr<const AcquireCommand> command, Order order,
                 std::shared_ptr<HandOver> releaser, Done done)
    : env_(env),
      command_(std::move(command)),
      key_(releaser ? releaser->key() : command_->key),
      order_(order),
      releaser_(std::move(releaser)),
      done_(std::move(done)) {
  if (!key_.IsSemaphore() || key_.slot() != 0) return;
  const auto limit = static_cast<std::uint64_t>(key_.limit());
  key_ = key_.Slot(key_.limit(), static_cast<int>(env.random.Bits() % limit) + 1);
}

void Attempt::BeginProposal() {
  ++proposals_;
  ttl_ = env_.set->Bounded(command_->ttl);
  fence_ = env_.fences.Next(env_.scheduler.WallNow());
}

void Attempt::Propose() {
  BeginProposal();
  id_ = {env_.random.Bits()};
  const auto send = [self = shared_from_this(), fence = fence_, id = id_](
                        Node& node, std::shared_ptr<ReplySink> sink) {
    const AcquireCommand& command = *self->command_;
    node.Acquire({.key = self->key_,
                  .token = command.token,
                  .ttl = self->ttl_,
                  .longest = LongestTtl(self->env_),
                  .fence = fence,
                  .attempt = id,
                  .owner = command.owner,
                  .adopt = command.extend_if_held},
                 std::move(sink));
  };
  switch (env_.set->nodes().empty() ? Order::kAllAtOnce : order_) {
    case Order::kAllAtOnce:
      round_ = Round::Start(env_, CountAcquisition, send, shared_from_this(), id_);
      break;
    case Order::kOneFirst:
      round_ = Round::StartOneFirst(env_, CountAcquisition, send, shared_from_this(), id_,
                                    FirstNode(key_, *env_.set));
      break;
  }
}

// All proposals of one hand-over have the same attempt id: a node that has handed over to an
// earlier proposal accepts the higher fence of the next.
void Attempt::ProposeHandOver() {
  BeginProposal();
  releaser_->Proposed(fence_);
  round_ = Round::Start(
      env_, CountAcquisition,
      [this](Node& node, std::shared_ptr<ReplySink> sink) {
        node.HandOver({.key = key_,
                       .from = releaser_->token(),
                       .to = command_->token,
                       .ttl = ttl_,
                       .longest = LongestTtl(env_),
                       .fence = fence_,
                       .attempt = id_,
                       .owner = command_->owner},
                      std::move(sink));
      },
      shared_from_this(), id_);
}

void Attempt::OnDecided(Round& round) {
  const auto self = shared_from_this();
  const auto keep = round_;
  votes_ = round.votes();
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    if (const NodeReply* reply = round.reply(node)) env_.fences.Saw(reply->fence);
  }
  if (round.verdict() == Verdict::kReached) {
    Won(round);  // first, because others wait for the new holder
    TellReleaser(round);
    if (releaser_) releaser_->Settle();
    return;
  }
  TellReleaser(round);
  if (Any(votes_, Outcome::kStaleFence) && proposals_ < kMaxProposals &&
      round.verdict() != Verdict::kDenied) {
    // Another daemon's clock is ahead. Retries once more, with a fence above the ones seen.
    if (releaser_) {
      ProposeHandOver();
    } else {
      RollBack(false);  // grants are released in the same write
      Propose();
    }
    return;
  }
  if (releaser_) releaser_->Settle();
  if (TryAnotherSlot(round)) return;
  Lose(round.verdict() == Verdict::kDenied ? WhyDenied(round) : round.WhyUndecided());
}

bool Attempt::TryAnotherSlot(const Round& round) {
  if (!key_.IsSemaphore() || releaser_ || ++slots_tried_ == kMaxSlotsTried) return false;
  if (OtherUse(round, key_)) return false;
  int slot = command_->extend_if_held ? OwnSlot(round) : 0;
  if (slot == 0) slot = PickSlot(round, key_.limit(), env_.random);
  if (slot == 0 || slot == key_.slot()) return false;
  RollBack(false);
  key_ = key_.Slot(key_.limit(), slot);
  Propose();
  return true;
}

Error Attempt::WhyDenied(const Round& round) {
  if (auto other_use = OtherUse(round, key_)) {
    return {.reason = Reason::kKindMismatch,
            .message = Quoted(key_.InWords()) + " is in use as " + *other_use,
            .in_use_as = std::move(*other_use)};
  }
  const Duration free_in = UntilFree(round);
  if (key_.IsSemaphore()) {
    has_slot_ = HasSlot(round);
    if (has_slot_) return HasSlotAlready(free_in);
    const Named named = HolderOf(round, SemaphoreMarker(key_.limit()));
    return AllSlotsTaken(key_.limit(), named.owner, free_in);
  }
  if (IsKeptOnly(round)) return TakenAfterRelease(free_in);
  shared_ = IsShared(round);
  if (!shared_) return HeldBy(HolderOf(round).owner, free_in);
  const Named named = HolderOf(round, kSharedMarker);
  return HeldByShares(named.owner, named.sharers, free_in);
}

void Attempt::TellReleaser(const Round& round) {
  if (!releaser_) return;
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    if (const NodeReply* reply = round.reply(node)) releaser_->OnReply(node, *reply);
  }
  for (const Vote& vote : round.votes()) {
    if (vote.outcome != Outcome::kTimeout) continue;
    releaser_->OnReply(vote.node, {.outcome = vote.outcome, .message = vote.message});
  }
}

void Attempt::Won(Round& round) {
  const GrantedFences fences = FencesOfGrants(round, env_.nodes.size());
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    const NodeReply* reply = round.reply(node);
    if (reply == nullptr || reply->outcome != Outcome::kGranted) continue;
    // A node on which the token held the key derives the number from the previous stream. Its fence
    // proves nothing: two daemons whose clocks are behind can propose the same.
    const std::uint64_t number = reply->keeper ? reply->keeper->number : fence_.value;
    keeper_number_ = std::max(keeper_number_, number);
    extended_ = extended_ || reply->keeper.has_value();
  }
  if (extended_ && (!fences.agree || fences.highest.value == 0) &&
      Has(Safeguard::kAdoptedFencesAgree)) {
    Unify(round, std::max(fences.highest, fence_));
    return;
  }
  const MonotonicTime now = env_.scheduler.Now();
  const DriftBudget drift =
      Has(Safeguard::kDrift) ? env_.options.drift : DriftBudget{.factor = 0, .buffer = {}};
  const Duration validity = Validity(ttl_, now - round.started(), drift);
  if (validity <= Duration::zero() && Has(Safeguard::kValidityAtDecision)) {
    Lose({.reason = Reason::kValidityExpired,
          .message = "a quorum granted the lock only after its validity had ended"});
    return;
  }
  Succeed({key_, command_->token, fences.highest, keeper(), validity, now + validity});
}

void Attempt::Unify(const Round& round, FencingToken highest) {
  // Some nodes hold the token from before and some from this attempt. One more round gives all of
  // them the same fence. The extension takes its own permit, with another priority.
  permit_.Leave();
  const Owner known = OwnerOfGrants(round, env_.nodes.size());
  unifying_ = Extension::Start(
      env_,
      {.key = key_,
       .token = command_->token,
       .ttl = command_->ttl,
       .retry = {.max_retries = 0, .min_delay = {}, .max_jitter = {}},
       .deadline = std::nullopt,
       .raise_to = highest,
       .least_delay = std::max(command_->owner.lock_delay, known.lock_delay),
       .keeper = keeper(),
       .source = command_->source},
      [this, self = shared_from_this()](ExtendResult result) {
        unifying_.reset();
        if (!done_) return;
        votes_ = std::move(result.votes);
        if (result.lease) {
          Succeed(std::move(*result.lease));
        } else {
          Lose({.reason = Reason::kQuorumUnavailable, .message = std::move(result.error.message)});
        }
      });
}

void Attempt::Succeed(Lease lease) {
  winner_ = round_.get();
  Finish(
      {.lease = std::move(lease), .error = {}, .votes = std::move(votes_), .extended = extended_});
}

void Attempt::Lose(Error error) {
  const bool split = Any(votes_, Outcome::kGranted) && Any(votes_, Outcome::kHeld);
  // Contenders may have been denied because of this quorum, so the roll-back is announced.
  RollBack(error.reason == Reason::kValidityExpired);
  Finish({.lease = std::nullopt,
          .error = std::move(error),
          .votes = std::move(votes_),
          .split = split,
          .shared = shared_,
          .has_slot = has_slot_});
}

void Attempt::RollBack(bool announce) {
  if (!round_) return;
  round_->Abandon();
  // A node that denied holds nothing of this attempt. A node that has not answered yet gets the
  // release right after the request.
  std::vector<NodeIndex> may_hold;
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    if (!round_->was_asked(node)) continue;
    const NodeReply* reply = round_->reply(node);
    if (reply == nullptr || reply->outcome == Outcome::kGranted || IsUnknown(reply->outcome) ||
        releaser_) {  // an earlier proposal of the same hand-over may have been granted
      may_hold.push_back(node);
    }
  }
  round_.reset();
  if (!Has(Safeguard::kRollBack)) return;
  CleanUp::Start(env_,
                 {.key = key_, .token = command_->token, .only_attempt = id_, .announce = announce},
                 std::move(may_hold));
}

void Attempt::OnLate(Round& round, NodeIndex node, const NodeReply& reply) {
  env_.fences.Saw(reply.fence);
  if (releaser_) releaser_->OnReply(node, reply);
  if (&round == winner_ || &round == round_.get()) return;  // adds to a lease that was acquired
  if (reply.outcome != Outcome::kGranted || !Has(Safeguard::kRollBackLateGrant)) return;
  // An earlier proposal of the hand-over has the same attempt id.
  if (releaser_ && (winner_ != nullptr || round_)) return;
  // The round was abandoned. Its roll-back may have overtaken the grant, if the node had lost its
  // script and was asked again.
  CleanUp::Start(env_, {.key = key_, .token = command_->token, .only_attempt = round.attempt()},
                 {node});
}

void Attempt::Cancel() {
  if (!done_) return;
  const auto self = shared_from_this();
  done_ = nullptr;
  if (releaser_) releaser_->Settle();
  // Announced for a hand-over: if it had succeeded by now, no waiter would get the key otherwise.
  RollBack(releaser_ != nullptr);
  permit_.Leave();
  if (unifying_) std::exchange(unifying_, nullptr)->Cancel(Reason::kCancelled);
}

void Attempt::Finish(AttemptResult result) {
  REDLOCK_CHECK(done_ != nullptr);
  const auto self = shared_from_this();
  round_.reset();  // it refers to this
  permit_.Leave();
  if (unifying_) std::exchange(unifying_, nullptr)->Cancel(Reason::kCancelled);
  std::exchange(done_, nullptr)(std::move(result));
}

}  // namespace redlock
