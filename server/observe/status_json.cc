#include "server/observe/status_json.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "server/core/nodes/quorum.h"
#include "server/observe/origin.h"

namespace redlock::observe {
namespace {

using nlohmann::json;

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

double Seconds(WallTime time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

const char* StateOf(const NodeView& node) {
  if (!node.connected) return "down";
  if (node.refused && node.refused->outcome == Outcome::kOtherSet) return "not a member";
  if (node.refused || node.barred) return "quarantined";
  return node.fault ? "down" : "up";
}

std::string WhatIsWrong(const NodeView& node) {
  if (node.refused) return node.refused->why;
  if (!node.connected) return "not connected: " + node.down_because;
  if (node.barred) return *node.barred;
  return node.fault ? "it cannot grant locks: " + *node.fault : node.flaw;
}

json ToJson(const Histogram& answer_times) {
  const auto seconds = [&answer_times](double part) {
    const auto found = answer_times.QuantileSeconds(part);
    return found ? json(*found) : json();
  };
  return {{"answers", answer_times.count()}, {"p50", seconds(0.5)}, {"p99", seconds(0.99)}};
}

json ToJson(const NodeView& node, const Histogram& answer_times) {
  return {{"name", node.name},
          {"state", StateOf(node)},
          {"why", WhatIsWrong(node)},
          {"version", node.version},
          {"quarantine_left", Seconds(node.quarantine_left)},
          {"clock_offset", Seconds(node.clock_offset)},
          {"latency", ToJson(answer_times)}};
}

json ToJson(const NodeSetView& set) {
  return {{"found", set.found},     {"id", set.id},         {"epoch", set.epoch},
          {"members", set.members}, {"quorum", set.quorum}, {"wanted", set.wanted},
          {"trouble", set.trouble}};
}

const char* NameOf(LeaseListing::Kind kind) {
  switch (kind) {
    case LeaseListing::Kind::kWatched:
      return "watched";
    case LeaseListing::Kind::kLost:
      return "lost";
    case LeaseListing::Kind::kWaiting:
      return "waiting";
  }
  return "";
}

json ToJson(const LeaseListing& lease) {
  const OriginParts origin = Decode(lease.owner.origin);
  const auto held_for = HeldFor(lease.owner);
  json keys = json::array();
  lease.key.ForEach([&keys](std::string_view name) { keys.push_back(name); });
  return {{"key", lease.key.InWords()},
          {"keys", std::move(keys)},
          {"kind", NameOf(lease.kind)},
          {"validity", Seconds(lease.validity)},
          {"failures", lease.failures},
          {"position", lease.position},
          {"owner", lease.owner.label.value()},
          {"identity", origin.identity},
          {"peer", origin.peer},
          {"held_for", held_for ? json(Seconds(*held_for)) : json()},
          {"waited", Seconds(lease.waited)},
          {"fencing_token", lease.fence.value},
          {"shared", lease.key.IsShared()},
          {"max_holders", lease.key.limit()},
          {"slot", lease.key.slot()}};
}

json ToJson(const Trend::Point& point) {
  return {{"at", Seconds(point.at)},
          {"acquired", point.acquired_per_second},
          {"wait", point.wait ? json(Seconds(*point.wait)) : json()}};
}

json ToJson(const Loss& loss) {
  return {{"key", loss.key.InWords()}, {"at", Seconds(loss.at)}, {"message", loss.message}};
}

std::uint64_t Failed(const Results& results) {
  std::uint64_t failed = 0;
  for (const Reason reason : kReasons) failed += results.failed(reason);
  return failed;
}

}  // namespace

std::string ToStatusJson(const View& view, const Trend& trend, std::size_t streams, bool keys_shown,
                         const std::string& version) {
  json nodes = json::array();
  std::size_t voting = 0;
  for (NodeIndex i = 0; i < view.nodes.size(); ++i) {
    nodes.push_back(ToJson(view.nodes[i], trend.AnswerTimes(i)));
    voting += view.nodes[i].can_grant ? 1U : 0U;
  }
  json leases = json::array();
  for (const LeaseListing& lease : view.leases) leases.push_back(ToJson(lease));
  json losses = json::array();
  for (const Loss& loss : view.losses) losses.push_back(ToJson(loss));
  json points = json::array();
  for (const Trend::Point& point : trend.points()) points.push_back(ToJson(point));
  const NodeSetView set = view.set.value_or(NodeSetView{.quorum = QuorumOf(view.nodes.size())});
  const Statistics& statistics = view.statistics;
  const json status = {
      {"version", version},
      {"time", Seconds(std::chrono::system_clock::now())},
      {"draining", view.draining},
      {"quorum", {{"needed", set.quorum}, {"voting", voting}, {"reachable", voting >= set.quorum}}},
      {"node_set", ToJson(set)},
      {"nodes", std::move(nodes)},
      {"watched", view.watchdogs},
      {"waiters", view.waiters},
      {"streams", streams},
      {"totals",
       {{"acquired", statistics.acquisitions.done()},
        {"refused", Failed(statistics.acquisitions)},
        {"extended", statistics.extensions.done()},
        {"released", statistics.releases.done()},
        {"lost", statistics.lost_leases}}},
      {"trend", std::move(points)},
      {"keys_shown", keys_shown},
      {"leases", std::move(leases)},
      {"losses", std::move(losses)}};
  // Texts from nodes may contain invalid UTF-8, which dump() would otherwise reject.
  return status.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace redlock::observe
