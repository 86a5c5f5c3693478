#include "server/core/nodes/membership.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "server/core/check.h"
#include "server/core/format.h"
#include "server/core/nodes/mark.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

// While a change spreads, the daemon and the nodes may know different records for this long.
constexpr Duration kSettling = std::chrono::seconds(2);

std::string NamesOf(const SetRecord& record) {
  std::string names;
  for (const Member& member : record.members) names += ' ' + member.name;
  return names;
}

std::string Describe(const SetRecord& record) {
  return "epoch " + std::to_string(record.epoch) + ", max_ttl " + InWords(record.max_ttl) +
         ", members" + NamesOf(record);
}

}  // namespace

Membership::Membership(Scheduler& scheduler, Random& random, const LockOptions& options,
                       const std::vector<Node*>& nodes, std::vector<std::string> names,
                       NodeGuard* guard, GrantWatch* grants, Report report)
    : scheduler_(scheduler),
      random_(random),
      options_(options),
      guard_(guard),
      grants_(grants),
      report_(report ? std::move(report) : [](bool, const std::string&) {}),
      nodes_(scheduler, random, nodes, std::move(names),
             [this](NodeIndex node, const SetReply& reply) { OnReply(node, reply); }),
      creation_(nodes_, random, options.node_set),
      set_(std::make_shared<NodeSet>(nodes.size())),
      may_create_(options.node_set.create) {
  for (Node* const node : nodes) node->ObserveWith(this);
  if (options.node_set.coordinates) {
    change_.emplace(scheduler, random, options, nodes_,
                    SetChange::Hooks{
                        .set = [this]() -> const NodeSetPtr& { return set_; },
                        .can_promise = [this](NodeIndex node) { return CanPromise(node); },
                        .nodes = [this] { return NodesForPlan(); },
                        .wake = [this] { Consider(); },
                    });
  }
  if (guard_ != nullptr) {
    guard_->ConfirmWith({.may_trust =
                             [this](NodeIndex node) {
                               return IsOfTheSet(nodes_[node].state) &&
                                      (Remembers(node) || !Has(Safeguard::kReadmission));
                             },
                         .changed = [this] { TellQuorum(); },
                         .noticed =
                             [this](NodeIndex node) {
                               const SetNodes::Seat& seat = nodes_[node];
                               if (!seat.IsFree() || guard_->mark(node) == seat.state.mark) return;
                               nodes_.Ask(node, {.kind = SetStep::Kind::kRead});
                             },
                         .stamp = [this]() -> const std::string& { return set_->stamp(); }});
  }
  if (grants_ != nullptr) grants_->TellChanges([this] { TellQuorum(); });
  tick_ = scheduler_.After(options_.guard.inspect_interval, [this] { Tick(); });
}

Membership::~Membership() {
  for (const SetNodes::Seat& seat : nodes_) seat.node.ObserveWith(nullptr);
}

bool Membership::IsOfTheSet(const SetState& state) const {
  return known() && state.record && state.record->set_id == set_->record().set_id;
}

void Membership::OnConnected(NodeIndex node, const NodeFacts& facts) {
  nodes_.Connect(node, facts);
  if (guard_ != nullptr) guard_->OnConnected(node, facts);
  if (grants_ != nullptr) grants_->OnConnected(node);
  Consider();
}

void Membership::OnDisconnected(NodeIndex node, const std::string& why) {
  nodes_.Disconnect(node, why);
  if (grants_ != nullptr) grants_->OnDisconnected(node);
  if (guard_ != nullptr) guard_->OnDisconnected(node);
  if (readmission_ && readmission_->node() == node) readmission_.reset();
  if (change_) change_->OnDisconnected(node);
  Consider();
}

void Membership::OnOtherSet(NodeIndex node) {
  ++mismatches_;
  if (nodes_[node].IsFree()) nodes_.Ask(node, {.kind = SetStep::Kind::kRead});
}

void Membership::OnReply(NodeIndex node, const SetReply& reply) {
  // A step of a change is being decided: this daemon adopts it as soon as it has read a quorum.
  if (reply.answered && reply.state.accepted) settled_ = scheduler_.Now() + kSettling;
  if (reply.answered && guard_ != nullptr) guard_->Saw(node, reply.state.mark);
  if (change_) change_->OnReply(node, reply);
  if (readmission_) OnProgress(readmission_->OnReply(node, reply));
  Consider();
}

