#include "server/core/nodes/membership.h"

#include <algorithm>
#include <map>
#include <utility>

#include "server/core/check.h"
#include "server/core/format.h"
#include "server/core/nodes/mark.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

// 16 hexadecimal digits.
std::string MakeId(std::uint64_t bits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string id;
  for (unsigned shift = 0; shift < 64; shift += 4) id += kDigits[(bits >> shift) & 15U];
  return id;
}

std::string Describe(const SetRecord& record) {
  std::string words = "epoch " + std::to_string(record.epoch) + ", members";
  for (const Member& member : record.members) words += ' ' + member.name;
  return words;
}

}  // namespace

class Membership::Reply final : public SetSink {
 public:
  explicit Reply(Membership& membership) : membership_(membership), alive_(membership.alive_) {}
  void OnSetReply(NodeIndex node, SetReply reply) override {
    if (*alive_) membership_.OnReply(node, reply);
  }

 private:
  Membership& membership_;
  const std::shared_ptr<bool> alive_;
};

Membership::Membership(Scheduler& scheduler, Random& random, const LockOptions& options,
                       std::vector<Node*> nodes, std::vector<std::string> names, NodeGuard* guard,
                       Report report)
    : scheduler_(scheduler),
      random_(random),
      options_(options),
      guard_(guard),
      report_(report ? std::move(report) : [](bool, const std::string&) {}),
      set_(std::make_shared<NodeSet>(nodes.size())),
      alive_(std::make_shared<bool>(true)) {
  REDLOCK_CHECK(names.size() == nodes.size());
  nodes_.reserve(nodes.size());
  for (NodeIndex i = 0; i < nodes.size(); ++i) {
    nodes_.emplace_back(*nodes[i], std::move(names[i]));
    nodes[i]->ObserveWith(this);
  }
  if (guard_ != nullptr) {
    guard_->ConfirmWith({.may_trust =
                             [this](NodeIndex node, const std::string& mark) {
                               const SetState& state = nodes_[node].state;
                               if (!IsOfTheSet(state)) return false;
                               return !guard_->HasOldData(node) || state.readmitted == mark ||
                                      !Has(Safeguard::kReadmission);
                             },
                         .changed = [this] { TellQuorum(); },
                         .noticed =
                             [this](NodeIndex node) {
                               const NodeState& state = nodes_[node];
                               if (!state.connected || state.asking) return;
                               if (guard_->mark(node) == state.state.mark) return;
                               Ask(node, {.kind = SetStep::Kind::kRead});
                             }});
  }
  tick_ = scheduler_.After(options_.guard.inspect_interval, [this] { Tick(); });
}

Membership::~Membership() {
  *alive_ = false;
  for (NodeState& state : nodes_) state.node.ObserveWith(nullptr);
}

bool Membership::IsOfTheSet(const SetState& state) const {
  return known() && state.record && state.record->set_id == set_->record().set_id;
}

void Membership::OnConnected(NodeIndex node, const NodeFacts& facts) {
  NodeState& state = nodes_[node];
  state.connected = true;
  state.asking = false;
  state.run = RunOf(facts.run_id);
  state.state = facts.set;
  if (guard_ != nullptr) guard_->OnConnected(node, facts);
  Consider();
}

void Membership::OnDisconnected(NodeIndex node) {
  nodes_[node].connected = false;
  if (guard_ != nullptr) guard_->OnDisconnected(node);
  if (readmission_ && readmission_->node == node) readmission_.reset();
  TellQuorum();
}

void Membership::OnOtherSet(NodeIndex node) {
  ++mismatches_;
  if (nodes_[node].connected && !nodes_[node].asking) Ask(node, {.kind = SetStep::Kind::kRead});
}

void Membership::Ask(NodeIndex node, const SetStep& step) {
  NodeState& state = nodes_[node];
  REDLOCK_CHECK(!state.asking);
  state.asking = true;
  state.node.AskSet(step, std::make_shared<Reply>(*this));
}

void Membership::OnReply(NodeIndex node, const SetReply& reply) {
  NodeState& state = nodes_[node];
  if (!state.asking) return;  // of an earlier connection
  state.asking = false;
  if (!reply.answered) {
    if (readmission_) OnPromise(node, reply);
    return;
  }
  state.state = reply.state;
  if (guard_ != nullptr) guard_->Saw(node, reply.state.mark);
  if (readmission_) OnPromise(node, reply);
  Consider();
}

