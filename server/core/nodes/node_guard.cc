#include "server/core/nodes/node_guard.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/core/format.h"
#include "server/core/nodes/mark.h"
#include "server/core/nodes/quorum.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kNoMark = "it has no mark: its data may be lost";
constexpr const char* kVanished = "its mark vanished: it lost its data";
constexpr const char* kFoundByAnother = "another daemon found that it may have forgotten locks";
// Shorter pauses of a node are not logged.
constexpr Duration kWorthReporting = seconds(1);
// A change of Scheduler::Suspended() that is no inaccuracy of reading two clocks.
constexpr Duration kShortestSuspend = milliseconds(1);
// A jump of all nodes' clocks is blamed on a suspend this long. Until then, answers that were on
// their way during the suspend hide the jump.
constexpr Duration kAfterSuspend = seconds(5);
// The granularity of the reported uptime.
constexpr Duration kUptimeGranularity = seconds(1);

}  // namespace

class NodeGuard::MarkReply final : public ReplySink {
 public:
  MarkReply(NodeGuard& guard, MonotonicTime asked)
      : guard_(guard), alive_(guard.alive_), asked_(asked) {}
  void OnReply(NodeIndex node, NodeReply&& reply) override {
    if (*alive_) guard_.OnLook(node, asked_, reply);
  }

 private:
  NodeGuard& guard_;
  const std::shared_ptr<bool> alive_;
  const MonotonicTime asked_;
};

class NodeGuard::SettingsReply final : public ReplySink {
 public:
  explicit SettingsReply(NodeGuard& guard) : guard_(guard), alive_(guard.alive_) {}
  void OnReply(NodeIndex node, NodeReply&& reply) override {
    if (*alive_ && reply.settings) guard_.OnSettings(node, *reply.settings);
  }

 private:
  NodeGuard& guard_;
  const std::shared_ptr<bool> alive_;
};

NodeGuard::NodeGuard(Scheduler& scheduler, Random& random, const LockOptions& options,
                     std::vector<Node*> nodes, Report report)
    : scheduler_(scheduler),
      random_(random),
      options_(options),
      nodes_(std::move(nodes)),
      report_(report ? std::move(report) : [](NodeIndex, bool, const std::string&) {}),
      states_(nodes_.size(), NodeState(options.drift)),
      quarantine_(options.guard.quarantine),
      jump_(nodes_.size()),
      alive_(std::make_shared<bool>(true)) {
  Tick();
}

NodeGuard::~NodeGuard() { *alive_ = false; }

std::string NodeGuard::Quarantined(MonotonicTime until, const std::string& why) const {
  const Duration left = std::max(until - scheduler_.Now(), Duration{});
  return "for another " + InWords(std::chrono::ceil<seconds>(left)) + ": " + why;
}

// Called for every step. Hardly any node has ever been paused, so this mostly does without the
// clock.
bool NodeGuard::Lasts(const Pause& pause) const {
  return pause.until != MonotonicTime() && scheduler_.Now() < pause.until;
}

std::optional<std::string> NodeGuard::Barred(NodeIndex node) const {
  const NodeState& state = states_[node];
  // These words name the remedy, so they go first.
  if (Lasts(state.eviction_pause)) {
    return Quarantined(scheduler_.Now() + QuarantineLeft(node), state.eviction_pause.why);
  }
  switch (state.standing) {
    case Standing::kUndecided:
      return "not marked yet: its part in the node set is not known";
    case Standing::kQuarantined:
      return Quarantined(state.until, state.why);
    case Standing::kUnseen:  // the node is not connected and refuses by itself
    case Standing::kTrusted:
      break;
  }
  return Paused(node);
}

std::optional<std::string> NodeGuard::Paused(NodeIndex node) const {
  const NodeState& state = states_[node];
  for (const Pause* pause : {&state.eviction_pause, &state.clock_pause}) {
    if (Lasts(*pause)) return Quarantined(pause->until, pause->why);
  }
  return std::nullopt;
}

void NodeGuard::Unjudge(NodeIndex node) {
  if (states_[node].standing != Standing::kUnseen) states_[node].standing = Standing::kUndecided;
}

void NodeGuard::Changed() const {
  if (hooks_.changed) hooks_.changed();
}

