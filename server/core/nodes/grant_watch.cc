#include "server/core/nodes/grant_watch.h"

#include <utility>

#include "server/core/format.h"

namespace redlock {
namespace {

// A single late answer may be this daemon's own delay. A node whose answers are late about half of
// the time must not change its state every second.
constexpr int kContraryAnswers = 3;

}  // namespace

class GrantWatch::Trial final : public ReplySink {
 public:
  Trial(GrantWatch& watch, std::uint64_t number)
      : watch_(watch), number_(number), alive_(watch.alive_) {}
  void OnReply(NodeIndex node, NodeReply&& reply) override {
    if (*alive_) watch_.OnReply(node, number_, reply);
  }

 private:
  GrantWatch& watch_;
  const std::uint64_t number_;
  const std::shared_ptr<bool> alive_;
};

GrantWatch::GrantWatch(Scheduler& scheduler, const LockOptions& options, std::vector<Node*> nodes,
                       Report report)
    : scheduler_(scheduler),
      options_(options),
      nodes_(std::move(nodes)),
      report_(report ? std::move(report) : [](NodeIndex, bool, const std::string&) {}),
      states_(nodes_.size()),
      alive_(std::make_shared<bool>(true)) {
  Tick();
}

GrantWatch::~GrantWatch() { *alive_ = false; }

bool GrantWatch::CanGrant(NodeIndex node) const { return states_[node].proven && !Fault(node); }

std::optional<std::string> GrantWatch::Fault(NodeIndex node) const {
  const NodeState& state = states_[node];
  if (!state.connected) return std::nullopt;
  if (!state.error.empty()) return state.error;
  if (!state.slow) return std::nullopt;
  return "its answers take " + InWords(state.took) + ", more than --node-timeout " +
         InWords(options_.node_timeout) + ": use a node that is nearer, or raise --node-timeout";
}

std::string GrantWatch::Flaw(NodeIndex node) const {
  const NodeState& state = states_[node];
  return state.connected && !Fault(node) ? state.flaw : "";
}

void GrantWatch::OnConnected(NodeIndex node) {
  NodeState& state = states_[node];
  state = {.connected = true,
           .reported = state.reported,
           .reported_error = std::move(state.reported_error),
           .reported_flaw = std::move(state.reported_flaw)};
  Try(node);
}

void GrantWatch::OnDisconnected(NodeIndex node) {
  states_[node].connected = false;
  states_[node].proven = false;
  states_[node].trial = 0;
}

void GrantWatch::Try(NodeIndex node) {
  NodeState& state = states_[node];
  state.trial = ++trials_;
  state.asked = scheduler_.Now();
  nodes_[node]->TryGrant(std::make_shared<Trial>(*this, state.trial));
}

void GrantWatch::OnReply(NodeIndex node, std::uint64_t trial, const NodeReply& reply) {
  NodeState& state = states_[node];
  if (state.trial != trial) return;  // of an earlier connection
  state.trial = 0;
  const auto asked = std::exchange(state.asked, std::nullopt);
  if (reply.never_sent) {
    // The node is connected, but does not answer what it was asked before.
    CountLateness(state, true, state.took);
  } else {
    const bool granted = reply.outcome == Outcome::kGranted;
    state.error = granted ? "" : reply.message;
    if (granted) state.flaw = reply.message;
    if (asked) {
      const Duration took = scheduler_.Now() - *asked;
      const bool late = took > options_.node_timeout;
      state.proven = state.proven || !late;
      CountLateness(state, late, took);
    }
  }
  Conclude(node);
}

void GrantWatch::CountLateness(NodeState& state, bool late, Duration took) {
  if (late) state.took = took;
  if (late == state.slow) {
    state.contrary = 0;
  } else if (++state.contrary >= kContraryAnswers) {
    state.slow = late;
    state.contrary = 0;
  }
}

void GrantWatch::Conclude(NodeIndex node) {
  NodeState& state = states_[node];
  const auto fault = Fault(node);
  const bool news = fault && (!state.reported || state.error != state.reported_error);
  if (news) {
    report_(node, false, "cannot grant locks: " + *fault);
  } else if (!fault && state.reported) {
    report_(node, true, "can grant locks again");
  }
  state.reported = fault.has_value();
  state.reported_error = state.error;
  if (!fault) ConcludeOnFlaw(node);
  if (changed_) changed_();
}

void GrantWatch::ConcludeOnFlaw(NodeIndex node) {
  NodeState& state = states_[node];
  if (state.flaw == state.reported_flaw) return;
  const bool good = state.flaw.empty();
  report_(node, good, good ? "has all permissions again" : "can grant locks, but: " + state.flaw);
  state.reported_flaw = state.flaw;
}

void GrantWatch::Tick() {
  const MonotonicTime now = scheduler_.Now();
  tick_ = scheduler_.At(now + options_.guard.inspect_interval, [this] { Tick(); });
  for (NodeIndex node = 0; node < states_.size(); ++node) {
    NodeState& state = states_[node];
    if (!state.connected) continue;
    if (state.trial == 0) {
      Try(node);
    } else if (state.asked && now - *state.asked > options_.node_timeout) {
      CountLateness(state, true, now - *std::exchange(state.asked, std::nullopt));
      Conclude(node);
    }
  }
}

}  // namespace redlock
