#include "server/observe/view.h"

#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <tuple>
#include <utility>

#include "server/observe/audit_log.h"
#include "server/observe/log.h"

namespace redlock::observe {
namespace {

constexpr auto kPatience = std::chrono::seconds(2);

constexpr std::size_t kMostLeases = 200;
// One key with many waiters must not hide the others.
constexpr std::size_t kMostWaitersOfKey = 20;

bool InTrouble(const LeaseListing& lease) {
  return lease.failures > 0 || lease.kind == LeaseListing::Kind::kLost;
}

void AddLeases(const Shard& shard, View& view) {
  for (LeaseListing& lease : shard.ListLeases()) {
    if (lease.position < kMostWaitersOfKey) view.leases.push_back(std::move(lease));
  }
  // Runs on the shard's strand, so only the leases that are shown are sorted.
  const std::size_t shown = std::min(view.leases.size(), kMostLeases);
  std::partial_sort(view.leases.begin(), view.leases.begin() + static_cast<std::ptrdiff_t>(shown),
                    view.leases.end(), [](const LeaseListing& a, const LeaseListing& b) {
                      return std::make_tuple(!InTrouble(a), a.key.names(), a.kind, a.position) <
                             std::make_tuple(!InTrouble(b), b.key.names(), b.kind, b.position);
                    });
  view.leases.resize(shown);
  const auto& losses = shard.losses().losses();
  view.losses.insert(view.losses.end(), losses.begin(), losses.end());
  std::stable_sort(view.losses.begin(), view.losses.end(),
                   [](const Loss& a, const Loss& b) { return a.at > b.at; });
  if (view.losses.size() > LossLog::kMost) view.losses.resize(LossLog::kMost);
}

NodeSetView ViewOf(const Membership& membership) {
  const NodeSet& set = *membership.set();
  return {.found = membership.known(),
          .id = set.record().set_id,
          .epoch = set.record().epoch,
          .members = set.record().members.size(),
          .quorum = set.quorum(),
          .mismatches = membership.mismatches(),
          .wanted = set.record().wanted_add.size() + set.record().wanted_remove.size(),
          .trouble = membership.Trouble()};
}

void AddSet(const Membership& membership, View& view) {
  NodeSetView seen = ViewOf(membership);
  if (view.set) {
    NodeSetView& so_far = *view.set;
    seen.mismatches += so_far.mismatches;
    // A set that was not found has epoch 0.
    if (so_far.epoch < seen.epoch || (so_far.epoch == seen.epoch && seen.trouble.empty())) {
      so_far.mismatches = seen.mismatches;
      seen = so_far;
    }
  }
  const bool first = !view.set;
  view.set = std::move(seen);
  for (NodeIndex node = 0; node < view.nodes.size(); ++node) {
    NodeView& of_node = view.nodes[node];
    of_node.connected = (of_node.connected || first) && membership.IsConnected(node);
    if (!membership.IsConnected(node)) of_node.down_because = membership.DownBecause(node);
    if (auto refused = membership.Refusal(node)) of_node.refused = std::move(refused);
  }
}

void AddGuard(const NodeGuard& guard, View& view) {
  view.guarded = true;
  for (NodeIndex node = 0; node < view.nodes.size(); ++node) {
    NodeView& seen = view.nodes[node];
    // A node that has no vote grants nothing anyway, and alarms nobody.
    if (!seen.refused || seen.refused->outcome != Outcome::kOtherSet) {
      if (auto barred = guard.Barred(node)) seen.barred = std::move(barred);
      seen.quarantine_left = std::max(seen.quarantine_left, guard.QuarantineLeft(node));
    }
    seen.clock_offset = guard.ClockOffset(node);
    seen.version = guard.Version(node);
  }
}

void AddGrants(const GrantWatch& grants, View& view) {
  for (NodeIndex node = 0; node < view.nodes.size(); ++node) {
    view.nodes[node].fault = grants.Fault(node);
    view.nodes[node].flaw = grants.Flaw(node);
    view.nodes[node].can_grant = grants.CanGrant(node);
  }
}

void AddGroups(const Shard& shard, View& view) {
  const std::vector<GroupNow> groups = shard.Groups();
  view.groups.resize(groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    view.groups[i].oldest =
        std::max(view.groups[i].oldest, groups[i].oldest);  // unset is the smallest
    view.groups[i].waiters += groups[i].waiters;
    view.waiters += groups[i].waiters;
  }
}

void Add(const Shard& shard, View& view) {
  view.statistics += shard.statistics();
  view.operations += shard.operations();
  AddGroups(shard, view);
  view.watchdogs += shard.watchdogs();
  view.observers += shard.observers();
  view.draining = shard.draining();
  if (const Membership* const membership = shard.membership()) AddSet(*membership, view);
  if (const NodeGuard* const guard = shard.guard()) AddGuard(*guard, view);
  if (const GrantWatch* const grants = shard.grants()) AddGrants(*grants, view);
}

}  // namespace

std::optional<View> TakeView(const std::vector<std::string>& node_names, runtime::ShardPool& shards,
                             Detail detail) {
  View view;
  view.dropped_log_lines = DroppedLogLines();
  view.dropped_audit_lines = DroppedAuditLines();
  view.statistics = Statistics(node_names.size());
  for (const std::string& name : node_names)
    view.nodes.push_back({.name = name,
                          .refused = {},
                          .down_because = {},
                          .barred = {},
                          .fault = {},
                          .flaw = {},
                          .version = {}});
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  for (const auto& shard : shards.shards()) {
    // Shared, because the shard may run the work after this function has timed out.
    const auto seen = std::make_shared<std::promise<View>>();
    auto answer = seen->get_future();
    shard->Do([seen, detail, so_far = view](Shard& core) mutable {
      Add(core, so_far);
      if (detail == Detail::kLeases) AddLeases(core, so_far);
      seen->set_value(std::move(so_far));
    });
    if (answer.wait_until(give_up) != std::future_status::ready) return std::nullopt;
    view = answer.get();
  }
  for (NodeView& node : view.nodes) {
    node.can_grant = node.can_grant && node.connected && !node.refused && !node.barred;
  }
  return view;
}

}  // namespace redlock::observe
