#include "server/core/nodes/set_change.h"

#include <algorithm>
#include <utility>

#include "server/core/format.h"

namespace redlock {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Before this daemon completes another daemon's proposal. The members that accepted it have no vote
// meanwhile.
constexpr Duration kBeforeCompleting = milliseconds(500);
// Before this daemon goes on with another daemon's change.
constexpr Duration kBeforeTakingOver = seconds(3);
// A node that was added and has been gone for this long when the next step is due is removed again.
constexpr Duration kGone = seconds(30);
// A request whose first step needs a node that stays down is dropped.
constexpr Duration kBlocked = std::chrono::minutes(10);

}  // namespace

SetChange::SetChange(Scheduler& scheduler, Random& random, const LockOptions& options,
                     SetNodes& nodes, Hooks hooks)
    : scheduler_(scheduler),
      random_(random),
      options_(options),
      nodes_(nodes),
      hooks_(std::move(hooks)),
      backoff_(milliseconds(50), seconds(2)) {}

std::optional<std::string> SetChange::Request(ChangeRequest request) {
  const SetRecord& record = hooks_.set()->record();
  const std::vector<PlanNode> nodes = hooks_.nodes();
  if (pending_ && !request.abort) {
    return "another change of the node set is under way at this daemon: wait for it, or abort it "
           "with: redlockctl nodes abort";
  }
  if (!request.abort && IsUndecided()) {
    return "another change of the node set is being decided: try again when it is complete";
  }
  const bool aborts_first_step = request.abort && (pending_ || IsUndecided());
  if (!aborts_first_step) {
    if (auto why = ChangePlan(record, nodes).Refusal(request)) return why;
  }
  refused_ = aborts_first_step ? "the change was aborted before its first step" : "";
  // A proposal whose value has not been chosen cannot be decided.
  if (request.abort && proposal_ && !proposal_->value()) proposal_.reset();
  pending_ = Pending{.request = std::move(request),
                     .epoch = record.epoch,
                     .was_changing = record.IsChanging(),
                     .blocked_since = {}};
  leads_ = true;
  next_attempt_ = scheduler_.Now();
  return std::nullopt;
}

std::shared_ptr<SetChange::Follower> SetChange::Follow(ChangeTold told) {
  auto follower =
      std::make_shared<Follower>(std::move(told), pending_->request, hooks_.set()->record());
  followers_.push_back(follower);
  return follower;
}

std::optional<Duration> SetChange::WaitLeft() const {
  const NodeSet& set = *hooks_.set();
  std::vector<Duration> left;
  for (const NodeIndex node : set.nodes()) {
    if (hooks_.can_promise(node)) left.push_back(nodes_[node].WaitLeft(scheduler_.Now()));
  }
  if (left.size() < set.quorum()) return std::nullopt;
  std::ranges::sort(left);
  return left[set.quorum() - 1];
}

bool SetChange::IsUndecided() const {
  const NodeSet& set = *hooks_.set();
  return std::ranges::any_of(set.nodes(), [&](NodeIndex node) {
    const SetNodes::Seat& seat = nodes_[node];
    return seat.connected && seat.state.accepted && seat.state.record == set.record();
  });
}

void SetChange::OnNewEpoch() {
  epoch_ = hooks_.set()->record().epoch;
  proposal_.reset();
  undecided_since_.reset();
  due_since_.reset();
  gone_since_.reset();
  waits_for_.clear();
  pause_ = kBeforeTakingOver + random_.UpTo(kBeforeTakingOver);
  backoff_.Reset();
  next_attempt_ = scheduler_.Now();
}

