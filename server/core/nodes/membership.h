// Finds out which node set is in force, and keeps the nodes in agreement about it.
//
// Every node stores who it is and the last record that it knows to be decided (set_record.h). Every
// step that votes names the record by its stamp, and a node with another one does nothing. So two
// daemons with different records cannot both find a quorum, whatever they are configured with: the
// configuration says which nodes can be reached, the record says who votes.
//
//   - A set is created only if all configured nodes are connected and none has a record
//     (set_creation.h).
//   - Each next record is decided by Paxos among the members (set_change.h). A daemon uses a record
//     only if it is decided, and passes it on to nodes that missed it. It is decided if a node says
//     so, or if a quorum of members report that they have accepted it under the same ballot.
//   - A node that lost its data has forgotten what it promised and accepted. It is readmitted with
//     what a quorum of the other members know (readmission.h).
//   - If so many nodes have lost their data that the others are no quorum, all members must be
//     connected, and the longest TTL must have passed, before the state of the others is taken over
//     without a promise. A decision that only lost nodes knew is then undone.
//
// A member is found by its id. The same server under two addresses has one vote. Strand-confined.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core/clock.h"
#include "server/core/nodes/grant_watch.h"
#include "server/core/nodes/node.h"
#include "server/core/nodes/node_guard.h"
#include "server/core/nodes/node_set.h"
#include "server/core/nodes/readmission.h"
#include "server/core/nodes/set_change.h"
#include "server/core/nodes/set_creation.h"
#include "server/core/nodes/set_nodes.h"
#include "server/core/options.h"
#include "server/core/random.h"

namespace redlock {

class Membership final : public NodeObserver {
 public:
  // Called when a set is created, found or changed, and when something prevents this (`warning`).
  using Report = std::function<void(bool warning, const std::string& what)>;

  // `names` are the addresses of the nodes. The scheduler, `random`, the options and the nodes must
  // outlive this, and so must the guard, which is null if it is off, and `grants`, which is null if
  // another shard watches.
  Membership(Scheduler& scheduler, Random& random, const LockOptions& options,
             const std::vector<Node*>& nodes, std::vector<std::string> names, NodeGuard* guard,
             GrantWatch* grants, Report report);
  ~Membership() override;
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

  // The set in force. Before one is found: all configured nodes, none of which has a vote.
  [[nodiscard]] const NodeSetPtr& set() const { return set_; }
  [[nodiscard]] bool known() const { return !set_->stamp().empty(); }
  // How a step to the node is answered if the node has no vote: kOtherSet, or kQuarantined while no
  // set has been found. Nothing if it has one.
  struct Refused {
    Outcome outcome;
    std::string why;
  };
  [[nodiscard]] std::optional<Refused> Refusal(NodeIndex node) const;
  // The configured node that is the member with this number in the record. Nothing if none is.
  [[nodiscard]] std::optional<NodeIndex> NodeOf(std::size_t member) const {
    return places_[member];
  }
  // What is wrong, for people; empty if nothing is. Without a set: what it is waiting for.
  [[nodiscard]] std::string Trouble() const;
  [[nodiscard]] bool IsConnected(NodeIndex node) const { return nodes_[node].connected; }
  // Why the node is not connected.
  [[nodiscard]] const std::string& DownBecause(NodeIndex node) const {
    return nodes_[node].down_because;
  }
  // The state that the node reported last.
  [[nodiscard]] const SetState& StateOf(NodeIndex node) const { return nodes_[node].state; }
  // How long a quorum of members does not accept the next change; nothing if too few can be asked.
  [[nodiscard]] std::optional<Duration> WaitLeft() const;
  // Why no lock can be granted: fewer members than a quorum are connected, not quarantined, and
  // able to grant. The reason is kNodeSetMismatch if waiting for nodes does not help. Nothing if a
  // quorum is able.
  [[nodiscard]] std::optional<Error> Outage() const;
  // How many steps nodes refused because they belong to another set or epoch.
  [[nodiscard]] std::uint64_t mismatches() const { return mismatches_; }

