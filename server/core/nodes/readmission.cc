#include "server/core/nodes/readmission.h"

namespace redlock {

void Readmission::Prepare(const std::vector<NodeIndex>& others, std::size_t quorum) {
  quorum_ = quorum;
  asked_.insert(others.begin(), others.end());
  for (const NodeIndex other : others) {
    nodes_.Ask(other, {.kind = SetStep::Kind::kPrepare,
                       .mark = nodes_[other].state.mark,
                       .epoch = record_.epoch,
                       .ballot = ballot_});
  }
}

Readmission::Progress Readmission::WriteWithoutPromise(const std::vector<NodeIndex>& others) {
  for (const NodeIndex other : others) TakeOver(nodes_[other].state.accepted);
  return Write();
}

void Readmission::TakeOver(const std::optional<Proposal>& other) {
  if (other && (!accepted_ || accepted_->ballot < other->ballot)) accepted_ = other;
}

Readmission::Progress Readmission::OnReply(NodeIndex node, const SetReply& reply) {
  if (node == target_.node) {
    if (!writing_) return Progress::kPending;
    return reply.answered && reply.done ? Progress::kWritten : Progress::kFailed;
  }
  if (writing_ || !asked_.contains(node)) return Progress::kPending;
  // Otherwise another proposer was faster, or the node cannot be reached.
  const bool promised = reply.answered && reply.done && reply.state.promised == ballot_;
  if (!promised) {
    ++refused_;
    return asked_.size() - refused_ < quorum_ ? Progress::kFailed : Progress::kPending;
  }
  promised_.insert(node);
  TakeOver(reply.state.accepted);
  return promised_.size() >= quorum_ ? Write() : Progress::kPending;
}

Readmission::Progress Readmission::Write() {
  const SetNodes::Seat& seat = nodes_[target_.node];
  if (!seat.IsFree()) return Progress::kFailed;
  writing_ = true;
  nodes_.Ask(target_.node, {.kind = SetStep::Kind::kReadmit,
                            .member = target_.member,
                            .mark = target_.mark,
                            .new_mark = target_.new_mark,
                            .ballot = ballot_,
                            .record = record_,
                            .accepted = accepted_});
  return Progress::kPending;
}

}  // namespace redlock