std::optional<SetRecord> SetChange::Advance() {
  if (hooks_.set()->record().epoch != epoch_) OnNewEpoch();
  if (!proposal_) Begin();
  if (!proposal_) return std::nullopt;
  switch (proposal_->Advance(hooks_.can_promise)) {
    case SetProposal::Progress::kPending:
      return std::nullopt;
    case SetProposal::Progress::kDecided: {
      leads_ = true;
      SetRecord decided = *proposal_->value();
      // A step whose new node is gone is not completed, but it may have been decided already.
      if (proposal_->LacksAddedNode() && !pending_) {
        pending_ = Pending{.request = {.abort = true},
                           .epoch = epoch_,
                           .was_changing = false,
                           .blocked_since = {}};
      }
      proposal_.reset();
      return decided;
    }
    case SetProposal::Progress::kFailed:
      break;
  }
  proposal_.reset();
  const Duration pause = backoff_.Next();
  WakeAt(next_attempt_ = scheduler_.Now() + pause + random_.UpTo(pause));
  return std::nullopt;
}

void SetChange::WakeAt(MonotonicTime when) {
  timer_ = scheduler_.At(when, [this] { hooks_.wake(); });
}

// Starts a proposal if one is due.
void SetChange::Begin() {
  waits_for_.clear();
  const NodeSet& set = *hooks_.set();
  const std::vector<PlanNode> nodes = hooks_.nodes();
  const ChangePlan plan(set.record(), nodes);
  if (pending_ && IsOver(plan)) pending_.reset();
  const bool undecided = IsUndecided();
  if (!undecided) undecided_since_.reset();
  const std::optional<SetRecord> own = OwnValue(plan, undecided);
  if (!own && !undecided) {
    if (!set.record().IsChanging() && !pending_) leads_ = false;
    return;
  }
  const auto left = WaitLeft();
  if (!left) {
    waits_for_ = "a quorum of the members must be connected";
    return;
  }
  if (undecided) {
    waits_for_ = "a step that was interrupted is being completed";
    if (!IsMyTurn(undecided_since_, kBeforeCompleting + pause_ / 10)) return;
  } else {
    if (*left > Duration{} && !set.record().IsUndoneBy(*own)) {
      waits_for_ = "the leases that were granted under the previous epoch must expire first";
      WakeAt(scheduler_.Now() + *left);
      return;
    }
    if (!IsMyTurn(due_since_, pause_)) return;
  }
  if (scheduler_.Now() < next_attempt_) {
    WakeAt(next_attempt_);
    return;
  }
  waits_for_ = "the members are voting";
  const Duration patience = std::max<Duration>(4 * options_.node_timeout, milliseconds(200));
  proposal_.emplace(scheduler_, nodes_, hooks_.set(), own, patience);
  WakeAt(scheduler_.Now() + patience);
}

// Whether this daemon acts now: at once if it leads the change, or else after the pause.
bool SetChange::IsMyTurn(std::optional<MonotonicTime>& due_since, Duration pause) {
  const MonotonicTime now = scheduler_.Now();
  if (!due_since) due_since = now;
  const MonotonicTime turn = leads_ ? *due_since : *due_since + pause;
  if (now >= turn) return true;
  WakeAt(turn);
  return false;
}

bool SetChange::AbortHasToUndo() const {
  const SetRecord& record = hooks_.set()->record();
  return record.IsChanging() || (!pending_->was_changing && record.epoch == pending_->epoch + 1);
}

// Whether nothing is left to be decided for the request: its first step, or another daemon's, was.
bool SetChange::IsOver(const ChangePlan& plan) {
  const SetRecord& record = hooks_.set()->record();
  if (pending_->epoch == record.epoch) return false;
  if (pending_->request.abort) return !AbortHasToUndo();
  if (auto why = plan.Refusal(pending_->request); why && !record.IsChanging()) refused_ = *why;
  return true;
}

std::optional<SetRecord> SetChange::FirstStep(const ChangePlan& plan) {
  auto first = plan.First(pending_->request);
  if (first) {
    pending_->blocked_since.reset();
    return first;
  }
  waits_for_ = "a node that the change needs is not up";
  const MonotonicTime now = scheduler_.Now();
  if (!pending_->blocked_since) pending_->blocked_since = now;
  if (now - *pending_->blocked_since >= kBlocked) {
    refused_ = waits_for_ + " for " + InWords(kBlocked);
    pending_.reset();
  }
  return std::nullopt;
}