// Decides from all that is known what is to be done next. Each node has at most one step in flight,
// and every answer leads here.
void Membership::Consider() {
  for (const NodeState& state : nodes_) {
    highest_ballot_ = std::max(highest_ballot_, state.state.promised.number);
  }
  if (FindRecord() && !known()) Found();
  if (known()) {
    trouble_.clear();
    MapMembers();
    for (NodeIndex node = 0; node < nodes_.size(); ++node) Maintain(node);
  }
  TellQuorum();
}

// Adopts the newest record that a node knows to be decided.
bool Membership::FindRecord() {
  const SetRecord* newest = nullptr;
  const NodeState* owner = nullptr;
  for (const NodeState& state : nodes_) {
    if (!state.connected || !state.state.record) continue;
    const SetRecord& record = *state.state.record;
    if (known() && record.set_id != set_->record().set_id) continue;
    if (newest != nullptr && record.set_id != newest->set_id) {
      Complain("nodes " + owner->name + " and " + state.name +
               " belong to different node sets: configure the nodes of one set only");
      return false;
    }
    if (newest == nullptr || newest->epoch < record.epoch) {
      newest = &record;
      owner = &state;
    }
  }
  if (newest != nullptr && (!known() || newest->epoch > set_->record().epoch)) Adopt(*newest);
  return true;
}

// Creates the set. The caller knows of no record.
void Membership::Found() {
  for (const NodeState& state : nodes_) {
    if (state.connected || !Has(Safeguard::kNewSetNeedsAllNodes)) continue;
    Complain("node " + state.name +
                 " is not connected: a new node set is created once all configured nodes are "
                 "connected",
             false);
    return;
  }
  if (!EnrollAll()) return;
  std::map<std::string, NodeIndex> by_id;
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    if (!nodes_[node].connected) continue;
    const auto [other, is_new] = by_id.emplace(nodes_[node].state.member, node);
    if (is_new) continue;
    Complain("nodes " + nodes_[other->second].name + " and " + nodes_[node].name +
             " are the same server: configure each node once");
    return;
  }
  // All daemons offer their record to this node first, and then go on with what it has accepted.
  const NodeIndex arbiter = by_id.begin()->second;
  SetRecord record;
  if (const auto& accepted = nodes_[arbiter].state.accepted) {
    record = accepted->record;
  } else {
    if (nodes_[arbiter].asking) return;
    std::vector<NodeIndex> nodes;
    for (const auto& [id, node] : by_id) nodes.push_back(node);
    Ask(arbiter, {.kind = SetStep::Kind::kFound,
                  .member = nodes_[arbiter].state.member,
                  .record = FirstRecord(nodes)});
    return;
  }
  bool all_hold = true;
  for (const Member& member : record.members) {
    const auto found = by_id.find(member.id);
    if (found == by_id.end()) {
      if (StartAgain()) return;
      Complain("another daemon is creating a node set with node " + member.name +
               ", which is not configured here: give all daemons the same nodes");
      return;
    }
    NodeState& state = nodes_[found->second];
    if (!state.state.accepted) {
      all_hold = false;
      if (state.asking) continue;
      Ask(found->second, {.kind = SetStep::Kind::kFound, .member = member.id, .record = record});
    } else if (state.state.accepted->record != record) {
      if (StartAgain()) return;
      Complain("nodes " + nodes_[arbiter].name + " and " + state.name +
               " were offered different node sets by daemons with different nodes or settings: "
               "configure all daemons alike, run FLUSHALL on these new nodes, and start again");
      return;
    }
  }
  if (all_hold) Adopt(record);
}

// A node that was offered a record lost its data before the record was in force, so that it never
// will be. If all records that were offered are for the same servers as configured here, a new one
// can be: two quorums of the same servers meet, and a server votes by one record only.
bool Membership::StartAgain() {
  for (const NodeState& state : nodes_) {
    if (!state.state.accepted) continue;
    const std::vector<Member>& members = state.state.accepted->record.members;
    const bool same = members.size() == nodes_.size() &&
                      std::ranges::all_of(members, [this](const Member& member) {
                        return std::ranges::any_of(nodes_, [&member](const NodeState& node) {
                          return node.state.member == member.id || node.name == member.name;
                        });
                      });
    if (!same) return false;
  }
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    if (nodes_[node].state.accepted) Enroll(node);
  }
  return true;
}

