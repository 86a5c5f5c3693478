// A snapshot of the daemon's state, gathered from its shards, for metrics and the status page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/core/statistics.h"
#include "server/runtime/shard_thread.h"

namespace redlock::observe {

struct NodeView {
  std::string name;
  bool connected = false;  // every shard is connected to the node
  // Why the node has no vote in the node set. Its outcome is as in Membership::Refusal().
  std::optional<Membership::Refused> refused;
  std::string down_because;           // why it is not connected
  std::optional<std::string> barred;  // why the node is quarantined, with the time left
  std::optional<std::string> fault;   // why the node cannot grant, although it is connected
  std::string flaw;                   // what is wrong with a node that can grant nevertheless
  bool can_grant = false;             // connected, a member, not quarantined, and able to grant
  Duration quarantine_left{};
  Duration clock_offset{};
  std::string version;
};

// The node set in force. If the shards differ, as during a change: the one with the lowest epoch.
struct NodeSetView {
  bool found = false;  // by every shard
  std::string id;
  std::uint64_t epoch = 0;
  std::size_t members = 0;
  std::size_t quorum = 0;  // without a set: of the configured nodes
  std::uint64_t mismatches = 0;
  // The steps of the change that is under way.
  std::size_t wanted = 0;
  std::string trouble;
};

struct View {
  Statistics statistics{0};
  std::size_t operations = 0;  // in progress, including waiters and watchdogs
  std::size_t waiters = 0;
  std::vector<GroupNow> groups;  // by the index of KeyGroups
  std::size_t watchdogs = 0;
  std::size_t observers = 0;
  bool guarded = false;  // false: the nodes' clocks and versions are unknown, and none is barred
  std::optional<NodeSetView> set;
  std::vector<NodeView> nodes;
  bool draining = false;
  std::uint64_t dropped_log_lines = 0;
  std::uint64_t dropped_audit_lines = 0;

  // Only with Detail::kLeases: up to 200 watched leases and waiters, of these the first 20 of each
  // key, those in trouble first; and losses, the newest first.
  std::vector<LeaseListing> leases;
  std::vector<Loss> losses;
};

enum class Detail { kNumbers, kLeases };

// Queries every shard. May be called from any thread except a shard's. Returns nothing if a shard
// does not answer in time.
[[nodiscard]] std::optional<View> TakeView(const std::vector<std::string>& node_names,
                                           runtime::ShardPool& shards, Detail detail);

}  // namespace redlock::observe