std::optional<SetRecord> SetChange::OwnValue(const ChangePlan& plan, bool undecided) {
  const SetRecord& record = hooks_.set()->record();
  if (pending_ && pending_->request.abort) {
    if (AbortHasToUndo()) return plan.Undo();
    if (!undecided) pending_.reset();  // otherwise that step is decided first
    return std::nullopt;
  }
  if (pending_) return FirstStep(plan);
  if (!record.IsChanging()) return std::nullopt;
  const auto down = plan.AddedButNotUp();
  const bool is_due = WaitLeft() == Duration{};
  if (!down || !is_due) {
    gone_since_.reset();
    auto next = plan.Next();
    if (!next) waits_for_ = plan.Obstacle();
    return next;
  }
  waits_for_ = "node " + *down + ", which was added, must be up first";
  if (!plan.IsAddedOneGone()) {
    gone_since_.reset();
    return std::nullopt;
  }
  waits_for_ += ": the step is undone if it stays away for " + InWords(kGone);
  const MonotonicTime now = scheduler_.Now();
  if (!gone_since_) gone_since_ = now;
  // The daemon that leads the change may see the node.
  const Duration patience = leads_ ? kGone : kGone + record.wait;
  if (now - *gone_since_ < patience) return std::nullopt;
  return plan.Undo();
}

ChangeProgress SetChange::ProgressOf(const Follower& follower) const {
  const SetRecord& record = hooks_.set()->record();
  ChangeProgress progress;
  progress.steps_done = record.epoch - follower.began_.epoch;
  const bool is_pending = pending_ && (record.epoch == follower.began_.epoch ||
                                       (pending_->request.abort && AbortHasToUndo()));
  if (is_pending) {
    progress.steps = std::max(ChangePlan::Steps(follower.request_), progress.steps_done + 1);
  } else {
    progress.steps = progress.steps_done + record.wanted_add.size() + record.wanted_remove.size();
  }
  if (is_pending || record.IsChanging()) {
    progress.message = waits_for_.empty() ? "the members are voting" : waits_for_;
    return progress;
  }
  const ChangeRequest& request = follower.request_;
  const auto is_member = [](const SetRecord& of, const std::string& name) {
    return of.Find(name) != nullptr ||
           std::ranges::find(of.members, name, &Member::name) != of.members.end();
  };
  const bool reached =
      progress.steps_done > 0 &&
      std::ranges::all_of(request.add, [&](const auto& name) { return is_member(record, name); }) &&
      std::ranges::none_of(request.remove,
                           [&](const auto& name) { return is_member(record, name); }) &&
      (!request.max_ttl || record.max_ttl == *request.max_ttl);
  const auto has_members_of = [&record](const std::vector<Member>& members) {
    return std::ranges::equal(record.members, members, {}, &Member::id, &Member::id);
  };
  const SetRecord& began = follower.began_;
  const bool undone =
      progress.steps_done == 0 || has_members_of(began.IsChanging() ? began.before : began.members);
  if (request.abort ? undone : reached) {
    progress.complete = true;
  } else if (request.abort) {
    progress.failure = "the last step of the change was decided first";
  } else {
    progress.failure = !refused_.empty() ? refused_ : "another change was made, or this one undone";
  }
  return progress;
}

void SetChange::Tell() {
  std::vector<std::shared_ptr<Follower>> open;
  for (const auto& weak : std::exchange(followers_, {})) {
    if (auto follower = weak.lock()) open.push_back(std::move(follower));
  }
  for (const auto& follower : open) {
    ChangeProgress progress = ProgressOf(*follower);
    const bool ended = progress.complete || progress.failure;
    if (!ended) followers_.push_back(follower);
    if (follower->last_ == progress) continue;
    follower->last_ = progress;
    follower->told_(progress);
  }
}

}  // namespace redlock
