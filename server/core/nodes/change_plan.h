// Plans a change of the node set: which record comes next. Pure.
//
// A change is a number of steps, each of which adds or removes one member, so that every quorum of
// one set meets every quorum of the next. What is still wanted is part of the record.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "server/core/nodes/set_record.h"

namespace redlock {

inline constexpr Duration kLeastMaxTtl = std::chrono::milliseconds(100);
inline constexpr Duration kMostMaxTtl = std::chrono::hours(24);

struct ChangeRequest {
  std::vector<std::string> add;     // addresses of configured nodes
  std::vector<std::string> remove;  // addresses or ids of members
  std::optional<Duration> max_ttl;  // kLeastMaxTtl to kMostMaxTtl
  bool abort = false;
};

// A configured node, as this daemon sees it.
struct PlanNode {
  std::string name;
  std::string id;  // that the node reports; empty if it has none
  bool is_connected = false;
  bool is_able = false;  // can vote, or could if it were a member
  std::string obstacle;  // why it is not able
};

class ChangePlan {
 public:
  // Both must outlive this.
  ChangePlan(const SetRecord& record, const std::vector<PlanNode>& nodes)
      : record_(record), nodes_(nodes) {}

  // Returns why the request cannot be carried out, for people; nothing if it can be.
  [[nodiscard]] std::optional<std::string> Refusal(const ChangeRequest& request) const;
  // The first step of a request that is not refused.
  [[nodiscard]] std::optional<SetRecord> First(const ChangeRequest& request) const;
  // The next step of the change that is under way. Nothing if a node that it needs is not able.
  [[nodiscard]] std::optional<SetRecord> Next() const;
  // Why Next() returns nothing, for people.
  [[nodiscard]] std::string Obstacle() const;
  // Goes back to the members of the previous epoch, and drops the rest of the change.
  [[nodiscard]] SetRecord Undo() const;
  // The number of steps of a request that is not refused.
  [[nodiscard]] static std::size_t Steps(const ChangeRequest& request);
  // The name of a member that is new in this epoch and not able; nothing if all are.
  [[nodiscard]] std::optional<std::string> AddedButNotUp() const;
  // Whether one of them is known to be gone: its node is configured here, and is not connected, or
  // is another one now.
  [[nodiscard]] bool IsAddedOneGone() const;

 private:
  [[nodiscard]] std::optional<std::string> RefusalToAdd(const std::string& name) const;
  [[nodiscard]] const Member* FindMember(const std::string& name_or_id) const;
  [[nodiscard]] bool IsNew(const Member& member) const;
  [[nodiscard]] const PlanNode* NodeNamed(const std::string& name) const;
  [[nodiscard]] const PlanNode* NodeOf(const Member& member) const;
  [[nodiscard]] bool IsAble(const Member& member) const;
  // The record of the next epoch with the same members.
  [[nodiscard]] SetRecord Successor() const;
  // Takes one of the wanted steps.
  [[nodiscard]] std::optional<SetRecord> Step(SetRecord next) const;
  [[nodiscard]] const PlanNode* ToAdd(const SetRecord& next) const;

  const SetRecord& record_;
  const std::vector<PlanNode>& nodes_;
};

}  // namespace redlock