// Decides from all that is known what is to be done next. Each node has at most one step in flight,
// and every answer leads here.
void Membership::Consider() {
  if (FindRecord() && !known()) CreateSet();
  if (known()) {
    if (!conflict_) trouble_.clear();
    MapMembers();
    if (const auto accepted = FindAccepted()) Adopt(*accepted);
    while (change_) {
      const auto decided = change_->Advance();
      if (!decided) break;
      Adopt(*decided);
    }
    for (NodeIndex node = 0; node < nodes_.size(); ++node) Maintain(node);
    if (change_) change_->Tell();
  }
  TellCreators();
  TellQuorum();
}

// Adopts the newest record that a node knows to be decided. The first one needs a quorum of its
// members: a single node may be one of another set, which an address has come to lead to.
bool Membership::FindRecord() {
  const SetRecord* newest = nullptr;
  const SetRecord* other = nullptr;  // of another set
  std::string other_name;
  conflict_ = false;
  for (const SetNodes::Seat& seat : nodes_) {
    if (!seat.connected || !seat.state.record) continue;
    const SetRecord& record = *seat.state.record;
    if (known() && Rivals(record)) {
      conflict_ = true;
      Complain("quorums of two node sets with common members are connected, as is node " +
               seat.name + ": configure the nodes of one set only, and empty the others");
      return false;
    }
    if (known() ? record.set_id != set_->record().set_id : !HasQuorumOf(record)) {
      other = &record;
      other_name = seat.name;
    } else if (newest != nullptr && record.set_id != newest->set_id) {
      Complain("the configured nodes belong to different node sets, as does node " + seat.name +
               ": configure the nodes of one set only");
      return false;
    } else if (newest == nullptr || newest->epoch < record.epoch) {
      newest = &record;
    }
  }
  if (newest != nullptr && (!known() || newest->epoch > set_->record().epoch)) Adopt(*newest);
  if (known() || other == nullptr) return true;
  const bool too_few = nodes_.size() < QuorumOf(other->members.size());
  Complain("node " + other_name + " belongs to a node set of " +
               std::to_string(other->members.size()) + " members, of which no quorum is " +
               (too_few ? "configured at this daemon:" : "connected:") + NamesOf(*other),
           too_few);
  return false;
}

// Whether the record is of another set that has members in common with this one, and can decide
// too. One of them is what is left of a set that was given up.
bool Membership::Rivals(const SetRecord& other) const {
  const SetRecord& record = set_->record();
  if (other.set_id == record.set_id || !HasQuorumOf(other)) return false;
  return std::ranges::any_of(other.members, [&record](const Member& member) {
    return std::ranges::find(record.members, member.name, &Member::name) != record.members.end();
  });
}

// Whether a quorum of the record's members are connected. A member that has lost its data is known
// by its address.
bool Membership::HasQuorumOf(const SetRecord& record) const {
  const auto found = std::ranges::count_if(record.members, [&](const Member& member) {
    return std::ranges::any_of(nodes_, [&](const SetNodes::Seat& seat) {
      if (!seat.connected) return false;
      if (!seat.state.record) return seat.name == member.name;
      return seat.state.record->set_id == record.set_id && seat.state.member == member.id;
    });
  });
  return static_cast<std::size_t>(found) >= QuorumOf(record.members.size());
}

// The proposal that a quorum of members have accepted under one ballot. A node that was readmitted
// has promised another ballot, so that what it was given does not count as its own acceptance.
std::optional<SetRecord> Membership::FindAccepted() const {
  std::map<Ballot, std::size_t> votes;
  for (const NodeIndex node : set_->nodes()) {
    const SetState& state = nodes_[node].state;
    if (!state.accepted || state.record != set_->record()) continue;
    if (set_->record().Find(state.member) == nullptr) continue;
    if (state.promised != state.accepted->ballot) continue;
    if (++votes[state.accepted->ballot] >= set_->quorum()) return state.accepted->record;
  }
  return std::nullopt;
}

void Membership::CreateSet() {
  if (!may_create_) {
    Complain(
        "no configured node has a node set, and this daemon creates none by itself: run "
        "redlockctl nodes init",
        false);
    return;
  }
  const auto record = creation_.Advance();
  if (const auto& obstacle = creation_.obstacle()) Complain(obstacle->what, obstacle->mismatch);
  if (record) Adopt(*record);
}