bool Membership::EnrollAll() {
  bool all = true;
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    const NodeState& state = nodes_[node];
    if (!state.connected || !state.state.member.empty()) continue;
    all = false;
    Enroll(node);
  }
  return all;
}

void Membership::Enroll(NodeIndex node) {
  const NodeState& state = nodes_[node];
  if (state.asking) return;
  Ask(node, {.kind = SetStep::Kind::kEnroll,
             .member = MakeId(random_.Bits()),
             .replaces = state.state.member,
             .mark = MakeMark(kFreshMark, state.run, random_.Bits())});
}

SetRecord Membership::FirstRecord(const std::vector<NodeIndex>& nodes) {
  SetRecord record;
  record.epoch = 1;
  record.max_ttl = options_.node_set.max_ttl;
  record.fence_retention = options_.node_set.fence_retention;
  for (const NodeIndex node : nodes) {
    record.members.push_back({nodes_[node].state.member, nodes_[node].name});
  }
  // The same record again, unless a node was enrolled anew meanwhile.
  if (!first_ || first_->members != record.members) {
    record.set_id = MakeId(random_.Bits());
    first_ = std::move(record);
  }
  return *first_;
}

void Membership::Adopt(const SetRecord& record) {
  const bool first = !known();
  set_ = std::make_shared<NodeSet>(record, std::vector<NodeIndex>());
  MapMembers();
  readmission_.reset();
  if (guard_ != nullptr) guard_->SetLongestTtl(std::max(record.max_ttl, record.wait));
  report_(false, (first ? "node set found: " : "node set changed: ") + Describe(record));
  if (first && record.max_ttl != options_.node_set.max_ttl) {
    report_(true, "--max-ttl is " + InWords(options_.node_set.max_ttl) +
                      ", but the node set has max_ttl " + InWords(record.max_ttl) +
                      ", which is in force");
  }
}

// A member is the node that reports its id. If none does, it is the one that reported it last, or
// the one that has its name.
void Membership::MapMembers() {
  const SetRecord& record = set_->record();
  std::vector<NodeIndex> mapped;
  places_.clear();
  for (const Member& member : record.members) {
    std::optional<NodeIndex> best;
    int best_rank = 0;
    for (NodeIndex node = 0; node < nodes_.size(); ++node) {
      const int rank = RankAs(member, nodes_[node]);
      if (rank > best_rank && std::ranges::find(mapped, node) == mapped.end()) {
        best = node;
        best_rank = rank;
      }
    }
    places_.push_back(best);
    if (!best) continue;
    if (best_rank > 1) nodes_[*best].last_member = member.id;
    mapped.push_back(*best);
  }
  if (mapped != set_->nodes()) set_ = std::make_shared<NodeSet>(record, std::move(mapped));
}

// How sure it is that the node is this member; 0: it is not.
int Membership::RankAs(const Member& member, const NodeState& node) {
  const std::string& reported = node.state.member;
  if (reported == member.id) return node.connected ? 4 : 3;
  if (!reported.empty() && node.state.record) return 0;  // it is another member, or of another set
  if (!node.last_member.empty()) return node.last_member == member.id ? 2 : 0;
  return node.name == member.name ? 1 : 0;  // not connected yet, or without data
}

// Brings one node up to date.
void Membership::Maintain(NodeIndex node) {
  NodeState& state = nodes_[node];
  if (!state.connected || state.asking) return;
  const SetRecord& record = set_->record();
  if (state.state.member.empty()) {
    Enroll(node);
    return;
  }
  const auto& known = state.state.record;
  if (known && known->set_id != record.set_id) return;
  const Member* const member = record.Find(state.state.member);
  if (known ? known->epoch < record.epoch : member != nullptr) {
    Ask(node, {.kind = SetStep::Kind::kLearn, .member = state.state.member, .record = record});
    return;
  }
  if (!known) {
    const Member* const lost = StandsFor(node);
    if (lost == nullptr) return;
    if (guard_ != nullptr) guard_->Emptied(node);
    Readmit(node, lost->id);
    return;
  }
  if (member == nullptr) return;
  if (state.state.mark.empty()) {  // only its mark was deleted; what else was, is not known
    if (guard_ != nullptr) guard_->Emptied(node);
    Readmit(node, member->id);
  } else if (HasOldData(node)) {
    Readmit(node, member->id);
  } else if (guard_ != nullptr && IsFresh(state.state.mark)) {
    guard_->Admit(node);
  }
}

