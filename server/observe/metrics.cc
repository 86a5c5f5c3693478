#include "server/observe/metrics.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <string_view>
#include <utility>

namespace redlock::observe {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Families {
 public:
  void Counter(const std::string& name, const std::string& help, Labels labels,
               std::uint64_t value) {
    ClientMetric metric;
    metric.counter.value = static_cast<double>(value);
    Add(name, help, MetricType::Counter, std::move(labels), std::move(metric));
  }
  void Gauge(const std::string& name, const std::string& help, Labels labels, double value) {
    ClientMetric metric;
    metric.gauge.value = value;
    Add(name, help, MetricType::Gauge, std::move(labels), std::move(metric));
  }
  void Times(const std::string& name, const std::string& help, const Histogram& histogram) {
    ClientMetric metric;
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < histogram.counts().size(); ++i) {
      cumulative += histogram.counts()[i];
      const bool last = i == Histogram::kBoundsSeconds.size();
      metric.histogram.bucket.push_back({cumulative, last ? std::numeric_limits<double>::infinity()
                                                          : Histogram::kBoundsSeconds.at(i)});
    }
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = histogram.sum_seconds();
    Add(name, help, MetricType::Histogram, {}, std::move(metric));
  }

  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  void Add(const std::string& name, const std::string& help, MetricType type, Labels labels,
           ClientMetric metric) {
    metric.label = std::move(labels);
    if (families_.empty() || families_.back().name != name) {
      families_.push_back({name, help, type, {}});
    }
    families_.back().metric.push_back(std::move(metric));
  }

  std::vector<MetricFamily> families_;
};

// As label values are written: "LOCK_NOT_HELD" and "not held" as "lock_not_held", "not_held".
std::string Label(std::string_view text) {
  std::string label(text);
  std::transform(label.begin(), label.end(), label.begin(), [](unsigned char c) {
    return c == ' ' ? '_' : static_cast<char>(std::tolower(c));
  });
  return label;
}

void AddOperations(Families& families, const Statistics& statistics) {
  const std::pair<const char*, const Results&> verbs[] = {{"acquire", statistics.acquisitions},
                                                          {"extend", statistics.extensions},
                                                          {"release", statistics.releases}};
  for (const auto& [name, results] : verbs) {
    const auto add = [&families, verb = name](std::string result, std::uint64_t count) {
      families.Counter("redlockd_operations_total", "Operations, by how they ended",
                       {{"verb", verb}, {"result", std::move(result)}}, count);
    };
    add("ok", results.done());
    for (const Reason reason : kReasons) add(Label(ToString(reason)), results.failed(reason));
  }
  families.Times("redlockd_acquire_duration_seconds",
                 "From the request to the lock, waiting included", statistics.acquisition_times);
  families.Times("redlockd_round_duration_seconds",
                 "From the first byte sent to the nodes to the decision", statistics.round_times);
  families.Counter("redlockd_hand_overs_total", "Locks handed to the next in line by their release",
                   {}, statistics.hand_overs);
  families.Counter("redlockd_lost_leases_total", "Leases whose loss a watchdog has told", {},
                   statistics.lost_leases);
}

void AddNodes(Families& families, const View& view) {
  for (std::size_t node = 0; node < view.nodes.size(); ++node) {
    for (const Outcome outcome : kOutcomes) {
      families.Counter("redlockd_node_votes_total", "Answers that were counted in rounds",
                       {{"node", view.nodes[node].name}, {"outcome", Label(ToString(outcome))}},
                       view.statistics.nodes[node].votes[static_cast<std::size_t>(outcome)]);
    }
  }
  if (!view.guarded) return;
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_connected", "1 while the node can be asked",
                   {{"node", node.name}}, node.connected ? 1 : 0);
  }
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_quarantined",
                   "1 while the node is barred from granting locks (node guard, clock guard)",
                   {{"node", node.name}}, node.barred ? 1 : 0);
  }
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_quarantine_left_seconds", "How long that will last at the least",
                   {{"node", node.name}},
                   std::chrono::duration<double>(node.quarantine_left).count());
  }
  for (std::size_t node = 0; node < view.nodes.size(); ++node) {
    families.Counter("redlockd_node_quarantines_total", "Times that the node was barred",
                     {{"node", view.nodes[node].name}}, view.statistics.nodes[node].quarantines);
  }
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_clock_offset_seconds",
                   "The node's wall clock less this machine's, when it was last read",
                   {{"node", node.name}}, std::chrono::duration<double>(node.clock_offset).count());
  }
}

}  // namespace

std::vector<MetricFamily> ToMetrics(const View& view, std::size_t streams,
                                    const std::string& version) {
  Families families;
  families.Gauge("redlockd_build_info", "Constant 1, for its label", {{"version", version}}, 1);
  AddOperations(families, view.statistics);
  AddNodes(families, view);
  families.Gauge("redlockd_operations", "Under way, with those that wait and with watchdogs", {},
                 static_cast<double>(view.operations));
  families.Gauge("redlockd_waiters", "Callers that wait for a lock", {},
                 static_cast<double>(view.waiters));
  families.Gauge("redlockd_watched_leases", "Leases that a watchdog keeps alive", {},
                 static_cast<double>(view.watchdogs));
  families.Gauge("redlockd_streams", "Open Watch, Hold and Session streams", {},
                 static_cast<double>(streams));
  return families.Take();
}

}  // namespace redlock::observe