void Membership::Adopt(const SetRecord& record) {
  const bool first = !known();
  settled_ = scheduler_.Now() + kSettling;
  set_ = std::make_shared<NodeSet>(record, std::vector<NodeIndex>(), scheduler_.Now());
  MapMembers();
  readmission_.reset();
  if (guard_ != nullptr) guard_->SetLongestTtl(std::max(record.max_ttl, record.wait));
  if (record_told_) record_told_(record);
  report_(false, (first ? "node set found: " : "node set changed: ") + Describe(record));
  if (const std::size_t size = record.members.size(); size % 2 == 0 && !record.IsChanging()) {
    report_(true, std::to_string(size) + " members tolerate no more failures than " +
                      std::to_string(size - 1) + ": use an odd number of nodes");
  }
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
  if (mapped == set_->nodes()) return;
  set_ = std::make_shared<NodeSet>(record, std::move(mapped), set_->adopted());
}

// How sure it is that the node is this member; 0: it is not.
int Membership::RankAs(const Member& member, const SetNodes::Seat& seat) {
  const std::string& reported = seat.state.member;
  if (reported == member.id) return seat.connected ? 4 : 3;
  if (!reported.empty() && seat.state.record) return 0;  // it is another member, or of another set
  if (!seat.last_member.empty()) return seat.last_member == member.id ? 2 : 0;
  return seat.name == member.name ? 1 : 0;  // not connected yet, or without data
}

// Brings one node up to date.
void Membership::Maintain(NodeIndex node) {
  const SetNodes::Seat& seat = nodes_[node];
  if (!seat.IsFree()) return;
  const SetRecord& record = set_->record();
  if (seat.state.member.empty()) {
    creation_.Enroll(node);
    return;
  }
  const auto& known = seat.state.record;
  if (known && known->set_id != record.set_id) return;
  const Member* const member = record.Find(seat.state.member);
  if (known ? known->epoch < record.epoch : member != nullptr) {
    nodes_.Ask(node,
               {.kind = SetStep::Kind::kLearn, .member = seat.state.member, .record = record});
    return;
  }
  if (!known) {
    const Member* const lost = StandsFor(node);
    if (lost == nullptr) {
      // It must have a fresh mark of this run when it is added.
      const std::string& mark = seat.state.mark;
      if (!IsFresh(mark) || !NamesRun(mark, seat.run)) {
        creation_.Enroll(node);
      } else if (guard_ != nullptr) {
        guard_->Unjudge(node);
      }
      return;
    }
    if (guard_ != nullptr) guard_->Emptied(node);
    Readmit(node, lost->id);
    return;
  }
  if (member == nullptr) return;
  if (seat.state.mark.empty()) {  // only its mark was deleted; what else was, is not known
    if (guard_ != nullptr) guard_->Emptied(node);
    Readmit(node, member->id);
  } else if (HasOldData(node)) {
    Readmit(node, member->id);
  } else if (guard_ != nullptr && IsFresh(seat.state.mark)) {
    guard_->Admit(node);
  }
}

// The member whose place a node without data takes: the one that it was before, or the one that had
// its address. Null if there is none, or if that member is connected elsewhere.
const Member* Membership::StandsFor(NodeIndex node) const {
  const SetNodes::Seat& seat = nodes_[node];
  const SetRecord& record = set_->record();
  const Member* member = record.Find(seat.last_member);
  if (member == nullptr) {
    const auto found = std::ranges::find(record.members, seat.name, &Member::name);
    if (found == record.members.end()) return nullptr;
    member = &*found;
  }
  const bool elsewhere = std::ranges::any_of(nodes_, [&](const SetNodes::Seat& other) {
    return other.connected && other.state.member == member->id;
  });
  return elsewhere ? nullptr : member;
}

// Whether the node has been given everything since its process started. A mark of an earlier run
// may have come back with old data.
bool Membership::WasReadmitted(const SetNodes::Seat& seat) {
  return seat.state.readmitted == seat.state.mark && NamesRun(seat.state.mark, seat.run);
}

// Whether the node knows what it promised and accepted.
bool Membership::Remembers(NodeIndex node) const {
  return guard_ == nullptr || !guard_->HasOldData(node) || WasReadmitted(nodes_[node]);
}

bool Membership::HasOldData(NodeIndex node) const {
  return !Remembers(node) && IsProvisional(nodes_[node].state.mark);
}

// Only a node that remembers what it promised and accepted may promise again.
bool Membership::CanPromise(NodeIndex node) const {
  const SetNodes::Seat& seat = nodes_[node];
  const SetRecord& record = set_->record();
  if (!seat.connected || seat.state.record != record) return false;
  if (record.Find(seat.state.member) == nullptr || !set_->Contains(node)) return false;
  return Remembers(node);
}

