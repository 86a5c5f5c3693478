#include "server/core/nodes/node_guard.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/core/format.h"
#include "server/core/nodes/quorum.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// The number of run id digits in a mark: 16 of 40 hexadecimal digits, which is 64 bits.
constexpr std::size_t kRunDigits = 16;
constexpr char kDurable = '+';
constexpr char kEmptied = '?';
constexpr char kOldData = '!';
// How long to wait for all nodes before deciding that a set is new. Nodes that start together with
// this daemon are slightly late and would otherwise be quarantined.
constexpr Duration kGrace = seconds(2);
constexpr const char* kFoundByAnother = "another daemon found that it had lost data";
// The delay before a provisional mark is written to an unmarked node. Longer than daemons that
// start together need to mark all nodes.
constexpr Duration kBeforeProvisional = milliseconds(50);
// The granularity of the reported uptime.
constexpr Duration kUptimeGranularity = seconds(1);

bool IsProvisional(const std::string& mark) {
  return mark.starts_with(kEmptied) || mark.starts_with(kOldData);
}

}  // namespace

class NodeGuard::MarkReply final : public ReplySink {
 public:
  MarkReply(NodeGuard& guard, MonotonicTime asked)
      : guard_(guard), alive_(guard.alive_), asked_(asked) {}
  void OnReply(NodeIndex node, NodeReply reply) override {
    if (*alive_) guard_.OnLook(node, asked_, reply);
  }

 private:
  NodeGuard& guard_;
  const std::shared_ptr<bool> alive_;
  const MonotonicTime asked_;
};

NodeGuard::NodeGuard(Scheduler& scheduler, Random& random, const LockOptions& options,
                     std::vector<Node*> nodes, Report report)
    : scheduler_(scheduler),
      random_(random),
      options_(options),
      nodes_(std::move(nodes)),
      report_(report ? std::move(report) : [](NodeIndex, bool, const std::string&) {}),
      states_(nodes_.size(), NodeState(options.drift)),
      decided_(options.guard.mode == GuardMode::kStrict),
      alive_(std::make_shared<bool>(true)) {
  for (Node* node : nodes_) node->ObserveWith(this);
  Tick();
}

NodeGuard::~NodeGuard() {
  *alive_ = false;
  for (Node* node : nodes_) node->ObserveWith(nullptr);
}

std::optional<std::string> NodeGuard::Barred(NodeIndex node) const {
  const NodeState& state = states_[node];
  const MonotonicTime now = scheduler_.Now();
  const auto quarantined = [now](MonotonicTime until, const std::string& why) {
    return "for another " + InWords(std::chrono::ceil<seconds>(std::max(until - now, Duration{}))) +
           ": " + why;
  };
  switch (state.standing) {
    case Standing::kUndecided:
      return "not marked yet: waiting for other nodes before deciding whether the set is new";
    case Standing::kQuarantined:
      return quarantined(state.until, state.why);
    case Standing::kUnseen:  // the node is not connected and refuses by itself
    case Standing::kTrusted:
      break;
  }
  if (now < state.clock_until) return quarantined(state.clock_until, state.clock_why);
  return std::nullopt;
}

bool NodeGuard::HasQuorum() const {
  std::size_t able = 0;
  for (NodeIndex node = 0; node < states_.size(); ++node) {
    if (states_[node].connected && !Barred(node)) ++able;
  }
  return able >= QuorumOf(states_.size());
}

void NodeGuard::WatchQuorum(std::function<void(bool)> told) {
  quorum_told_ = std::move(told);
  quorum_ = HasQuorum();
  if (quorum_told_) quorum_told_(quorum_);
}

void NodeGuard::TellQuorum() {
  if (!quorum_told_ || HasQuorum() == quorum_) return;
  quorum_ = !quorum_;
  quorum_told_(quorum_);
}

Duration NodeGuard::QuarantineLeft(NodeIndex node) const {
  const NodeState& state = states_[node];
  const MonotonicTime until = state.standing == Standing::kQuarantined
                                  ? std::max(state.until, state.clock_until)
                                  : state.clock_until;
  return std::max(until - scheduler_.Now(), Duration{});
}

void NodeGuard::Check(NodeIndex node, MonotonicTime asked, NodeReply& reply) {
  if (reply.outcome == Outcome::kQuarantined) Saw(node, reply.mark);
  if (reply.clock && Has(Safeguard::kGrantByWrongClock)) ReadClock(node, asked, *reply.clock);
  if (reply.outcome != Outcome::kGranted && reply.outcome != Outcome::kQuarantined) return;
  if (auto why = Barred(node)) {
    reply.outcome = Outcome::kQuarantined;
    reply.message = std::move(*why);
  } else if (reply.outcome == Outcome::kQuarantined) {
    // Another daemon vouches for the node. The next grant can count.
    reply.message = "its mark has changed";
  }
}

