#include "server/observe/view.h"

#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <tuple>
#include <utility>

namespace redlock::observe {
namespace {

constexpr auto kPatience = std::chrono::seconds(2);

constexpr std::size_t kMostLeases = 200;

bool InTrouble(const LeaseListing& lease) {
  return lease.failures > 0 || lease.kind == LeaseListing::Kind::kLost;
}

void AddLeases(const Shard& shard, View& view) {
  for (LeaseListing& lease : shard.ListLeases()) view.leases.push_back(std::move(lease));
  // Runs on the shard's strand, so only the leases that are shown are sorted.
  const std::size_t shown = std::min(view.leases.size(), kMostLeases);
  std::partial_sort(
      view.leases.begin(), view.leases.begin() + static_cast<std::ptrdiff_t>(shown),
      view.leases.end(), [](const LeaseListing& a, const LeaseListing& b) {
        return std::make_tuple(!InTrouble(a), std::cref(a.key.value()), a.kind, a.position) <
               std::make_tuple(!InTrouble(b), std::cref(b.key.value()), b.kind, b.position);
      });
  view.leases.resize(shown);
  const auto& losses = shard.losses().losses();
  view.losses.insert(view.losses.end(), losses.begin(), losses.end());
  std::stable_sort(view.losses.begin(), view.losses.end(),
                   [](const Loss& a, const Loss& b) { return a.at > b.at; });
  if (view.losses.size() > LossLog::kMost) view.losses.resize(LossLog::kMost);
}

void Add(const Shard& shard, View& view) {
  view.statistics += shard.statistics();
  view.operations += shard.operations();
  view.waiters += shard.waiters();
  view.watchdogs += shard.watchdogs();
  view.draining = shard.draining();
  const NodeGuard* const guard = shard.guard();
  view.guarded = guard != nullptr;
  if (guard == nullptr) return;
  for (NodeIndex node = 0; node < view.nodes.size(); ++node) {
    NodeView& seen = view.nodes[node];
    seen.connected = seen.connected || guard->IsConnected(node);
    if (auto barred = guard->Barred(node)) seen.barred = std::move(barred);
    seen.quarantine_left = std::max(seen.quarantine_left, guard->QuarantineLeft(node));
    seen.clock_offset = guard->ClockOffset(node);
    seen.version = guard->Version(node);
  }
}

}  // namespace

std::optional<View> TakeView(const std::vector<std::string>& node_names, runtime::ShardPool& shards,
                             Detail detail) {
  View view;
  view.statistics = Statistics(node_names.size());
  for (const std::string& name : node_names)
    view.nodes.push_back({.name = name, .barred = {}, .version = {}});
  for (const auto& shard : shards.shards()) {
    // Shared, because the shard may run the work after this function has timed out.
    const auto seen = std::make_shared<std::promise<View>>();
    auto answer = seen->get_future();
    shard->Do([seen, detail, so_far = view](Shard& core) mutable {
      Add(core, so_far);
      if (detail == Detail::kLeases) AddLeases(core, so_far);
      seen->set_value(std::move(so_far));
    });
    if (answer.wait_for(kPatience) != std::future_status::ready) return std::nullopt;
    view = answer.get();
  }
  return view;
}

}  // namespace redlock::observe
