// Keeps nodes out of acquisitions if they may have forgotten locks or if their clock is unreliable.
// Redlock is safe only if no node forgets a lock that it has granted and grants it again.
//
// A trusted node carries a mark: the beginning of the run id that its server process drew at
// startup, followed by "+" if the node was durable when it was marked (AOF with appendfsync always:
// it confirms nothing before it is on disk). Every script that grants compares the mark, so the
// first grant after a FLUSHALL detects it. A node reports its run id on each new connection:
//   - Mark and run id agree: the server has been up and kept its data. Trusted.
//   - The mark is another run's with "+", and the node is still durable: its data came back. The
//     node is marked anew.
//   - The mark is another run's: the server restarted from an older state. Quarantined until it has
//     been up for the longest TTL; by then every lock that it forgot has expired. If this daemon
//     knew the run before, it counts from now, because the node's own clock may have been set
//     meanwhile.
//   - No mark, but another node has one: the server came back empty. Quarantined for the longest
//     TTL from the time of this observation.
//   - No mark on any node: a new set. Trusted and marked at once (GuardMode::kOn).
// A quarantined node carries a provisional mark: "?" (emptied) or "!" (old data), the run id, and a
// number drawn by the daemon that observed the loss. If that mark vanishes too, there was a second
// loss, and the quarantine starts again. When the quarantine ends, the daemon marks the node. Every
// other daemon that sees the mark trusts the node too.
//
// Quarantine concerns acquisitions. An extension counts nodes that hold the token. A node that came
// back empty holds the token only if a repair put it there, and it cannot grant the key to a
// contender. A node with old data takes no part in extensions either (HasOldData).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core/clock.h"
#include "server/core/nodes/node.h"
#include "server/core/nodes/node_clock.h"
#include "server/core/options.h"
#include "server/core/random.h"

namespace redlock {

// One shard's view of its nodes. Strand-confined: call only on the shard's strand.
class NodeGuard final : public NodeObserver {
 public:
  // Called when a node is quarantined (`barred`) and when it is trusted again. `what` is
  // human-readable.
  using Report = std::function<void(NodeIndex node, bool barred, const std::string& what)>;

  // The nodes must outlive the guard.
  NodeGuard(Scheduler& scheduler, Random& random, const LockOptions& options,
            std::vector<Node*> nodes, Report report);
  ~NodeGuard() override;
  NodeGuard(const NodeGuard&) = delete;
  NodeGuard& operator=(const NodeGuard&) = delete;

  // Returns why the node is quarantined, with the remaining time; nothing if it is not.
  [[nodiscard]] std::optional<std::string> Barred(NodeIndex node) const;
  // True once the guard has decided whether the node set is new. From then on, a node without a
  // mark has lost its data. If all nodes lose their data together before that, they are taken for a
  // new set.
  [[nodiscard]] bool decided() const { return decided_; }
  // Whether steps can be sent to the node.
  [[nodiscard]] bool IsConnected(NodeIndex node) const { return states_[node].connected; }
  // The server version that the node reported last.
  [[nodiscard]] const std::string& Version(NodeIndex node) const { return states_[node].version; }
  // Calls `told` inside this call, and again when the value changes (within inspect_interval). The
  // value is true if a quorum of nodes is connected and not quarantined.
  void WatchQuorum(std::function<void(bool)> told);
  // The difference between the node's wall clock and this machine's at the last reading: positive
  // if the node is ahead. Includes the message delay.
  [[nodiscard]] Duration ClockOffset(NodeIndex node) const { return states_[node].clock_offset; }
  // The minimum remaining quarantine; 0 if there is none.
  [[nodiscard]] Duration QuarantineLeft(NodeIndex node) const;
  // Whether the node's data may be out of date. If so, it takes no part in extensions either.
  [[nodiscard]] bool HasOldData(NodeIndex node) const {
    return states_[node].standing == Standing::kQuarantined && states_[node].data == Data::kOld;
  }
  // The mark that a granting step must find on the node; empty if it compares none.
  [[nodiscard]] const std::string& mark(NodeIndex node) const { return states_[node].mark; }

  // Checks the answer to a step that may grant and that was sent at `asked`. Changes a grant that
  // must not count to kQuarantined.
  void Check(NodeIndex node, MonotonicTime asked, NodeReply& reply);

  void OnConnected(NodeIndex node, const NodeFacts& facts) override;
  void OnDisconnected(NodeIndex node) override;

 private:
  class MarkReply;
  enum class Standing { kUnseen, kUndecided, kQuarantined, kTrusted };
  enum class Data { kEmptied, kOld };
  enum class Grace { kNotBegun, kRuns, kOver };

  struct NodeState {
    explicit NodeState(const DriftBudget& budget) : clock(budget) {}
    bool connected = false;
    std::string run;      // run id, shortened
    std::string version;  // of the server
    bool durable = false;
    Standing standing = Standing::kUnseen;
    std::string mark = "?";      // as last seen on the node; the initial value matches no node
    std::string writing;         // provisional mark that the node has not confirmed yet
    Data data = Data::kEmptied;  // valid during a quarantine
    std::string why;
    MonotonicTime until;  // end of the quarantine
    NodeClock clock;
    Duration clock_offset{};
    MonotonicTime clock_until;
    std::string clock_why;
  };

  [[nodiscard]] bool Vouches(const std::string& mark, const NodeState& state) const;
  void JudgeUnmarked(NodeIndex node);
  void JudgeMarked(NodeIndex node, const NodeFacts& facts, bool seen_before);
  void DecideIfNew();
  void Trust(NodeIndex node, std::string mark);
  void Quarantine(NodeIndex node, Data data, Duration time, std::string why);
  // Whether the provisional mark records this loss: the same kind and the same run.
  [[nodiscard]] bool Tells(const std::string& mark, const NodeState& state) const;
  // Processes the mark that the node carries now, on the open connection.
  void Saw(NodeIndex node, const std::string& mark);
  void ReadClock(NodeIndex node, MonotonicTime asked, Duration shown);
  void TendQuarantine(NodeIndex node);
  void Replace(NodeIndex node, const std::string& to);
  void Vouch(NodeIndex node);
  void OnLook(NodeIndex node, MonotonicTime asked, const NodeReply& reply);
  [[nodiscard]] bool HasQuorum() const;
  void TellQuorum();
  void LookAgain();
  void Tick();

  Scheduler& scheduler_;
  Random& random_;
  const LockOptions& options_;
  const std::vector<Node*> nodes_;
  const Report report_;
  std::vector<NodeState> states_;
  // True once the guard has decided whether the set is new. Until then, nodes without a mark wait
  // for the others.
  bool decided_;
  Grace grace_ = Grace::kNotBegun;
  TimerHandle grace_timer_;
  std::function<void(bool)> quorum_told_;
  bool quorum_ = false;  // last value passed to quorum_told_
  TimerHandle tick_;
  const std::shared_ptr<bool> alive_;  // false after destruction: replies may arrive later
};

}  // namespace redlock