bool Membership::AllMembersAreBack() const {
  std::set<std::string> back;  // one server may be connected twice
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    const SetNodes::Seat& seat = nodes_[node];
    if (!seat.connected || seat.state.member.empty()) continue;
    if (seat.state.record && set_->record().Find(seat.state.member) != nullptr) {
      back.insert(seat.state.member);
    } else if (const Member* const member = StandsFor(node)) {
      back.insert(member->id);
    }
  }
  return back.size() >= set_->size();
}

void Membership::Readmit(NodeIndex node, const std::string& member) {
  if (readmission_ || !nodes_[node].IsFree()) return;
  std::vector<NodeIndex> others;
  std::vector<NodeIndex> with_record;
  std::size_t intact = 0;  // members that can promise now or soon
  for (const NodeIndex other : set_->nodes()) {
    if (other == node) continue;
    const SetNodes::Seat& seat = nodes_[other];
    if (!seat.connected) continue;
    if (IsOfTheSet(seat.state) && !HasOldData(other)) ++intact;
    if (seat.state.record == set_->record()) with_record.push_back(other);
    if (CanPromise(other) && seat.IsFree()) others.push_back(other);
  }
  const bool with_promise = others.size() >= set_->quorum() && Has(Safeguard::kReadmission);
  if (!with_promise && Has(Safeguard::kReadmission)) {
    if (intact >= set_->quorum() || !AllMembersAreBack()) return;
    if (guard_ != nullptr && !guard_->IsQuarantineOver(node)) return;
  }
  const SetNodes::Seat& seat = nodes_[node];
  readmission_.emplace(
      nodes_, set_->record(),
      Readmission::Target{.node = node,
                          .member = member,
                          .mark = seat.state.mark,
                          .new_mark = guard_ == nullptr
                                          ? MakeMark(kEmptiedMark, seat.run, random_.Bits())
                                          : guard_->ProvisionalMark(node)});
  if (with_promise) {
    readmission_->Prepare(others, set_->quorum());
  } else {
    OnProgress(readmission_->WriteWithoutPromise(with_record));
  }
}

void Membership::OnProgress(Readmission::Progress progress) {
  if (progress == Readmission::Progress::kPending) return;
  const NodeIndex node = readmission_->node();
  readmission_.reset();
  if (guard_ != nullptr && progress == Readmission::Progress::kWritten) guard_->Readmitted(node);
}

std::optional<Membership::Refused> Membership::Refusal(NodeIndex node) const {
  if (!known()) {
    return Refused{mismatch_ ? Outcome::kOtherSet : Outcome::kQuarantined,
                   "no node set found yet: " + (trouble_.empty() ? "connecting" : trouble_)};
  }
  if (conflict_) return Refused{Outcome::kOtherSet, trouble_};
  if (set_->Contains(node)) return std::nullopt;
  const SetState& state = nodes_[node].state;
  if (state.record && state.record->set_id != set_->record().set_id) {
    return Refused{Outcome::kOtherSet, "it belongs to another node set"};
  }
  for (const NodeIndex other : set_->nodes()) {
    if (nodes_[other].connected && nodes_[other].state.member == state.member) {
      return Refused{Outcome::kOtherSet, "it is the same server as node " + nodes_[other].name +
                                             ", which has one vote"};
    }
  }
  return Refused{Outcome::kOtherSet, "it is not a member of the node set, and has no vote"};
}

std::string Membership::Trouble() const {
  if (!known()) return trouble_.empty() ? "connecting" : trouble_;
  if (conflict_) return trouble_;
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
  trouble_reported_ = false;
}

// Not at once: while a daemon starts, nodes connect one after the other.
void Membership::ReportTrouble() {
  if (trouble_.empty() || std::exchange(trouble_reported_, true)) return;
  report_(true, trouble_);
}

// Whether the node is connected and stores another record than the one in force.
bool Membership::HasOtherRecord(NodeIndex node) const {
  const SetNodes::Seat& seat = nodes_[node];
  const bool settled = scheduler_.Now() >= settled_;
  return seat.connected &&
         (!IsOfTheSet(seat.state) || (seat.state.stamp != set_->stamp() && settled));
}

bool Membership::IsAble(NodeIndex node) const {
  return nodes_[node].connected && !HasOtherRecord(node) &&
         (guard_ == nullptr || !guard_->Barred(node)) &&
         (grants_ == nullptr || grants_->CanGrant(node) || !Has(Safeguard::kHealthNeedsGrants));
}

bool Membership::HasQuorum() const {
  if (!known() || conflict_) return false;
  const auto able =
      std::ranges::count_if(set_->nodes(), [this](NodeIndex node) { return IsAble(node); });
  return static_cast<std::size_t>(able) >= set_->quorum();
}

