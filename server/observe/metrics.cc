#include "server/observe/metrics.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <string_view>
#include <utility>

#include "server/observe/access_refusals.h"
#include "server/observe/process_usage.h"

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
  void Seconds(const std::string& name, const std::string& help, double total) {
    ClientMetric metric;
    metric.counter.value = total;
    Add(name, help, MetricType::Counter, {}, std::move(metric));
  }
  void Gauge(const std::string& name, const std::string& help, Labels labels, double value) {
    ClientMetric metric;
    metric.gauge.value = value;
    Add(name, help, MetricType::Gauge, std::move(labels), std::move(metric));
  }
  template <const auto& kBounds>
  void Times(const std::string& name, const std::string& help, Labels labels,
             const HistogramWith<kBounds>& histogram) {
    ClientMetric metric;
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < histogram.counts().size(); ++i) {
      cumulative += histogram.counts()[i];
      const bool last = i == kBounds.size();
      metric.histogram.bucket.push_back(
          {cumulative, last ? std::numeric_limits<double>::infinity() : kBounds.at(i)});
    }
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = histogram.sum_seconds();
    Add(name, help, MetricType::Histogram, std::move(labels), std::move(metric));
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

// Converts a name to a label value: "LOCK_NOT_HELD" to "lock_not_held", "not held" to "not_held".
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
      families.Counter("redlockd_operations_total", "Operations by result",
                       {{"verb", verb}, {"result", std::move(result)}}, count);
    };
    add("ok", results.done());
    for (const Reason reason : kReasons) add(Label(ToString(reason)), results.failed(reason));
  }
  families.Times("redlockd_acquire_duration_seconds",
                 "Time from the request to the acquisition, including the wait", {},
                 statistics.acquisition_times);
  families.Times("redlockd_round_duration_seconds",
                 "Time from the first byte sent to the nodes to the decision", {},
                 statistics.round_times);
  families.Counter("redlockd_hand_overs_total",
                   "Hand-overs of a lock from its releaser to the next waiter", {},
                   statistics.hand_overs);
  families.Counter("redlockd_lost_leases_total", "Leases that a watchdog reported as lost", {},
                   statistics.lost_leases);
}

void AddNodes(Families& families, const View& view) {
  for (std::size_t node = 0; node < view.nodes.size(); ++node) {
    for (const Outcome outcome : kOutcomes) {
      families.Counter("redlockd_node_votes_total", "Answers of the node in rounds, by outcome",
                       {{"node", view.nodes[node].name}, {"outcome", Label(ToString(outcome))}},
                       view.statistics.nodes[node].votes[static_cast<std::size_t>(outcome)]);
    }
  }
  for (std::size_t node = 0; node < view.nodes.size(); ++node) {
    families.Times("redlockd_node_answer_seconds",
                   "Time from a step of a round that is sent to the node to its answer",
                   {{"node", view.nodes[node].name}}, view.statistics.nodes[node].answer_times);
  }
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_connected",
                   "1 if every shard of the daemon is connected to the node", {{"node", node.name}},
                   node.connected ? 1 : 0);
  }
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_can_grant",
                   "1 if the node can grant locks: it is connected, a member of the node set, not "
                   "quarantined, and has carried out the last trial in time",
                   {{"node", node.name}}, node.can_grant ? 1 : 0);
  }
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_member", "1 if the node has a vote in the node set",
                   {{"node", node.name}}, node.refused ? 0 : 1);
  }
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_quarantined",
                   "1 if the node is quarantined and grants no locks (node guard, clock guard)",
                   {{"node", node.name}}, node.barred ? 1 : 0);
  }
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_quarantine_left_seconds",
                   "Minimum time until the end of the quarantine", {{"node", node.name}},
                   std::chrono::duration<double>(node.quarantine_left).count());
  }
  for (std::size_t node = 0; node < view.nodes.size(); ++node) {
    families.Counter("redlockd_node_quarantines_total",
                     "Number of times that the node was quarantined",
                     {{"node", view.nodes[node].name}}, view.statistics.nodes[node].quarantines);
  }
  if (!view.guarded) return;
  for (const NodeView& node : view.nodes) {
    families.Gauge("redlockd_node_clock_offset_seconds",
                   "The node's wall clock minus this machine's, at the last reading",
                   {{"node", node.name}}, std::chrono::duration<double>(node.clock_offset).count());
  }
}

void AddNodeSet(Families& families, const NodeSetView& set) {
  families.Gauge("redlockd_node_set_found", "1 if the daemon has found its node set", {},
                 set.found ? 1 : 0);
  families.Gauge("redlockd_node_set_epoch", "Epoch of the node set; 0 if none was found", {},
                 static_cast<double>(set.epoch));
  families.Gauge("redlockd_node_set_members", "Nodes that vote; 0 if no node set was found", {},
                 static_cast<double>(set.members));
  families.Gauge("redlockd_node_set_steps_wanted",
                 "Steps that are left of the change of the node set that is under way", {},
                 static_cast<double>(set.wanted));
  families.Counter("redlockd_node_set_mismatches_total",
                   "Steps that nodes refused because their node set or epoch is another one", {},
                   set.mismatches);
}

