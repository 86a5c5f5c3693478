#include "server/observe/view.h"

#include <algorithm>
#include <future>
#include <memory>
#include <utility>

namespace redlock::observe {
namespace {

constexpr auto kPatience = std::chrono::seconds(2);

void Add(const Shard& shard, View& view) {
  view.statistics += shard.statistics();
  view.operations += shard.operations();
  view.waiters += shard.waiters();
  view.watchdogs += shard.watchdogs();
  const NodeGuard* const guard = shard.guard();
  view.guarded = guard != nullptr;
  if (guard == nullptr) return;
  for (NodeIndex node = 0; node < view.nodes.size(); ++node) {
    NodeView& seen = view.nodes[node];
    seen.connected = seen.connected || guard->IsConnected(node);
    if (auto barred = guard->Barred(node)) seen.barred = std::move(barred);
    seen.quarantine_left = std::max(seen.quarantine_left, guard->QuarantineLeft(node));
    seen.clock_offset = guard->ClockOffset(node);
  }
}

}  // namespace

std::optional<View> Look(const std::vector<std::string>& node_names, runtime::ShardPool& shards) {
  View view;
  view.statistics = Statistics(node_names.size());
  for (const std::string& name : node_names) view.nodes.push_back({.name = name, .barred = {}});
  for (const auto& shard : shards.shards()) {
    // Shared, because the shard may come to it only after nobody waits any more.
    const auto seen = std::make_shared<std::promise<View>>();
    auto answer = seen->get_future();
    shard->Do([seen, so_far = view](Shard& core) mutable {
      Add(core, so_far);
      seen->set_value(std::move(so_far));
    });
    if (answer.wait_for(kPatience) != std::future_status::ready) return std::nullopt;
    view = answer.get();
  }
  return view;
}

}  // namespace redlock::observe