std::optional<Error> Membership::Outage() const {
  if (HasQuorum()) return std::nullopt;
  if (!known() || conflict_) {
    return Error{.reason = mismatch_ ? Reason::kNodeSetMismatch : Reason::kQuorumUnavailable,
                 .message = (known() ? "" : "no node set found yet: ") + Trouble()};
  }
  if (auto mismatch = set_->Mismatch()) return mismatch;
  Error error{.reason = Reason::kQuorumUnavailable};
  std::size_t able = 0;
  std::string example;
  for (const NodeIndex node : set_->nodes()) {
    if (IsAble(node)) {
      ++able;
      continue;
    }
    std::string obstacle = ObstacleOf(node);
    if (obstacle.empty()) obstacle = "it has not answered yet";
    const bool other = HasOtherRecord(node) && (guard_ == nullptr || !guard_->Barred(node));
    if (other) {
      error.reason = Reason::kNodeSetMismatch;
      obstacle = "it belongs to another node set, or to another epoch of this one";
    }
    if (other || example.empty()) example = nodes_[node].name + ": " + obstacle;
  }
  error.message = "too few nodes are able to grant locks: " + std::to_string(able) + " of " +
                  std::to_string(set_->size()) + "; " + example;
  return error;
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
  nodes_.Wake();
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    if (nodes_[node].IsFree()) nodes_.Ask(node, {.kind = SetStep::Kind::kRead});
  }
  ReportTrouble();
  TellQuorum();
}

std::vector<PlanNode> Membership::NodesForPlan() const {
  std::vector<PlanNode> nodes;
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    PlanNode shown{.name = nodes_[node].name,
                   .id = nodes_[node].state.member,
                   .is_connected = nodes_[node].connected,
                   .obstacle = ObstacleOf(node)};
    shown.is_able = shown.obstacle.empty();
    nodes.push_back(std::move(shown));
  }
  return nodes;
}

// Why the node cannot vote, or could not if it were a member. Empty if it can.
std::string Membership::ObstacleOf(NodeIndex node) const {
  const SetNodes::Seat& seat = nodes_[node];
  if (!seat.connected) return "it is not connected: " + seat.down_because;
  if (seat.state.member.empty()) return "it has no id yet: try again";
  if (seat.state.record && !IsOfTheSet(seat.state)) {
    return "it belongs to another node set: if its data is not needed, run FLUSHALL on it first";
  }
  const bool is_member = set_->record().Find(seat.state.member) != nullptr;
  if (is_member && !seat.state.record) return "it has lost its data";
  if (const auto fault = grants_ == nullptr ? std::nullopt : grants_->Fault(node)) {
    return "it cannot grant locks: " + *fault;
  }
  if (guard_ == nullptr) return {};
  const auto barred = is_member ? guard_->Barred(node) : guard_->Paused(node);
  return barred ? "it is quarantined " + *barred : "";
}

std::optional<Duration> Membership::WaitLeft() const {
  return change_ && known() ? change_->WaitLeft() : std::nullopt;
}

void Membership::WatchRecord(std::function<void(const SetRecord&)> told) {
  record_told_ = std::move(told);
  if (known()) record_told_(set_->record());
}

Membership::Started Membership::Change(ChangeRequest request, ChangeTold told) {
  REDLOCK_CHECK(change_.has_value());
  if (!known()) return {.refusal = "no node set found yet: " + Trouble(), .handle = {}};
  if (auto refusal = change_->Request(std::move(request))) {
    return {.refusal = std::move(refusal), .handle = {}};
  }
  Started started{.refusal = {}, .handle = change_->Follow(std::move(told))};
  Consider();
  return started;
}

std::shared_ptr<void> Membership::Create(ChangeTold told) {
  may_create_ = true;
  const auto creator = std::shared_ptr<Creator>(new Creator{std::move(told), std::nullopt});
  creators_.push_back(creator);
  Consider();
  return creator;
}

void Membership::TellCreators() {
  const ChangeProgress progress{.steps_done = known() ? 1U : 0U,
                                .steps = 1,
                                .message = known() ? "" : Trouble(),
                                .complete = known(),
                                .failure = {}};
  for (const auto& weak : std::exchange(creators_, {})) {
    const auto creator = weak.lock();
    if (!creator) continue;
    if (!known()) creators_.push_back(creator);
    if (creator->last == progress) continue;
    creator->last = progress;
    creator->told(progress);
  }
}

}  // namespace redlock
