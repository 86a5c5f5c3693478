#include "server/core/nodes/set_proposal.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"
#include "server/core/safeguard.h"

namespace redlock {

SetProposal::SetProposal(Scheduler& scheduler, SetNodes& nodes, NodeSetPtr set,
                         std::optional<SetRecord> own, Duration patience)
    : scheduler_(scheduler),
      nodes_(nodes),
      set_(std::move(set)),
      own_(std::move(own)),
      ballot_(nodes.NextBallot()),
      began_(scheduler.Now()),
      patience_(patience),
      acceptors_(nodes.size()) {
  REDLOCK_CHECK(!own_ || own_->epoch == epoch() + 1);
}

std::size_t SetProposal::Count(Stage stage) const {
  const auto of_members = std::ranges::count_if(
      set_->nodes(), [this, stage](NodeIndex node) { return acceptors_[node].stage == stage; });
  return static_cast<std::size_t>(of_members);
}

SetProposal::Progress SetProposal::Advance(const std::function<bool(NodeIndex)>& can_promise) {
  const bool late = scheduler_.Now() - began_ >= patience_;
  if (!value_) {
    const std::size_t pending = Prepare(can_promise);
    const std::size_t promised = Count(Stage::kPromised);
    if (promised + pending < set_->quorum() || (late && promised < set_->quorum())) {
      return Progress::kFailed;
    }
    // More promises make it likelier that an interrupted proposal is found and completed.
    if (promised < set_->quorum() || (pending > 0 && !late)) return Progress::kPending;
    if (!Choose()) return Progress::kFailed;
  }
  if (AddsANode()) {
    const auto added = AddedNode();
    const bool has_it = added && acceptors_[*added].stage == Stage::kAccepted;
    if (added && !has_it) AskAdded(*added);
    // Another daemon's proposal, which may have been decided, is completed without the node.
    if (is_own_ && !has_it) {
      const bool failed = late || !added || acceptors_[*added].stage == Stage::kOut;
      return failed ? Progress::kFailed : Progress::kPending;
    }
  }
  for (const NodeIndex node : set_->nodes()) {
    const Acceptor& acceptor = acceptors_[node];
    if (acceptor.stage != Stage::kPromised || !nodes_[node].IsFree()) continue;
    AskToAccept(node, acceptor.mark, set_->record().IsUndoneBy(*value_));
  }
  if (Count(Stage::kAccepted) >= set_->quorum()) return Progress::kDecided;
  const std::size_t possible =
      Count(Stage::kAccepted) + Count(Stage::kAccepting) + Count(Stage::kPromised);
  return late || possible < set_->quorum() ? Progress::kFailed : Progress::kPending;
}

// Returns how many members may still promise.
std::size_t SetProposal::Prepare(const std::function<bool(NodeIndex)>& can_promise) {
  std::size_t pending = 0;
  for (const NodeIndex node : set_->nodes()) {
    Acceptor& acceptor = acceptors_[node];
    if (acceptor.stage == Stage::kPreparing) ++pending;
    if (acceptor.stage != Stage::kUnasked || !can_promise(node)) continue;
    ++pending;
    if (!nodes_[node].IsFree()) continue;
    acceptor.stage = Stage::kPreparing;
    acceptor.mark = nodes_[node].state.mark;
    nodes_.Ask(node, {.kind = SetStep::Kind::kPrepare,
                      .mark = acceptor.mark,
                      .epoch = epoch(),
                      .ballot = ballot_});
  }
  return pending;
}

// False if there is nothing to propose, or if too few members accept a change now.
bool SetProposal::Choose() {
  const std::optional<Proposal>* highest = nullptr;
  std::size_t ready = 0;
  for (const NodeIndex node : set_->nodes()) {
    Acceptor& acceptor = acceptors_[node];
    if (acceptor.stage != Stage::kPromised) {
      acceptor.stage = Stage::kOut;  // what it may have accepted is not known
      continue;
    }
    if (!acceptor.waits) ++ready;
    if (!acceptor.accepted) continue;
    if (highest == nullptr || (*highest)->ballot < acceptor.accepted->ballot) {
      highest = &acceptor.accepted;
    }
  }
  if (highest != nullptr && Has(Safeguard::kHighestAccepted)) {
    value_ = (*highest)->record;
    return true;
  }
  if (!own_) return false;
  if (ready < set_->quorum() && !set_->record().IsUndoneBy(*own_)) return false;
  value_ = own_;
  is_own_ = true;
  return true;
}

bool SetProposal::AddsANode() const {
  return std::ranges::any_of(value_->members, [this](const Member& member) {
    return set_->record().Find(member.id) == nullptr;
  });
}

bool SetProposal::LacksAddedNode() const {
  if (is_own_ || !AddsANode()) return false;
  const auto added = AddedNode();
  return !added || acceptors_[*added].stage != Stage::kAccepted;
}

// The node that the proposal adds, if this daemon is configured with it.
std::optional<NodeIndex> SetProposal::AddedNode() const {
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    const std::string& id = nodes_[node].state.member;
    if (id.empty() || value_->Find(id) == nullptr || set_->record().Find(id) != nullptr) continue;
    return node;
  }
  return std::nullopt;
}

void SetProposal::AskAdded(NodeIndex node) {
  Acceptor& acceptor = acceptors_[node];
  const SetNodes::Seat& seat = nodes_[node];
  if (!seat.IsFree() || acceptor.stage == Stage::kOut) return;
  const auto& known = seat.state.record;
  if (known && *known == set_->record()) {
    // It has no vote yet, so it has nothing to wait for.
    AskToAccept(node, seat.state.mark, true);
  } else if (known && (known->set_id != set_->record().set_id || known->epoch >= epoch())) {
    acceptor.stage = Stage::kOut;
  } else {
    acceptor.stage = Stage::kLearning;
    nodes_.Ask(
        node,
        {.kind = SetStep::Kind::kLearn, .member = seat.state.member, .record = set_->record()});
  }
}

void SetProposal::AskToAccept(NodeIndex node, const std::string& mark, bool without_waiting) {
  acceptors_[node].stage = Stage::kAccepting;
  nodes_.Ask(node, {.kind = SetStep::Kind::kAccept,
                    .mark = mark,
                    .epoch = epoch(),
                    .ballot = ballot_,
                    .record = *value_,
                    .back = without_waiting});
}

void SetProposal::OnReply(NodeIndex node, const SetReply& reply) {
  Acceptor& acceptor = acceptors_[node];
  const bool done = reply.answered && reply.done;
  switch (acceptor.stage) {
    case Stage::kPreparing:
      acceptor.stage = done && reply.state.promised == ballot_ ? Stage::kPromised : Stage::kOut;
      acceptor.accepted = reply.state.accepted;
      acceptor.waits = reply.state.wait > Duration{};
      return;
    case Stage::kLearning:
      acceptor.stage = done ? Stage::kUnasked : Stage::kOut;
      return;
    case Stage::kAccepting:
      acceptor.stage = done ? Stage::kAccepted : Stage::kOut;
      return;
    case Stage::kUnasked:
    case Stage::kPromised:
    case Stage::kAccepted:
    case Stage::kOut:
      return;  // the answer to another step
  }
}

void SetProposal::OnDisconnected(NodeIndex node) {
  // It may restart with old data, and then it has forgotten its promise.
  if (acceptors_[node].stage != Stage::kAccepted) acceptors_[node].stage = Stage::kOut;
}

}  // namespace redlock
