// Carries out changes of the node set: decides one record after the other until nothing is wanted
// any more.
//
//   - A request is carried out by the daemon that got it. The first record that this decides says
//     what is wanted. If that daemon disappears, any other one takes over after a pause.
//   - A proposal that some members have accepted, and that is not known to be decided, is completed
//     by any daemon: those members have no vote until then.
//   - If the node that was added is gone when the next step is due, the step is undone.
//
// Daemons that do the same at the same time disturb each other's proposals, but cannot decide
// different records (set_proposal.h). Pauses of random length let one of them succeed.
// Strand-confined.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core/backoff.h"
#include "server/core/clock.h"
#include "server/core/nodes/change_plan.h"
#include "server/core/nodes/node_set.h"
#include "server/core/nodes/set_nodes.h"
#include "server/core/nodes/set_proposal.h"
#include "server/core/options.h"
#include "server/core/random.h"

namespace redlock {

// How far a change has come.
struct ChangeProgress {
  std::size_t steps_done = 0;  // decided since the request
  std::size_t steps = 0;       // in all
  std::string message;         // what it is waiting for, for people; empty if it is complete
  bool complete = false;
  std::optional<std::string> failure;  // why it ended otherwise, for people
  bool operator==(const ChangeProgress&) const = default;
};
// Called inside the call that follows the change, and again whenever the value has changed, until
// it is complete or has failed.
using ChangeTold = std::function<void(const ChangeProgress& progress)>;

class SetChange {
 public:
  // What this asks of the membership.
  struct Hooks {
    std::function<const NodeSetPtr&()> set;
    // Whether the member remembers what it has promised and accepted.
    std::function<bool(NodeIndex)> can_promise;
    std::function<std::vector<PlanNode>()> nodes;
    // Calls Advance() soon.
    std::function<void()> wake;
  };
  // Follows one request until it is destroyed. The change goes on without it.
  class Follower;

  // The arguments must outlive this.
  SetChange(Scheduler& scheduler, Random& random, const LockOptions& options, SetNodes& nodes,
            Hooks hooks);

  // Returns why the request cannot be carried out; nothing has changed then. The set is known.
  [[nodiscard]] std::optional<std::string> Request(ChangeRequest request);
  // Follows the request that was just made.
  [[nodiscard]] std::shared_ptr<Follower> Follow(ChangeTold told);
  // Takes the next step, if one is due. The set is known. Returns a record that is decided, and
  // that the membership must adopt before it calls this again.
  [[nodiscard]] std::optional<SetRecord> Advance();
  void Tell();
  void OnReply(NodeIndex node, const SetReply& reply) {
    if (proposal_) proposal_->OnReply(node, reply);
  }
  void OnDisconnected(NodeIndex node) {
    if (proposal_) proposal_->OnDisconnected(node);
  }
  // How long a quorum of members does not accept the next change; nothing if too few of them can be
  // asked.
  [[nodiscard]] std::optional<Duration> WaitLeft() const;

 private:
  struct Pending {
    ChangeRequest request;
    std::uint64_t epoch;  // in which it was made
    bool was_changing;    // then; otherwise an abort undoes the step that is decided next
    std::optional<MonotonicTime> blocked_since;  // a node that it needs is not up
  };

  void OnNewEpoch();
  void Begin();
  [[nodiscard]] bool IsUndecided() const;
  [[nodiscard]] bool AbortHasToUndo() const;
  [[nodiscard]] std::optional<SetRecord> FirstStep(const ChangePlan& plan);
  [[nodiscard]] std::optional<SetRecord> OwnValue(const ChangePlan& plan, bool undecided);
  [[nodiscard]] bool IsMyTurn(std::optional<MonotonicTime>& due_since, Duration pause);
  [[nodiscard]] bool IsOver(const ChangePlan& plan);
  void WakeAt(MonotonicTime when);
  [[nodiscard]] ChangeProgress ProgressOf(const Follower& follower) const;

  Scheduler& scheduler_;
  Random& random_;
  const LockOptions& options_;
  SetNodes& nodes_;
  const Hooks hooks_;
  std::uint64_t epoch_ = 0;  // of the set when Advance() was called last
  std::optional<Pending> pending_;
  // Why the last request ended before its first step was decided.
  std::string refused_;
  bool leads_ = false;  // this daemon decided the last step, or has a request
  std::optional<SetProposal> proposal_;
  Backoff backoff_;
  MonotonicTime next_attempt_;
  std::optional<MonotonicTime> undecided_since_;
  std::optional<MonotonicTime> due_since_;
  std::optional<MonotonicTime> gone_since_;
  Duration pause_{};  // before this daemon takes over from another one
  std::string waits_for_;
  TimerHandle timer_;
  std::vector<std::weak_ptr<Follower>> followers_;
};

class SetChange::Follower {
 public:
  Follower(ChangeTold told, ChangeRequest request, const SetRecord& record)
      : told_(std::move(told)), request_(std::move(request)), began_(record) {}

 private:
  friend SetChange;
  const ChangeTold told_;
  const ChangeRequest request_;
  const SetRecord began_;  // in force when the request was made
  std::optional<ChangeProgress> last_;
};

}  // namespace redlock