void NodeGuard::OnConnected(NodeIndex node, const NodeFacts& facts) {
  NodeState& state = states_[node];
  state.connected = true;
  const std::string run = facts.run_id.substr(0, kRunDigits);
  const std::string run_before = std::exchange(state.run, run);
  state.durable = facts.durable;
  state.version = facts.version;
  // Done after a restart too: restored keys expire by the clock that the node has now.
  if (facts.clock) ReadClock(node, facts.asked, *facts.clock);
  state.writing.clear();
  if (run_before == run && state.standing == Standing::kQuarantined && facts.mark == state.mark)
    return;
  state.mark = facts.mark;
  if (facts.mark.empty()) {
    JudgeUnmarked(node);
  } else {
    JudgeMarked(node, facts, !run_before.empty());
  }
  DecideIfNew();
}

void NodeGuard::OnDisconnected(NodeIndex node) {
  states_[node].connected = false;
  TellQuorum();
}

bool NodeGuard::Vouches(const std::string& mark, const NodeState& state) const {
  if (!Has(Safeguard::kMarkNamesTheRun)) return !IsProvisional(mark);
  return mark == state.run || mark == state.run + kDurable;
}

void NodeGuard::JudgeUnmarked(NodeIndex node) {
  if (decided_) {
    Quarantine(node, Data::kEmptied, options_.guard.quarantine,
               "it has no mark: its data may be lost");
  } else {
    states_[node].standing = Standing::kUndecided;
  }
}

void NodeGuard::JudgeMarked(NodeIndex node, const NodeFacts& facts, bool seen_before) {
  NodeState& state = states_[node];
  if (Vouches(facts.mark, state)) {
    Trust(node, facts.mark);
  } else if (IsProvisional(facts.mark)) {
    // A mark of an earlier run means that the node restarted during its quarantine.
    const bool this_run = facts.mark.compare(1, state.run.size(), state.run) == 0;
    Quarantine(node, this_run && facts.mark.front() == kEmptied ? Data::kEmptied : Data::kOld,
               options_.guard.quarantine, kFoundByAnother);
  } else if (facts.mark.back() == kDurable && facts.durable) {
    Quarantine(node, Data::kEmptied, {}, "it restarted with all its data and is being marked");
  } else {
    const bool known = seen_before && Has(Safeguard::kUptimeOfUnknownRun);
    const Duration up = known ? Duration{} : facts.uptime - kUptimeGranularity;
    Quarantine(node, Data::kOld, options_.guard.quarantine - std::max(up, Duration{}),
               "it restarted and may have lost data");
  }
}

// A new set has no mark on any node. The guard does not wait for unreachable nodes beyond kGrace,
// because otherwise a new set could not start without one of them. It does wait for a majority,
// because otherwise a single node that came back empty would make the whole set look new.
void NodeGuard::DecideIfNew() {
  if (decided_) return;
  std::size_t unmarked = 0;
  bool waits = false;
  bool marked = false;
  for (const NodeState& state : states_) {
    // An unreachable node may have been marked since.
    const bool reachable = state.connected || !Has(Safeguard::kNewSetCountsReachable);
    if (state.standing == Standing::kUndecided && reachable) ++unmarked;
    waits = waits || state.standing == Standing::kUnseen;
    marked =
        marked || state.standing == Standing::kTrusted || state.standing == Standing::kQuarantined;
  }
  if (marked) {
    decided_ = true;
    for (NodeIndex node = 0; node < states_.size(); ++node) {
      if (states_[node].standing == Standing::kUndecided) JudgeUnmarked(node);
    }
    return;
  }
  if (unmarked < QuorumOf(states_.size()) && Has(Safeguard::kNewSetNeedsQuorum)) return;
  if (waits && grace_ != Grace::kOver) {
    if (std::exchange(grace_, Grace::kRuns) == Grace::kRuns) return;
    grace_timer_ = scheduler_.After(kGrace, [this] {
      grace_ = Grace::kOver;
      DecideIfNew();
    });
    return;
  }
  decided_ = true;
  grace_timer_.Cancel();
  for (NodeIndex node = 0; node < states_.size(); ++node) {
    if (states_[node].standing == Standing::kUndecided) Vouch(node);
  }
}

void NodeGuard::Trust(NodeIndex node, std::string mark) {
  NodeState& state = states_[node];
  state.mark = std::move(mark);
  if (std::exchange(state.standing, Standing::kTrusted) == Standing::kQuarantined) {
    report_(node, false, "trusted again");
  }
  TellQuorum();
}

void NodeGuard::Quarantine(NodeIndex node, Data data, Duration time, std::string why) {
  NodeState& state = states_[node];
  const bool news = state.standing != Standing::kQuarantined || state.why != why;
  state.standing = Standing::kQuarantined;
  state.data = data;
  state.why = std::move(why);
  state.until =
      scheduler_.Now() + (Has(Safeguard::kQuarantine) ? std::max(time, Duration{}) : Duration{});
  if (news && time > Duration{}) report_(node, true, "quarantined " + *Barred(node));
  // If the node has no mark, another daemon may be marking a new set at this moment.
  if (!state.mark.empty()) TendQuarantine(node);
  LookAgain();
}

