#include "server/core/nodes/change_plan.h"

#include <algorithm>
#include <set>
#include <utility>

#include "server/core/format.h"
#include "server/core/nodes/quorum.h"

namespace redlock {
namespace {

void Insert(std::vector<Member>& members, Member member) {
  members.insert(std::ranges::lower_bound(members, member.id, {}, &Member::id), std::move(member));
}

void Erase(std::vector<std::string>& texts, const std::string& text) {
  texts.erase(std::ranges::find(texts, text));
}

}  // namespace

const Member* ChangePlan::FindMember(const std::string& name_or_id) const {
  if (const Member* const member = record_.Find(name_or_id)) return member;
  const auto by_name = std::ranges::find(record_.members, name_or_id, &Member::name);
  if (by_name != record_.members.end()) return &*by_name;
  // By the address under which this daemon reaches it.
  const PlanNode* const node = NodeNamed(name_or_id);
  return node == nullptr ? nullptr : record_.Find(node->id);
}

const PlanNode* ChangePlan::NodeOf(const Member& member) const {
  const auto node = std::ranges::find(nodes_, member.id, &PlanNode::id);
  return node == nodes_.end() ? nullptr : &*node;
}

const PlanNode* ChangePlan::NodeNamed(const std::string& name) const {
  const auto node = std::ranges::find(nodes_, name, &PlanNode::name);
  return node == nodes_.end() ? nullptr : &*node;
}

bool ChangePlan::IsAble(const Member& member) const {
  const PlanNode* const node = NodeOf(member);
  return node != nullptr && node->is_able;
}

std::optional<std::string> ChangePlan::RefusalToAdd(const std::string& name) const {
  const PlanNode* const node = NodeNamed(name);
  if (const Member* const member = FindMember(name)) {
    return "node " + name + " is a member already, with the id " + member->id;
  }
  if (node == nullptr) {
    return "node " + name + " is not configured at this daemon: start all daemons with --node " +
           name + " first";
  }
  if (!node->is_able) return "node " + name + " cannot be added: " + node->obstacle;
  return std::nullopt;
}

std::optional<std::string> ChangePlan::Refusal(const ChangeRequest& request) const {
  if (request.abort) {
    if (record_.IsChanging()) return std::nullopt;
    return "no change of the node set is under way";
  }
  if (record_.IsChanging()) {
    return "another change of the node set is under way: wait for it, or abort it with: redlockctl "
           "nodes abort";
  }
  if (request.max_ttl) {
    if (*request.max_ttl < kLeastMaxTtl || *request.max_ttl > kMostMaxTtl) {
      return "max_ttl " + InWords(*request.max_ttl) + ": must be from " + InWords(kLeastMaxTtl) +
             " to " + InWords(kMostMaxTtl);
    }
    if (*request.max_ttl == record_.max_ttl && request.add.empty() && request.remove.empty()) {
      return "max_ttl is " + InWords(record_.max_ttl) + " already";
    }
  }
  std::set<std::string> ids;
  for (const std::string& name : request.add) {
    if (auto why = RefusalToAdd(name)) return why;
    const PlanNode* const node = NodeNamed(name);
    if (!ids.insert(node->id).second) return "node " + name + " is to be added twice";
  }
  std::set<std::string> removed;
  for (const std::string& name : request.remove) {
    const Member* const member = FindMember(name);
    if (member == nullptr) {
      return "node " + name +
             " is not a member of the node set; list the members with: redlockctl "
             "nodes list";
    }
    if (!removed.insert(member->id).second) return "node " + name + " is to be removed twice";
  }
  const std::size_t size = record_.members.size() + ids.size() - removed.size();
  if (size == 0) return "a node set needs at least one member";
  if (size > kMostMembers) {
    return "a node set has at most " + std::to_string(kMostMembers) + " members";
  }
  std::size_t able = ids.size();
  std::size_t able_now = 0;
  for (const Member& member : record_.members) {
    if (!IsAble(member)) continue;
    ++able_now;
    if (!removed.contains(member.id)) ++able;
  }
  if (able_now < QuorumOf(record_.members.size())) {
    return "only " + std::to_string(able_now) + " of " + std::to_string(record_.members.size()) +
           " members are up: a quorum must decide the change";
  }
  if (able < QuorumOf(size)) {
    return "only " + std::to_string(able) + " of the " + std::to_string(size) +
           " members of the new set are up, which is no quorum";
  }
  return std::nullopt;
}

std::size_t ChangePlan::Steps(const ChangeRequest& request) {
  return std::max<std::size_t>(request.add.size() + request.remove.size(), 1);
}

SetRecord ChangePlan::Successor() const {
  SetRecord next = record_;
  ++next.epoch;
  next.before = record_.members;
  next.wait = record_.max_ttl;
  return next;
}

std::optional<SetRecord> ChangePlan::First(const ChangeRequest& request) const {
  SetRecord next = Successor();
  if (request.max_ttl) {
    next.max_ttl = std::chrono::floor<std::chrono::milliseconds>(*request.max_ttl);
    next.wait = std::max(record_.max_ttl, next.max_ttl);
  }
  next.wanted_add = request.add;
  for (const std::string& name : request.remove) {
    if (const Member* const member = FindMember(name)) next.wanted_remove.push_back(member->id);
  }
  return next.IsChanging() ? Step(std::move(next)) : next;
}

std::optional<SetRecord> ChangePlan::Next() const { return Step(Successor()); }

const PlanNode* ChangePlan::ToAdd(const SetRecord& next) const {
  for (const std::string& name : next.wanted_add) {
    const PlanNode* const node = NodeNamed(name);
    if (node != nullptr && node->is_able && next.Find(node->id) == nullptr) return node;
  }
  return nullptr;
}

std::optional<SetRecord> ChangePlan::Step(SetRecord next) const {
  std::vector<const Member*> removable;
  for (const std::string& id : next.wanted_remove) {
    if (const Member* const member = record_.Find(id)) removable.push_back(member);
  }
  const auto dead =
      std::ranges::find_if(removable, [this](const Member* m) { return !IsAble(*m); });
  const PlanNode* const added = ToAdd(next);
  // A dead member goes first. Otherwise members are added first, so that the set is never smaller
  // than before, and replaced one by one.
  const bool is_odd = next.members.size() % 2 == 1;
  const bool add_first = removable.empty() || is_odd || next.members.size() == 2;
  if (dead == removable.end() && added != nullptr && add_first) {
    Insert(next.members, {added->id, added->name});
    Erase(next.wanted_add, added->name);
    return next;
  }
  // What cannot be added now must not be missing after the removal.
  const bool waits_for_node = added == nullptr && !next.wanted_add.empty() && add_first;
  if (removable.empty() || (waits_for_node && dead == removable.end())) {
    return std::nullopt;
  }
  const std::string id = (dead == removable.end() ? removable.front() : *dead)->id;
  std::erase_if(next.members, [&id](const Member& member) { return member.id == id; });
  Erase(next.wanted_remove, id);
  const auto able =
      std::ranges::count_if(next.members, [this](const Member& m) { return IsAble(m); });
  if (static_cast<std::size_t>(able) < QuorumOf(next.members.size())) return std::nullopt;
  return next;
}

std::string ChangePlan::Obstacle() const {
  for (const std::string& name : record_.wanted_add) {
    const PlanNode* const node = NodeNamed(name);
    if (node == nullptr) return "node " + name + " is not configured at this daemon";
    if (!node->is_able) return "node " + name + " cannot be added: " + node->obstacle;
  }
  return "too few members are up";
}

SetRecord ChangePlan::Undo() const {
  SetRecord next = Successor();
  next.members = record_.before;
  next.wait = std::max(record_.wait, record_.max_ttl);
  next.wanted_add.clear();
  next.wanted_remove.clear();
  return next;
}

bool ChangePlan::IsNew(const Member& member) const {
  return !record_.before.empty() &&
         std::ranges::find(record_.before, member.id, &Member::id) == record_.before.end();
}

std::optional<std::string> ChangePlan::AddedButNotUp() const {
  for (const Member& member : record_.members) {
    if (IsNew(member) && !IsAble(member)) return member.name;
  }
  return std::nullopt;
}

bool ChangePlan::IsAddedOneGone() const {
  return std::ranges::any_of(record_.members, [this](const Member& member) {
    if (!IsNew(member)) return false;
    const PlanNode* node = NodeOf(member);
    if (node != nullptr) return !node->is_connected;
    return NodeNamed(member.name) != nullptr;
  });
}

}  // namespace redlock