Duration NodeGuard::QuarantineLeft(NodeIndex node) const {
  const NodeState& state = states_[node];
  MonotonicTime until = std::max(state.clock_pause.until, state.eviction_pause.until);
  if (state.standing == Standing::kQuarantined) until = std::max(until, state.until);
  return std::max(until - scheduler_.Now(), Duration{});
}

void NodeGuard::Check(NodeIndex node, MonotonicTime asked, NodeReply& reply) {
  if (reply.outcome == Outcome::kQuarantined || reply.outcome == Outcome::kOtherSet) {
    Saw(node, reply.mark);
  }
  if (Has(Safeguard::kGrantByWrongClock)) CheckClock(node, asked, reply);
  if (reply.outcome != Outcome::kGranted && reply.outcome != Outcome::kQuarantined) return;
  if (auto why = Barred(node)) {
    reply.outcome = Outcome::kQuarantined;
    reply.message = std::move(*why);
  } else if (reply.outcome == Outcome::kQuarantined) {
    // Another daemon vouches for the node. The next grant can count.
    reply.message = "its mark has changed";
  }
}

void NodeGuard::CheckClock(NodeIndex node, MonotonicTime asked, const NodeReply& reply) {
  if (reply.clock) ReadClock(node, asked, scheduler_.Now(), *reply.clock);
}

void NodeGuard::OnConnected(NodeIndex node, const NodeFacts& facts) {
  NodeState& state = states_[node];
  state.connected = true;
  const std::string run = RunOf(facts.run_id);
  const std::string run_before = std::exchange(state.run, run);
  state.durable = facts.durable;
  state.version = facts.version;
  // Done after a restart too: restored keys expire by the clock that the node has now.
  if (facts.clock) ReadClock(node, facts.asked, facts.answered, *facts.clock);
  if (!run_before.empty() && run_before != run) state.eviction.OnRestart();
  state.writing.clear();
  if (run_before == run && state.standing == Standing::kQuarantined && facts.mark == state.mark) {
    ReadEviction(node, facts.eviction);
    return;
  }
  state.mark = facts.mark;
  if (!IsFreshOrNone(facts.mark, state)) {
    JudgeMarked(node, facts, !run_before.empty());
  } else if (state.standing == Standing::kUnseen) {
    state.standing = Standing::kUndecided;
  } else if (state.standing != Standing::kUndecided) {
    Quarantine(node, Data::kEmptied, quarantine_, kNoMark);
  }
  WithdrawDurability(node);
  ReadEviction(node, facts.eviction);
}

void NodeGuard::OnDisconnected(NodeIndex node) {
  states_[node].connected = false;
  Changed();
}

bool NodeGuard::Vouches(const std::string& mark, const NodeState& state) const {
  if (!Has(Safeguard::kMarkNamesTheRun)) return !IsProvisional(mark) && !IsBlank(mark);
  return mark == state.run || mark == state.run + kDurableMark;
}

bool NodeGuard::IsFreshOrNone(const std::string& mark, const NodeState& state) {
  return mark.empty() || (IsFresh(mark) && NamesRun(mark, state.run));
}

void NodeGuard::SetLongestTtl(Duration ttl) {
  const Duration longer = ttl - std::exchange(quarantine_, ttl);
  for (NodeIndex node = 0; node < states_.size(); ++node) {
    NodeState& state = states_[node];
    if (state.standing != Standing::kQuarantined) continue;
    if (longer > Duration{} && !state.complete && Has(Safeguard::kQuarantineOfTheSet)) {
      state.until = std::max(state.until, scheduler_.Now()) + longer;
    }
    TendQuarantine(node);
  }
}

void NodeGuard::Admit(NodeIndex node) {
  const NodeState& state = states_[node];
  const bool strict = options_.guard.mode == GuardMode::kStrict;
  // A daemon that knew the node before its data were deleted, and it was added anew.
  const bool is_new = state.standing == Standing::kQuarantined && state.data == Data::kEmptied &&
                      IsFresh(state.mark) && NamesRun(state.mark, state.run) && !strict;
  if (state.standing != Standing::kUndecided && !is_new) return;
  if (strict) {
    Quarantine(node, Data::kEmptied, quarantine_, "its data may be lost: --node-guard is strict");
  } else {
    Vouch(node);
  }
}

void NodeGuard::Emptied(NodeIndex node) {
  if (states_[node].standing != Standing::kUndecided) return;
  Quarantine(node, Data::kEmptied, quarantine_, kNoMark);
}

