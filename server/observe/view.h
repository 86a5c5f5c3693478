// What the daemon is doing at a moment, gathered from its shards: for metrics and the status page.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/core/statistics.h"
#include "server/runtime/shard_thread.h"

namespace redlock::observe {

struct NodeView {
  std::string name;
  bool connected = false;             // to at least one shard
  std::optional<std::string> barred;  // why, with the time left
  Duration quarantine_left{};
  Duration clock_offset{};
  std::string version;
};

struct View {
  Statistics statistics{0};
  std::size_t operations = 0;  // under way, those that wait and watchdogs included
  std::size_t waiters = 0;
  std::size_t watchdogs = 0;
  bool guarded = false;  // else only the names of the nodes are known
  std::vector<NodeView> nodes;
  bool draining = false;

  // Where asked for: some of what is watched and waited for, what is in trouble first, and losses,
  // the newest first.
  std::vector<LeaseListing> leases;
  std::vector<Loss> losses;
};

enum class Detail { kNumbers, kLeases };

// Visits every shard. From any thread but a shard's. Nothing where one does not answer in time.
[[nodiscard]] std::optional<View> TakeView(const std::vector<std::string>& node_names,
                                           runtime::ShardPool& shards, Detail detail);

}  // namespace redlock::observe