// The member whose place a node without data takes: the one that it was before, or the one that had
// its address. Null if there is none, or if that member is connected elsewhere.
const Member* Membership::StandsFor(NodeIndex node) const {
  const NodeState& state = nodes_[node];
  const SetRecord& record = set_->record();
  const Member* member = record.Find(state.last_member);
  if (member == nullptr) {
    const auto found = std::ranges::find(record.members, state.name, &Member::name);
    if (found == record.members.end()) return nullptr;
    member = &*found;
  }
  const bool elsewhere = std::ranges::any_of(nodes_, [&](const NodeState& other) {
    return other.connected && other.state.member == member->id;
  });
  return elsewhere ? nullptr : member;
}

bool Membership::HasOldData(NodeIndex node) const {
  const SetState& state = nodes_[node].state;
  return guard_ != nullptr && guard_->HasOldData(node) && IsProvisional(state.mark) &&
         state.readmitted != state.mark;
}

// Only a node that remembers what it promised and accepted may promise again.
bool Membership::CanPromise(NodeIndex node) const {
  const NodeState& state = nodes_[node];
  const SetRecord& record = set_->record();
  if (!state.connected || !state.state.record || *state.state.record != record) return false;
  if (record.Find(state.state.member) == nullptr || !set_->Contains(node)) return false;
  return guard_ == nullptr || !guard_->HasOldData(node) ||
         state.state.readmitted == state.state.mark;
}

bool Membership::AllMembersAreBack() const {
  std::set<std::string> back;  // one server may be connected twice
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    const NodeState& state = nodes_[node];
    if (!state.connected || state.state.member.empty()) continue;
    if (state.state.record && set_->record().Find(state.state.member) != nullptr) {
      back.insert(state.state.member);
    } else if (const Member* const member = StandsFor(node)) {
      back.insert(member->id);
    }
  }
  return back.size() >= set_->size();
}

void Membership::Readmit(NodeIndex node, const std::string& member) {
  if (readmission_ || nodes_[node].asking) return;
  std::vector<NodeIndex> others;
  std::size_t intact = 0;  // members that can promise now or soon
  for (const NodeIndex other : set_->nodes()) {
    if (other == node) continue;
    const NodeState& state = nodes_[other];
    if (state.connected && IsOfTheSet(state.state) && !HasOldData(other)) ++intact;
    if (CanPromise(other) && !state.asking) others.push_back(other);
  }
  Readmission started{.node = node,
                      .member = member,
                      .ballot = {++highest_ballot_, random_.Bits()},
                      .asked = {},
                      .promised = {},
                      .accepted = {}};
  if (others.size() >= set_->quorum() || !Has(Safeguard::kReadmission)) {
    started.asked.insert(others.begin(), others.end());
    readmission_ = std::move(started);
    if (!Has(Safeguard::kReadmission)) {
      FinishReadmission();
      return;
    }
    for (const NodeIndex other : others) {
      Ask(other, {.kind = SetStep::Kind::kPrepare,
                  .mark = nodes_[other].state.mark,
                  .epoch = set_->record().epoch,
                  .ballot = readmission_->ballot});
    }
    return;
  }
  if (intact >= set_->quorum() || !AllMembersAreBack()) return;
  if (guard_ != nullptr && !guard_->IsQuarantineOver(node)) return;
  for (const NodeState& state : nodes_) {
    if (!state.connected || !state.state.record || *state.state.record != set_->record()) continue;
    started.TakeOver(state.state.accepted);
  }
  readmission_ = std::move(started);
  FinishReadmission();
}