std::string NodeGuard::ProvisionalMark(NodeIndex node) {
  NodeState& state = states_[node];
  if (IsProvisional(state.mark)) return state.mark;
  state.writing =
      MakeMark(kEmptiedMark, state.run, Has(Safeguard::kSecondLoss) ? random_.Bits() : 0);
  return state.writing;
}

void NodeGuard::JudgeMarked(NodeIndex node, const NodeFacts& facts, bool seen_before) {
  NodeState& state = states_[node];
  if (Vouches(facts.mark, state)) {
    Trust(node, facts.mark);
  } else if (IsProvisional(facts.mark)) {
    // A mark of an earlier run means that the node restarted during its quarantine.
    const bool this_run = NamesRun(facts.mark, state.run);
    Quarantine(node, this_run && facts.mark.front() == kEmptiedMark ? Data::kEmptied : Data::kOld,
               quarantine_, kFoundByAnother);
  } else if (facts.mark.back() == kDurableMark && facts.durable) {
    Quarantine(node, Data::kEmptied, {}, "it restarted with all its data and is being marked",
               true);
  } else {
    const bool known = seen_before && Has(Safeguard::kUptimeOfUnknownRun);
    const Duration up = known ? Duration{} : facts.uptime - kUptimeGranularity;
    Quarantine(node, Data::kOld, quarantine_ - std::max(up, Duration{}),
               "it restarted and may have lost data");
  }
}

void NodeGuard::Trust(NodeIndex node, std::string mark) {
  NodeState& state = states_[node];
  state.mark = std::move(mark);
  if (std::exchange(state.standing, Standing::kTrusted) == Standing::kQuarantined) {
    report_(node, false, "trusted again");
  }
  Changed();
}

void NodeGuard::Quarantine(NodeIndex node, Data data, Duration time, std::string why,
                           bool complete) {
  NodeState& state = states_[node];
  const auto barred = Barred(node);
  const bool reported = barred && barred->ends_with(why);
  const bool news = !reported && (state.standing != Standing::kQuarantined || state.why != why);
  state.standing = Standing::kQuarantined;
  state.data = data;
  state.complete = complete;
  state.why = std::move(why);
  state.until =
      scheduler_.Now() + (Has(Safeguard::kQuarantine) ? std::max(time, Duration{}) : Duration{});
  if (news && time > Duration{}) report_(node, true, "quarantined " + *Barred(node));
  TendQuarantine(node);
  LookAgain();
}

bool NodeGuard::Tells(const std::string& mark, const NodeState& state) const {
  return mark.starts_with(state.data == Data::kOld ? kOldDataMark : kEmptiedMark) &&
         NamesRun(mark, state.run);
}

void NodeGuard::TendQuarantine(NodeIndex node) {
  NodeState& state = states_[node];
  // The node has no data. Its readmission to the node set brings the provisional mark.
  if (IsFreshOrNone(state.mark, state) && options_.guard.mode != GuardMode::kStrict) return;
  const bool over = scheduler_.Now() >= state.until;
  if (over && MayTrust(node)) {
    Vouch(node);
  } else if (state.complete) {
    return;  // until the node set is known
  } else if (Tells(state.mark, state)) {
    nodes_[node]->ReadMark(std::make_shared<MarkReply>(*this, scheduler_.Now()));
  } else {
    if (!Tells(state.writing, state)) {
      state.writing = MakeMark(state.data == Data::kOld ? kOldDataMark : kEmptiedMark, state.run,
                               Has(Safeguard::kSecondLoss) ? random_.Bits() : 0);
    }
    Replace(node, state.writing);
  }
}

void NodeGuard::Replace(NodeIndex node, const std::string& to, std::string_view stamp) {
  nodes_[node]->Mark({.from = states_[node].mark, .to = to, .stamp = stamp},
                     std::make_shared<MarkReply>(*this, scheduler_.Now()));
}

void NodeGuard::Vouch(NodeIndex node) {
  const NodeState& state = states_[node];
  const bool compared = hooks_.stamp && Has(Safeguard::kStampComparedByMark);
  Replace(node, state.durable ? state.run + kDurableMark : state.run,
          compared ? std::string_view(hooks_.stamp()) : std::string_view());
}

void NodeGuard::OnLook(NodeIndex node, MonotonicTime asked, const NodeReply& reply) {
  if (IsUnknown(reply.outcome) || !states_[node].connected) return;
  if (reply.clock) ReadClock(node, asked, scheduler_.Now(), *reply.clock);
  Saw(node, reply.mark);
}

