// Keeps nodes out of acquisitions if they may have forgotten locks or if their clock is unreliable.
// Redlock is safe only if no node forgets a lock that it has granted and grants it again.
//
// A trusted node carries a mark (mark.h): the beginning of the run id that its server process drew
// at startup, followed by "+" if the node was durable when it was marked (AOF with appendfsync
// always: it confirms nothing before it is on disk). Every script that grants compares the mark, so
// the first grant after a FLUSHALL detects it. A node reports its run id on each new connection:
//   - Mark and run id agree: the server has been up and kept its data. Trusted.
//   - The mark is another run's with "+", and the node is still durable: its data came back. The
//     node is marked anew.
//   - The mark is another run's: the server restarted from an older state. Quarantined until it has
//     been up for the longest TTL; by then every lock that it forgot has expired. If this daemon
//     knew the run before, it counts from now, because the node's own clock may have been set
//     meanwhile.
//   - No mark, or a fresh one: the node has no data. Its part in the node set decides
//     (membership.h). A member of a new set, or one that was just added, is trusted and marked; the
//     mark replaces exactly the fresh mark that was drawn when the node was enrolled, so that it
//     cannot hide a loss in between. Otherwise the node has lost its data, and is quarantined for
//     the longest TTL from the time of this observation.
// A quarantined node carries a provisional mark: "?" (emptied) or "!" (old data), the run id, and a
// number drawn by the daemon that observed the loss. If that mark vanishes too, there was a second
// loss, and the quarantine starts again. When the quarantine ends, and the node has been readmitted
// to the node set, the daemon marks it. Every other daemon that sees the mark trusts the node too.
//
// Every inspect_interval, the guard reads each node's mark, clock and settings:
//   - A clock that stepped or drifts (node_clock.h): the node pauses until the leases that this
//     endangers have expired. If all clocks jump after this machine was suspended, its own clock is
//     wrong (common_jump.h).
//   - The node may evict keys, or has evicted some (eviction_watch.h): it pauses for the longest
//   TTL.
//   - The node is no longer durable: its mark loses the "+".
// A pause is this daemon's own: it ends by its own time, whatever the mark says. For daemons that
// start later, the node gets a provisional mark ("?") too, except for steps that may be drift.
//
// Quarantine concerns acquisitions. An extension counts nodes that hold the token. A node that came
// back empty holds the token only if a repair put it there, and it cannot grant the key to a
// contender. A node with old data takes no part in extensions either (HasOldData).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/core/clock.h"
#include "server/core/nodes/common_jump.h"
#include "server/core/nodes/eviction_watch.h"
#include "server/core/nodes/node.h"
#include "server/core/nodes/node_clock.h"
#include "server/core/options.h"
#include "server/core/random.h"

namespace redlock {

// One shard's view of its nodes. Strand-confined: call only on the shard's strand.
class NodeGuard final {
 public:
  // Called when a node is quarantined (`barred`) and when it is trusted again. `what` is
  // human-readable.
  using Report = std::function<void(NodeIndex node, bool barred, const std::string& what)>;

  // What the guard asks of the membership, and reports to it.
  struct Hooks {
    // Whether the node may be trusted once its quarantine is over.
    std::function<bool(NodeIndex node)> may_trust;
    // Which nodes are quarantined may have changed.
    std::function<void()> changed;
    // The node carries another mark than before.
    std::function<void(NodeIndex node)> noticed;
    // The stamp of the node set in force. A node with another one is not marked as trusted: its
    // quarantine may be too short.
    std::function<const std::string&()> stamp;
  };

  // The nodes must outlive the guard.
  NodeGuard(Scheduler& scheduler, Random& random, const LockOptions& options,
            std::vector<Node*> nodes, Report report);
  ~NodeGuard();
  NodeGuard(const NodeGuard&) = delete;
  NodeGuard& operator=(const NodeGuard&) = delete;

  // Returns why the node is quarantined, with the remaining time; nothing if it is not.
  [[nodiscard]] std::optional<std::string> Barred(NodeIndex node) const;
  // Whether steps can be sent to the node.
  [[nodiscard]] bool IsConnected(NodeIndex node) const { return states_[node].connected; }
  // The server version that the node reported last.
  [[nodiscard]] const std::string& Version(NodeIndex node) const { return states_[node].version; }
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
  // Judges the node by the clock in the answer to a read that was sent at `asked`.
  void CheckClock(NodeIndex node, MonotonicTime asked, const NodeReply& reply);

  // The connection that carries the steps: see NodeObserver.
  void OnConnected(NodeIndex node, const NodeFacts& facts);
  void OnDisconnected(NodeIndex node);

