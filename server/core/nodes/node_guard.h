// Keeps nodes out of acquisitions that may have forgotten locks, or whose clock cannot be relied
// on. Redlock is safe only as long as no node votes twice for what it has granted once.
//
// A node that is trusted carries a mark: the beginning of the run id that its server process drew
// at start, and a "+" where it confirmed nothing before it was on disk (AOF with appendfsync
// always) when it was marked. Every script that grants compares the mark, so a FLUSHALL is noticed
// by the very grant that would have been wrong. On each new connection the node tells its run id:
//   - mark and run id agree: it has been up and kept its data; trusted;
//   - another run's mark with "+", and the node still runs so: its data came back; marked anew;
//   - another run's mark: it restarted from an older state; quarantined until it has been up for as
//     long as the longest TTL, after which whatever it forgot has expired (a daemon that knew the
//     run before counts from now, as the node's own clock may have been set meanwhile);
//   - no mark, while another node has one: it came back empty; quarantined for that long from when
//     that was seen;
//   - no mark on any node: a new set, trusted and marked at once (GuardMode::kOn).
// A quarantined node carries a provisional mark, "?" and a number drawn by the daemon that saw the
// loss: if that vanishes too, there was a second loss, and the time starts again. When it is over
// the daemon marks the node, and every other daemon that sees so trusts it as well.
//
// Only acquisitions are barred. An extension counts nodes that hold the token: on a quarantined
// node it does only where it was put back, and no rival can be granted it there.
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

// One shard's view of its nodes. One thread.
class NodeGuard final : public NodeObserver {
 public:
  // Told when a node is barred and when it is trusted again, in plain words.
  using Report = std::function<void(NodeIndex node, bool barred, const std::string& what)>;

  // The nodes must outlive the guard.
  NodeGuard(Scheduler& scheduler, Random& random, const LockOptions& options,
            std::vector<Node*> nodes, Report report);
  ~NodeGuard() override;
  NodeGuard(const NodeGuard&) = delete;
  NodeGuard& operator=(const NodeGuard&) = delete;

  // Why the node takes no part in acquisitions, with the time left; nothing where it does.
  [[nodiscard]] std::optional<std::string> Barred(NodeIndex node) const;
  // Whether the set is known by now: new ones are marked, and what is unmarked from here on has
  // lost its data. All nodes that lose it together before that are taken for new.
  [[nodiscard]] bool decided() const { return decided_; }
  // Steps can be sent to it.
  [[nodiscard]] bool IsConnected(NodeIndex node) const { return states_[node].connected; }
  // Of its server, as last told.
  [[nodiscard]] const std::string& Version(NodeIndex node) const { return states_[node].version; }
  // Told now, and when it changes (within inspect_interval): whether so many nodes can be asked for
  // a lock that there is a quorum.
  void WatchQuorum(std::function<void(bool)> told);
  // How far the node's wall clock was from this machine's when it was last read: ahead where
  // positive. Includes the message's delay.
  [[nodiscard]] Duration ClockOffset(NodeIndex node) const { return states_[node].clock_offset; }
  // How long it will be quarantined yet, at the least; 0 where it is not.
  [[nodiscard]] Duration QuarantineLeft(NodeIndex node) const;
  // Whether what the node holds may be out of date, so that it takes no part in extensions either.
  [[nodiscard]] bool HasOldData(NodeIndex node) const {
    return states_[node].standing == Standing::kQuarantined && states_[node].data == Data::kOld;
  }
  // What a step that may grant has to find on the node; empty where nothing is looked for.
  [[nodiscard]] const std::string& mark(NodeIndex node) const { return states_[node].mark; }

  // Takes in the answer to a step that may grant, asked at that time. A grant that must not count
  // becomes kQuarantined.
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
    std::string run;      // shortened
    std::string version;  // of the server
    bool durable = false;
    Standing standing = Standing::kUnseen;
    std::string mark = "?";      // as last seen on the node; before that, what fits no node
    std::string writing;         // provisional mark, until the node has confirmed it
    Data data = Data::kEmptied;  // while it is quarantined
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
  // The provisional mark tells what is known of the loss.
  [[nodiscard]] bool Tells(const std::string& mark, const NodeState& state) const;
  // What the node carries now, on the connection that is open.
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
  // Whether the set was new is decided once; until then nodes without a mark wait for the others.
  bool decided_;
  Grace grace_ = Grace::kNotBegun;
  TimerHandle grace_timer_;
  std::function<void(bool)> quorum_told_;
  bool quorum_ = false;  // as last told
  TimerHandle tick_;
  const std::shared_ptr<bool> alive_;  // false once the guard is gone: replies may come later
};

}  // namespace redlock
