// Finds out which nodes are able to grant. A node that is connected and trusted may still refuse
// every write, because its memory is full, it cannot save its data, its access list forbids it, or
// it has become a replica. Or it is so far away that its answers come after the node timeout.
//
// Once per inspect_interval, and on each new connection, a connected node carries out what an
// acquisition does, on a reserved key (Node::TryGrant). The results serve health, displays and
// changes of the node set. Rounds ask every node in any case, so that a node that has recovered
// votes at once.
//
// One shard of a daemon watches. Strand-confined.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core/clock.h"
#include "server/core/nodes/node.h"
#include "server/core/options.h"

namespace redlock {

class GrantWatch final {
 public:
  // Called when a node turns out to be unable to grant, with the reason, and when it is able again.
  // The same for a flaw. `good` is whether the news is good.
  using Report = std::function<void(NodeIndex node, bool good, const std::string& what)>;

  // The scheduler, the options and the nodes must outlive this.
  GrantWatch(Scheduler& scheduler, const LockOptions& options, std::vector<Node*> nodes,
             Report report);
  ~GrantWatch();
  GrantWatch(const GrantWatch&) = delete;
  GrantWatch& operator=(const GrantWatch&) = delete;

  // True if the node is able to grant. False until it has answered a trial in time.
  [[nodiscard]] bool CanGrant(NodeIndex node) const;
  // Why a connected node cannot grant, and what to do about it. Nothing if it can, or if that is
  // not known yet.
  [[nodiscard]] std::optional<std::string> Fault(NodeIndex node) const;
  // What is wrong with a node that can grant nevertheless, and what to do about it: its access list
  // forbids what waiters or the guard use. Empty if nothing is.
  [[nodiscard]] std::string Flaw(NodeIndex node) const;

  void OnConnected(NodeIndex node);
  void OnDisconnected(NodeIndex node);
  // Sets what to call after each change of CanGrant(), Fault() or Flaw().
  void TellChanges(std::function<void()> changed) { changed_ = std::move(changed); }

 private:
  class Trial;
  struct NodeState {
    bool connected = false;
    std::uint64_t trial = 0;             // the number of the trial under way; 0: none
    std::optional<MonotonicTime> asked;  // when it was sent, until its lateness is counted
    bool proven = false;                 // a trial on this connection was answered in time
    std::string error;                   // of the last trial
    bool slow = false;                   // answers come after the node timeout
    int contrary = 0;                    // how many answers in a row contradict `slow`
    Duration took{};                     // by the last answer that came late
    bool reported = false;               // as unable
    std::string reported_error;
    std::string flaw;  // by the last trial
    std::string reported_flaw;
  };

  void Try(NodeIndex node);
  void OnReply(NodeIndex node, std::uint64_t trial, const NodeReply& reply);
  static void CountLateness(NodeState& state, bool late, Duration took);
  void Conclude(NodeIndex node);
  void ConcludeOnFlaw(NodeIndex node);
  void Tick();

  Scheduler& scheduler_;
  const LockOptions& options_;
  const std::vector<Node*> nodes_;
  const Report report_;
  std::function<void()> changed_;
  std::vector<NodeState> states_;
  std::uint64_t trials_ = 0;
  TimerHandle tick_;
  const std::shared_ptr<bool> alive_;  // false after destruction: replies may arrive later
};

}  // namespace redlock