  void ConfirmWith(Hooks hooks) { hooks_ = std::move(hooks); }
  // How long a quarantine takes. Initially that of the options. Quarantines that have begun, and
  // those that are over by a shorter time, become longer too.
  void SetLongestTtl(Duration ttl);
  // Processes the mark that the node carries now, on the open connection.
  void Saw(NodeIndex node, const std::string& mark);
  // The node, which carries a fresh mark, is a member that has never granted anything: trusts it,
  // or quarantines it with GuardMode::kStrict.
  void Admit(NodeIndex node);
  // The node, which has no mark or a fresh one, was a member before: it has lost its data.
  void Emptied(NodeIndex node);
  // The node, which has no mark or a fresh one, is not a member: what it lost does not matter.
  void Unjudge(NodeIndex node);
  // Why the node pauses because of its clock or its settings, whether or not it is a member.
  [[nodiscard]] std::optional<std::string> Paused(NodeIndex node) const;
  // The mark of a quarantined node that is about to be readmitted.
  [[nodiscard]] std::string ProvisionalMark(NodeIndex node);
  // The node has learned what the other members know about the node set.
  void Readmitted(NodeIndex node) {
    if (states_[node].standing == Standing::kQuarantined) TendQuarantine(node);
  }
  [[nodiscard]] bool IsQuarantineOver(NodeIndex node) const {
    return states_[node].standing == Standing::kQuarantined &&
           scheduler_.Now() >= states_[node].until;
  }

 private:
  class MarkReply;
  class SettingsReply;
  enum class Standing { kUnseen, kUndecided, kQuarantined, kTrusted };
  enum class Data { kEmptied, kOld };

  // Keeps a connected node from granting, whatever its mark says.
  struct Pause {
    MonotonicTime until;
    std::string why;
    bool published = false;  // other daemons must know of it, too
  };
  [[nodiscard]] bool Lasts(const Pause& pause) const;

  struct NodeState {
    explicit NodeState(const DriftBudget& budget) : clock(budget) {}
    bool connected = false;
    std::string run;      // see RunOf()
    std::string version;  // of the server
    bool durable = false;
    Standing standing = Standing::kUnseen;
    std::string mark = "?";      // as last seen on the node; the initial value matches no node
    std::string writing;         // provisional mark that the node has not confirmed yet
    Data data = Data::kEmptied;  // valid during a quarantine
    std::string why;
    MonotonicTime until;    // end of the quarantine
    bool complete = false;  // the node has all its data, and waits only for its new mark
    NodeClock clock;
    Duration clock_offset{};
    Pause clock_pause;
    EvictionWatch eviction;
    Pause eviction_pause;
  };

  [[nodiscard]] bool Vouches(const std::string& mark, const NodeState& state) const;
  [[nodiscard]] static bool IsFreshOrNone(const std::string& mark, const NodeState& state);
  [[nodiscard]] bool MayTrust(NodeIndex node) const {
    return !hooks_.may_trust || hooks_.may_trust(node);
  }
  void OnBlank(NodeIndex node);
  void JudgeMarked(NodeIndex node, const NodeFacts& facts, bool seen_before);
  void Trust(NodeIndex node, std::string mark);
  void Quarantine(NodeIndex node, Data data, Duration time, std::string why, bool complete = false);
  // Whether the provisional mark records this loss: the same kind and the same run.
  [[nodiscard]] bool Tells(const std::string& mark, const NodeState& state) const;
  void ReadClock(NodeIndex node, MonotonicTime asked, MonotonicTime answered, Duration shown);
  // Adds `time` to what is left of the pause, up to the longest TTL.
  void PauseNode(NodeIndex node, Pause& pause, Duration time, std::string why);
  // Puts a provisional mark on a node that pauses, so that daemons that start later know of it.
  void Publish(NodeIndex node, Pause& pause);
  void PublishAgain(NodeIndex node);
  void NoteSuspend();
  // Whether the machine was suspended a short time ago.
  [[nodiscard]] bool Resumed() const;
  // Decides what the jumps of clocks in the last CommonJump::kWindow were.
  void JudgeJumps();
  void OnSettings(NodeIndex node, const NodeSettings& settings);
  // Takes the durable mark from a node that is no longer durable.
  void WithdrawDurability(NodeIndex node);
  void ReadEviction(NodeIndex node, const Eviction& eviction);
  void TendQuarantine(NodeIndex node);
  // `stamp`: what the node must carry; empty: any.
  void Replace(NodeIndex node, const std::string& to, std::string_view stamp = {});
  [[nodiscard]] std::string Quarantined(MonotonicTime until, const std::string& why) const;
  void Vouch(NodeIndex node);
  void OnLook(NodeIndex node, MonotonicTime asked, const NodeReply& reply);
  void Changed() const;
  void LookAgain();
  void Tick();

  Scheduler& scheduler_;
  Random& random_;
  const LockOptions& options_;
  const std::vector<Node*> nodes_;
  const Report report_;
  std::vector<NodeState> states_;
  Hooks hooks_;
  Duration quarantine_;
  TimerHandle tick_;
  MonotonicTime settings_due_;  // when the settings are read again
  CommonJump jump_;
  std::optional<MonotonicTime> jump_due_;  // when the jumps are judged
  std::optional<Duration> suspended_;      // Scheduler::Suspended() when a clock was read last
  std::optional<MonotonicTime> resumed_;   // when a suspend was noticed
  const std::shared_ptr<bool> alive_;      // false after destruction: replies may arrive later
};

}  // namespace redlock