void NodeGuard::Saw(NodeIndex node, const std::string& mark) {
  NodeState& state = states_[node];
  if (mark == state.mark || state.standing == Standing::kUnseen) return;
  const std::string before = std::exchange(state.mark, mark);
  if (state.standing == Standing::kQuarantined && IsProvisional(mark) && mark == state.writing) {
    state.writing.clear();
    // The quarantine starts now, because a second loss before this could not be detected.
    if (before.empty()) state.until = scheduler_.Now() + quarantine_;
  } else if (Vouches(mark, state)) {
    Trust(node, mark);
  } else if (IsFreshOrNone(mark, state)) {
    OnBlank(node);
  } else {
    Quarantine(node, mark.front() == kEmptiedMark ? Data::kEmptied : Data::kOld, quarantine_,
               IsProvisional(mark) ? kFoundByAnother : "it carries another server's data");
  }
  if (hooks_.noticed) hooks_.noticed(node);
}

// The node has no data on the open connection.
void NodeGuard::OnBlank(NodeIndex node) {
  NodeState& state = states_[node];
  switch (state.standing) {
    case Standing::kUnseen:
    case Standing::kUndecided:  // it is being enrolled
      return;
    case Standing::kTrusted:
      Quarantine(node, Data::kEmptied, quarantine_, kVanished);
      return;
    case Standing::kQuarantined:
      // It was enrolled after the loss, or lost its data again.
      state.data = Data::kEmptied;
      state.until = scheduler_.Now() + quarantine_;
      LookAgain();
      return;
  }
}

void NodeGuard::ReadClock(NodeIndex node, MonotonicTime asked, MonotonicTime answered,
                          Duration shown) {
  NodeState& state = states_[node];
  state.clock_offset = shown - scheduler_.WallNow().time_since_epoch();
  NoteSuspend();
  const NodeClock::Verdict verdict = state.clock.Read(asked, answered, shown);
  const Duration step = Has(Safeguard::kStepIsNoDrift) ? verdict.pause_for_step : Duration{};
  const Duration time = std::max(verdict.pause_for_off, step);
  if (time == Duration{}) return;
  std::string why;
  if (verdict.off != Duration{}) {
    why = "its clock went " + InWords(std::chrono::abs(verdict.off)) +
          (verdict.off > Duration{} ? " ahead of" : " behind") + " what the drift budget allows";
  } else {
    why =
        "its clock gained " + InWords(verdict.gain) + " since it was last read, maybe in one step";
  }
  const CommonJump::Jump jump{.gain = verdict.gain,
                              .off_ahead = verdict.off > Duration{},
                              .pause = time,
                              .pause_before = state.clock_pause.until,
                              .noted = scheduler_.Now()};
  PauseNode(node, state.clock_pause, time, std::move(why));
  if (verdict.off == Duration{} && !Resumed()) return;  // neither published nor lifted
  if (!jump_.Note(node, jump)) return;
  jump_due_ = jump.noted + CommonJump::kWindow;
  LookAgain();
  for (NodeIndex other = 0; other < states_.size(); ++other) {
    if (other == node || !states_[other].connected) continue;
    nodes_[other]->ReadMark(std::make_shared<MarkReply>(*this, scheduler_.Now()));
  }
}

void NodeGuard::NoteSuspend() {
  const MonotonicTime now = scheduler_.Now();
  const Duration suspended = scheduler_.Suspended();
  if (suspended_ && suspended - *suspended_ > kShortestSuspend) resumed_ = now;
  suspended_ = suspended;
}

bool NodeGuard::Resumed() const {
  return (resumed_ && scheduler_.Now() - *resumed_ < kAfterSuspend) ||
         !Has(Safeguard::kSuspendIsProven);
}

void NodeGuard::JudgeJumps() {
  const bool resumed = Resumed();
  const auto jumps = jump_.Close();
  const Duration shared = CommonJump::Shared(
      jumps, QuorumOf(states_.size()), [this](NodeIndex node) { return states_[node].connected; });
  for (NodeIndex node = 0; node < states_.size(); ++node) {
    const auto& jump = jumps[node];
    if (!jump) continue;
    NodeState& state = states_[node];
    // A clock that lost time expires keys late. That alone endangers no lease.
    const bool lost = jump->gain < Duration{} && !jump->off_ahead;
    if (shared == Duration{} && !lost) {
      if (jump->off_ahead) Publish(node, state.clock_pause);
    } else if (resumed) {
      const Duration left = lost ? Duration{} : state.clock.PauseWithout(shared, jump->pause);
      state.clock_pause.until =
          std::min(state.clock_pause.until, std::max(jump->pause_before, jump->noted) + left);
    }
  }
  Changed();
}