void AddGroups(Families& families, const View& view, const KeyGroups& groups) {
  const auto label = [&groups](std::size_t group) {
    return Labels{{"group", std::string(groups.NameOf(group))}};
  };
  for (std::size_t i = 0; i < view.statistics.groups.size(); ++i) {
    families.Times("redlockd_wait_seconds",
                   "Time from the request to the acquisition, by the group of the key", label(i),
                   view.statistics.groups[i].waits);
  }
  for (std::size_t i = 0; i < view.statistics.groups.size(); ++i) {
    families.Times("redlockd_hold_seconds",
                   "Time from the acquisition to the release or the loss of leases that this "
                   "daemon kept alive, by the group of the key",
                   label(i), view.statistics.groups[i].holds);
  }
  for (std::size_t i = 0; i < view.groups.size(); ++i) {
    families.Gauge(
        "redlockd_oldest_holder_age_seconds",
        "How long the oldest of the leases that this daemon keeps alive has been held, from "
        "its acquisition or adoption at this daemon, by the group of the key; 0 if there is none",
        label(i),
        std::chrono::duration<double>(view.groups[i].oldest.value_or(Duration())).count());
  }
  for (std::size_t i = 0; i < view.groups.size(); ++i) {
    families.Gauge("redlockd_queue_length",
                   "Callers that are waiting for a lock, by the group of the key", label(i),
                   static_cast<double>(view.groups[i].waiters));
  }
}

void AddReloads(Families& families, const runtime::Reloads& reloads) {
  const auto states = reloads.states();
  for (const auto& state : states) {
    families.Gauge("redlockd_reload_ok",
                   "1 if the files could be used when they were last read; 0 if the previous "
                   "content stays in use",
                   {{"what", state.label}}, state.ok ? 1 : 0);
  }
  for (const auto& state : states) {
    families.Counter("redlockd_reload_failures_total", "Changed files that could not be used",
                     {{"what", state.label}}, state.failures);
  }
  for (const auto& state : states) {
    families.Counter("redlockd_reload_successes_total",
                     "Successful reloads of files, on SIGHUP or after a change",
                     {{"what", state.label}}, state.successes);
  }
  for (const auto& certificate : reloads.certificates()) {
    families.Gauge("redlockd_certificate_expiry_timestamp_seconds",
                   "When the certificate in use expires, in seconds since 1970",
                   {{"use", certificate.use}},
                   static_cast<double>(certificate.validity.until.time_since_epoch().count()));
  }
}

void AddAccessRefusals(Families& families) {
  for (const AccessRefusal refusal : kAccessRefusals) {
    families.Counter("redlockd_access_refusals_total",
                     "Calls, and operations of Sessions, that were refused because of the caller's "
                     "credentials or permissions",
                     {{"reason", std::string(ToString(refusal))}}, CountOf(refusal));
  }
}

// The names are those that Prometheus' client libraries use.
void AddProcess(Families& families) {
  const auto usage = ReadProcessUsage();
  if (!usage) return;
  families.Seconds("process_cpu_seconds_total", "User and system CPU time spent in seconds",
                   usage->cpu_seconds);
  families.Gauge("process_resident_memory_bytes", "Resident memory size in bytes", {},
                 static_cast<double>(usage->resident_bytes));
  families.Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes", {},
                 static_cast<double>(usage->virtual_bytes));
  families.Gauge("process_open_fds", "Number of open file descriptors", {},
                 static_cast<double>(usage->open_descriptors));
  families.Gauge("process_max_fds", "Maximum number of open file descriptors", {},
                 static_cast<double>(usage->most_descriptors));
  families.Gauge("process_start_time_seconds", "Start time of the process, in seconds since 1970",
                 {}, usage->started);
}

}  // namespace

std::vector<MetricFamily> ToMetrics(const View& view, std::size_t streams,
                                    const runtime::Reloads& reloads, const KeyGroups& groups,
                                    const std::string& version) {
  Families families;
  families.Gauge("redlockd_build_info", "Constant 1; the label carries the version",
                 {{"version", version}}, 1);
  AddOperations(families, view.statistics);
  AddGroups(families, view, groups);
  AddNodes(families, view);
  if (view.set) AddNodeSet(families, *view.set);
  AddReloads(families, reloads);
  AddAccessRefusals(families);
  AddProcess(families);
  families.Gauge("redlockd_operations", "Operations in progress, including waiters and watchdogs",
                 {}, static_cast<double>(view.operations));
  families.Gauge("redlockd_waiters", "Callers that are waiting for a lock", {},
                 static_cast<double>(view.waiters));
  families.Gauge("redlockd_watched_leases", "Leases that a watchdog extends", {},
                 static_cast<double>(view.watchdogs));
  families.Gauge("redlockd_observers", "Callers that observe a key", {},
                 static_cast<double>(view.observers));
  families.Gauge("redlockd_streams", "Open Watch, Hold, Session and Observe streams", {},
                 static_cast<double>(streams));
  families.Counter("redlockd_log_lines_dropped_total",
                   "Log lines that standard error did not take in time", {},
                   view.dropped_log_lines);
  families.Counter("redlockd_audit_lines_dropped_total",
                   "Lines of the audit log that could not be written fast enough or at all", {},
                   view.dropped_audit_lines);
  return families.Take();
}

}  // namespace redlock::observe