bool NodeGuard::Tells(const std::string& mark, const NodeState& state) const {
  return mark.starts_with(state.data == Data::kOld ? kOldData : kEmptied) &&
         mark.compare(1, state.run.size(), state.run) == 0;
}

void NodeGuard::TendQuarantine(NodeIndex node) {
  NodeState& state = states_[node];
  if (scheduler_.Now() >= state.until && !state.mark.empty()) {
    Vouch(node);
  } else if (Tells(state.mark, state)) {
    nodes_[node]->ReadMark(std::make_shared<MarkReply>(*this, scheduler_.Now()));
  } else {
    if (!Tells(state.writing, state)) {
      state.writing = (state.data == Data::kOld ? kOldData : kEmptied) + state.run + ':' +
                      std::to_string(Has(Safeguard::kSecondLoss) ? random_.Bits() : 0);
    }
    Replace(node, state.writing);
  }
}

void NodeGuard::Replace(NodeIndex node, const std::string& to) {
  nodes_[node]->Mark({states_[node].mark, to},
                     std::make_shared<MarkReply>(*this, scheduler_.Now()));
}

void NodeGuard::Vouch(NodeIndex node) {
  const NodeState& state = states_[node];
  Replace(node, state.durable ? state.run + kDurable : state.run);
}

void NodeGuard::OnLook(NodeIndex node, MonotonicTime asked, const NodeReply& reply) {
  if (IsUnknown(reply.outcome) || !states_[node].connected) return;
  if (reply.clock) ReadClock(node, asked, *reply.clock);
  Saw(node, reply.mark);
}

void NodeGuard::Saw(NodeIndex node, const std::string& mark) {
  NodeState& state = states_[node];
  switch (state.standing) {
    case Standing::kUnseen:
      return;
    case Standing::kUndecided:
      if (mark.empty()) return;
      break;
    case Standing::kTrusted:
      if (mark == state.mark) return;
      break;
    case Standing::kQuarantined:
      if (mark == state.mark) return;
      if (IsProvisional(mark) && mark == state.writing) {
        // The quarantine starts now, because a second loss before this could not be detected.
        if (state.mark.empty()) state.until = scheduler_.Now() + options_.guard.quarantine;
        state.mark = std::exchange(state.writing, {});
        return;
      }
      break;
  }
  state.mark = mark;
  if (Vouches(mark, state)) {
    Trust(node, mark);
  } else if (mark.empty()) {
    Quarantine(node, Data::kEmptied, options_.guard.quarantine,
               "its mark vanished: it lost its data");
  } else {
    Quarantine(node, mark.front() == kEmptied ? Data::kEmptied : Data::kOld,
               options_.guard.quarantine,
               IsProvisional(mark) ? kFoundByAnother : "it carries another server's data");
  }
  DecideIfNew();
}

void NodeGuard::ReadClock(NodeIndex node, MonotonicTime asked, Duration shown) {
  NodeState& state = states_[node];
  const MonotonicTime now = scheduler_.Now();
  state.clock_offset = shown - scheduler_.WallNow().time_since_epoch();
  const Duration off = state.clock.Read(asked, now, shown);
  if (off == Duration{}) return;
  const bool news = now >= state.clock_until;
  state.clock_until = now + options_.guard.quarantine;
  state.clock_why = "its clock went " +
                    InWords(std::chrono::ceil<milliseconds>(std::chrono::abs(off))) +
                    (off > Duration{} ? " ahead of" : " behind") + " what the drift budget allows";
  if (news) report_(node, true, "quarantined " + *Barred(node));
}

void NodeGuard::LookAgain() {
  const MonotonicTime now = scheduler_.Now();
  MonotonicTime next = now + options_.guard.inspect_interval;
  for (const NodeState& state : states_) {
    if (state.standing != Standing::kQuarantined) continue;
    if (state.until > now) next = std::min(next, state.until);
    if (state.mark.empty()) next = std::min(next, now + kBeforeProvisional);
  }
  tick_ = scheduler_.At(next, [this] { Tick(); });
  TellQuorum();
}

void NodeGuard::Tick() {
  const MonotonicTime now = scheduler_.Now();
  for (NodeIndex node = 0; node < states_.size(); ++node) {
    const NodeState& state = states_[node];
    if (!state.connected) continue;
    if (state.standing == Standing::kQuarantined) {
      TendQuarantine(node);
    } else {
      nodes_[node]->ReadMark(std::make_shared<MarkReply>(*this, now));
    }
  }
  LookAgain();
}

}  // namespace redlock