void NodeGuard::PauseNode(NodeIndex node, Pause& pause, Duration time, std::string why) {
  const MonotonicTime now = scheduler_.Now();
  const bool news = now >= pause.until;
  // All leases that the node has granted until now have expired after the longest TTL.
  pause.until = std::min(std::max(pause.until, now) + time, now + quarantine_);
  pause.why = std::move(why);
  if (news) {
    pause.published = false;
    if (time >= kWorthReporting) report_(node, true, "quarantined " + *Barred(node));
  }
  if (pause.published) Publish(node, pause);
  Changed();
}

void NodeGuard::Publish(NodeIndex node, Pause& pause) {
  if (!Has(Safeguard::kPausePublished)) return;
  NodeState& state = states_[node];
  const MonotonicTime now = scheduler_.Now();
  pause.published = true;
  if (now >= pause.until) return;
  if (state.standing == Standing::kTrusted) {
    Quarantine(node, Data::kEmptied, pause.until - now, pause.why);
  } else if (state.standing == Standing::kQuarantined) {
    state.until = std::max(state.until, pause.until);
  }
}

// Another daemon may have marked the node as trusted meanwhile, or the node was not marked yet.
void NodeGuard::PublishAgain(NodeIndex node) {
  NodeState& state = states_[node];
  for (Pause* pause : {&state.eviction_pause, &state.clock_pause}) {
    if (pause->published && state.standing == Standing::kTrusted) Publish(node, *pause);
  }
}

void NodeGuard::OnSettings(NodeIndex node, const NodeSettings& settings) {
  NodeState& state = states_[node];
  if (!state.connected) return;
  state.durable = settings.durable;
  WithdrawDurability(node);
  ReadEviction(node, settings.eviction);
}

void NodeGuard::WithdrawDurability(NodeIndex node) {
  const NodeState& state = states_[node];
  if (state.durable || !Has(Safeguard::kDurabilityWithdrawn)) return;
  if (state.standing == Standing::kTrusted && state.mark == state.run + kDurableMark) Vouch(node);
}

void NodeGuard::ReadEviction(NodeIndex node, const Eviction& eviction) {
  NodeState& state = states_[node];
  std::string why = state.eviction.Read(eviction);
  if (why.empty() || !Has(Safeguard::kEvictionQuarantined)) return;
  PauseNode(node, state.eviction_pause, quarantine_, std::move(why));
  Publish(node, state.eviction_pause);
}

void NodeGuard::LookAgain() {
  const MonotonicTime now = scheduler_.Now();
  MonotonicTime next = now + options_.guard.inspect_interval;
  if (jump_due_) next = std::min(next, *jump_due_);
  for (const NodeState& state : states_) {
    if (state.connected && state.clock.Drifts()) {
      next = std::min(next, now + NodeClock::kCloseInterval);
    }
    if (state.standing != Standing::kQuarantined) continue;
    if (state.until > now) next = std::min(next, state.until);
  }
  tick_ = scheduler_.At(next, [this] { Tick(); });
  Changed();
}

void NodeGuard::Tick() {
  const MonotonicTime now = scheduler_.Now();
  if (jump_due_ && now >= *jump_due_) {
    jump_due_.reset();
    JudgeJumps();
  }
  const bool settings_are_due = now >= settings_due_;
  if (settings_are_due) settings_due_ = now + options_.guard.inspect_interval;
  for (NodeIndex node = 0; node < states_.size(); ++node) {
    const NodeState& state = states_[node];
    if (!state.connected) continue;
    PublishAgain(node);
    if (settings_are_due) nodes_[node]->ReadSettings(std::make_shared<SettingsReply>(*this));
    if (state.standing == Standing::kQuarantined) {
      TendQuarantine(node);
    } else {
      nodes_[node]->ReadMark(std::make_shared<MarkReply>(*this, now));
    }
  }
  LookAgain();
}

}  // namespace redlock