  // A node refused a step because it carries another stamp.
  void OnOtherSet(NodeIndex node);
  // Calls `told` inside this call, and again when the value changes (within inspect_interval). The
  // value is true if a quorum of members is connected, not quarantined, and able to grant.
  void WatchQuorum(std::function<void(bool)> told);

  // See Shard::WatchRecord().
  void WatchRecord(std::function<void(const SetRecord&)> told);

  // Begins a change of the set, and calls `told` with its progress until the returned handle is
  // destroyed. Only with NodeSetOptions::coordinates. `refusal`: nothing has changed.
  struct Started {
    std::optional<std::string> refusal;
    std::shared_ptr<void> handle;
  };
  [[nodiscard]] Started Change(ChangeRequest request, ChangeTold told);
  // Creates the set although NodeSetOptions::create is not set, as soon as that is possible.
  [[nodiscard]] std::shared_ptr<void> Create(ChangeTold told);

  void OnConnected(NodeIndex node, const NodeFacts& facts) override;
  void OnDisconnected(NodeIndex node, const std::string& why) override;

 private:
  struct Creator {
    const ChangeTold told;
    std::optional<ChangeProgress> last;
  };

  void OnReply(NodeIndex node, const SetReply& reply);
  void Consider();
  // False if the nodes belong to different sets.
  [[nodiscard]] bool FindRecord();
  [[nodiscard]] bool Rivals(const SetRecord& other) const;
  [[nodiscard]] bool HasQuorumOf(const SetRecord& record) const;
  [[nodiscard]] std::optional<SetRecord> FindAccepted() const;
  void CreateSet();
  void Adopt(const SetRecord& record);
  void MapMembers();
  [[nodiscard]] static int RankAs(const Member& member, const SetNodes::Seat& seat);
  void Maintain(NodeIndex node);
  [[nodiscard]] const Member* StandsFor(NodeIndex node) const;
  [[nodiscard]] bool IsOfTheSet(const SetState& state) const;
  [[nodiscard]] static bool WasReadmitted(const SetNodes::Seat& seat);
  [[nodiscard]] bool Remembers(NodeIndex node) const;
  [[nodiscard]] bool HasOldData(NodeIndex node) const;
  [[nodiscard]] bool CanPromise(NodeIndex node) const;
  void Readmit(NodeIndex node, const std::string& member);
  void OnProgress(Readmission::Progress progress);
  [[nodiscard]] std::vector<PlanNode> NodesForPlan() const;
  [[nodiscard]] std::string ObstacleOf(NodeIndex node) const;
  void TellCreators();
  [[nodiscard]] bool AllMembersAreBack() const;
  // `mismatch`: waiting does not help, because the nodes or daemons disagree.
  void Complain(std::string what, bool mismatch = true);
  void ReportTrouble();
  // Whether the member would vote for a grant.
  [[nodiscard]] bool IsAble(NodeIndex node) const;
  [[nodiscard]] bool HasOtherRecord(NodeIndex node) const;
  [[nodiscard]] bool HasQuorum() const;
  void TellQuorum();
  void Tick();

  Scheduler& scheduler_;
  Random& random_;
  const LockOptions& options_;
  NodeGuard* const guard_;
  GrantWatch* const grants_;
  const Report report_;
  SetNodes nodes_;
  SetCreation creation_;
  std::optional<SetChange> change_;  // if this coordinates changes
  NodeSetPtr set_;
  std::vector<std::optional<NodeIndex>> places_;  // by member of the set; empty if none is in force
  bool may_create_;
  std::vector<std::weak_ptr<Creator>> creators_;
  std::optional<Readmission> readmission_;  // one at a time
  // Until then, nodes with another record count as able to vote: they are about to learn it.
  MonotonicTime settled_;
  bool conflict_ = false;  // quorums of two sets are connected: no node has a vote
  std::uint64_t mismatches_ = 0;
  std::string trouble_;
  bool trouble_reported_ = false;
  bool mismatch_ = false;
  std::function<void(bool)> quorum_told_;
  std::function<void(const SetRecord&)> record_told_;
  bool quorum_ = false;  // last value passed to quorum_told_
  TimerHandle tick_;
};

}  // namespace redlock