void Membership::OnPromise(NodeIndex node, const SetReply& reply) {
  Readmission& readmission = *readmission_;
  if (node == readmission.node) {
    if (!readmission.sent) return;
    readmission_.reset();
    if (guard_ != nullptr && reply.answered && reply.done) guard_->Readmitted(node);
    return;
  }
  if (readmission.sent || !readmission.asked.contains(node)) return;
  const bool promised = reply.answered && reply.done && reply.state.promised == readmission.ballot;
  if (!promised) {
    // Another proposer was faster, or the node cannot be reached. The next attempt has a higher
    // ballot.
    readmission_.reset();
    return;
  }
  readmission.promised.insert(node);
  readmission.TakeOver(reply.state.accepted);
  if (readmission.promised.size() >= set_->quorum()) FinishReadmission();
}

void Membership::FinishReadmission() {
  Readmission& readmission = *readmission_;
  const NodeState& state = nodes_[readmission.node];
  if (state.asking) {
    readmission_.reset();
    return;
  }
  readmission.sent = true;
  std::string mark = guard_ == nullptr ? MakeMark(kEmptiedMark, state.run, random_.Bits())
                                       : guard_->ProvisionalMark(readmission.node);
  Ask(readmission.node, {.kind = SetStep::Kind::kReadmit,
                         .member = readmission.member,
                         .mark = state.state.mark,
                         .new_mark = std::move(mark),
                         .ballot = readmission.ballot,
                         .record = set_->record(),
                         .accepted = readmission.accepted});
}

std::optional<Membership::Refused> Membership::Refusal(NodeIndex node) const {
  if (!known()) {
    return Refused{mismatch_ ? Outcome::kOtherSet : Outcome::kQuarantined,
                   "no node set found yet: " + (trouble_.empty() ? "connecting" : trouble_)};
  }
  if (set_->Contains(node)) return std::nullopt;
  const NodeState& state = nodes_[node];
  if (state.state.record && state.state.record->set_id != set_->record().set_id) {
    return Refused{Outcome::kOtherSet, "it belongs to another node set"};
  }
  for (const NodeIndex other : set_->nodes()) {
    if (nodes_[other].connected && nodes_[other].state.member == state.state.member) {
      return Refused{Outcome::kOtherSet, "it is the same server as node " + nodes_[other].name +
                                             ", which has one vote"};
    }
  }
  return Refused{Outcome::kOtherSet, "it is not a member of the node set, and has no vote"};
}

std::string Membership::Trouble() const {
  if (!known()) return trouble_.empty() ? "connecting" : trouble_;
  const std::vector<Member>& members = set_->record().members;
  for (std::size_t member = 0; member < members.size(); ++member) {
    if (NodeOf(member)) continue;
    return "member " + members[member].name + " is not configured at this daemon";
  }
  return {};
}

void Membership::Complain(std::string what, bool mismatch) {
  mismatch_ = mismatch;
  if (what == trouble_) return;
  trouble_ = std::move(what);
  report_(true, trouble_);
}

bool Membership::HasQuorum() const {
  if (!known()) return false;
  const auto able = std::ranges::count_if(set_->nodes(), [this](NodeIndex node) {
    const NodeState& state = nodes_[node];
    return state.connected && state.state.stamp == set_->stamp() &&
           (guard_ == nullptr || !guard_->Barred(node));
  });
  return static_cast<std::size_t>(able) >= set_->quorum();
}

void Membership::WatchQuorum(std::function<void(bool)> told) {
  quorum_told_ = std::move(told);
  quorum_ = HasQuorum();
  if (quorum_told_) quorum_told_(quorum_);
}

void Membership::TellQuorum() {
  if (!quorum_told_ || HasQuorum() == quorum_) return;
  quorum_ = !quorum_;
  quorum_told_(quorum_);
}

// Reads what may have changed without a reply that showed it.
void Membership::Tick() {
  tick_ = scheduler_.After(options_.guard.inspect_interval, [this] { Tick(); });
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    const NodeState& state = nodes_[node];
    if (!state.connected || state.asking) continue;
    const SetState& seen = state.state;
    const bool settled = known() && seen.record && *seen.record == set_->record() &&
                         !seen.accepted &&
                         (guard_ == nullptr || (!IsProvisional(seen.mark) && !IsBlank(seen.mark)));
    if (!settled) Ask(node, {.kind = SetStep::Kind::kRead});
  }
  TellQuorum();
}

}  // namespace redlock
