// One attempt to decide the next record of the node set (Paxos; Lamport, "Paxos Made Simple",
// 2001).
//
// The members of the present epoch promise a ballot and report what they have accepted. If one of
// them has accepted a proposal, that proposal is made again: it may have been decided. Otherwise
// the daemon's own is made. It is decided once a quorum of members have accepted it under this
// ballot.
//
//   - Only members whose promise was counted are asked to accept. The request carries the mark that
//     the node had when it promised. So a node that has lost its data since then refuses, and so
//     does one that was readmitted (tests/model/README.md says why this is needed).
//   - A node that is to be added accepts first, without a vote. It has the record when it is
//   decided.
//
// Strand-confined.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/core/clock.h"
#include "server/core/nodes/node_set.h"
#include "server/core/nodes/set_nodes.h"

namespace redlock {

class SetProposal {
 public:
  enum class Progress {
    kPending,
    kDecided,
    kFailed,  // a later attempt, with a higher ballot, may succeed
  };

  // The scheduler and the nodes must outlive this. `own`: what is proposed if no member has
  // accepted anything. Without it, the attempt fails then.
  SetProposal(Scheduler& scheduler, SetNodes& nodes, NodeSetPtr set, std::optional<SetRecord> own,
              Duration patience);

  // Asks the nodes that can be asked. `can_promise`: the member remembers what it has promised and
  // accepted. Call whenever the state of a node has changed.
  [[nodiscard]] Progress Advance(const std::function<bool(NodeIndex)>& can_promise);
  // Call before Advance().
  void OnReply(NodeIndex node, const SetReply& reply);
  void OnDisconnected(NodeIndex node);

  [[nodiscard]] std::uint64_t epoch() const { return set_->record().epoch; }
  // What is proposed; nothing until it has been chosen.
  [[nodiscard]] const std::optional<SetRecord>& value() const { return value_; }
  // Whether another daemon's proposal adds a node that does not have the record.
  [[nodiscard]] bool LacksAddedNode() const;

 private:
  // How far a member, or the node that is added, has come.
  enum class Stage { kUnasked, kPreparing, kPromised, kLearning, kAccepting, kAccepted, kOut };
  struct Acceptor {
    Stage stage = Stage::kUnasked;
    std::string mark;  // with which it promised
    std::optional<Proposal> accepted;
    bool waits = false;  // it accepts no change yet
  };

  std::size_t Prepare(const std::function<bool(NodeIndex)>& can_promise);
  [[nodiscard]] std::size_t Count(Stage stage) const;
  [[nodiscard]] bool Choose();
  [[nodiscard]] bool AddsANode() const;
  [[nodiscard]] std::optional<NodeIndex> AddedNode() const;
  void AskAdded(NodeIndex node);
  void AskToAccept(NodeIndex node, const std::string& mark, bool without_waiting);

  Scheduler& scheduler_;
  SetNodes& nodes_;
  const NodeSetPtr set_;
  const std::optional<SetRecord> own_;
  const Ballot ballot_;
  const MonotonicTime began_;
  const Duration patience_;
  std::vector<Acceptor> acceptors_;  // by node
  std::optional<SetRecord> value_;
  bool is_own_ = false;
};

}  // namespace redlock
