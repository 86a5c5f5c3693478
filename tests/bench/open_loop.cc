// Offers loads at fixed rates, from a tenth to one and a half times what the daemon can serve, and
// shows what a client meets then: latencies, refusals, and whether leases stay held.
#include <sched.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <iostream>
#include <thread>

#include "tests/bench/figures.h"
#include "tests/bench/lockers.h"
#include "tests/bench/nodes.h"
#include "tests/bench/open_load.h"
#include "tests/support/daemon.h"

namespace redlock::bench {
namespace {

using std::chrono::nanoseconds;
using testing::Daemon;

struct Settings {
  std::vector<int> percent = {10, 25, 50, 75, 90, 100, 110, 125, 150};
  double seconds = 5;
  double warm_up = 2;
  double capacity_seconds = 1.5;
  std::size_t most_outstanding = 60'000;
  std::size_t sessions = 64;
  std::string only;
  std::vector<std::string> daemon_options;
  bool share_cores = false;
};

struct Subject {
  std::string name;
  std::function<std::unique_ptr<RpcCalls>(const std::string& address)> connect;
  bool hands_over = false;
  std::size_t outstanding = 256;  // in the closed loop that measures the capacity
};

nanoseconds Seconds(double seconds) {
  return nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
}

// Restricts this thread, and the threads and processes that it starts from now on, to the cores
// [first, last).
void UseCores(unsigned first, unsigned last) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  for (unsigned core = first; core < last; ++core) CPU_SET(core, &cores);
  if (sched_setaffinity(0, sizeof cores, &cores) != 0) {
    throw std::runtime_error("cannot choose the cores: use --share-cores");
  }
}

// How many of the leases their keys' nodes no longer know.
std::size_t CountMissing(const std::string& address, const std::vector<v1::Lease>& leases) {
  const auto stub = ConnectTo(address);
  std::size_t missing = 0;
  for (const v1::Lease& lease : leases) {
    grpc::ClientContext context;
    v1::InspectRequest request;
    v1::InspectResponse response;
    request.set_key(lease.key());
    const grpc::Status status = stub->Inspect(&context, request, &response);
    if (!status.ok() || !response.held() || response.fencing_token() != lease.fencing_token()) {
      ++missing;
    }
  }
  return missing;
}

// How many of the load's keys are held on a quorum of the nodes. The last node may still be about
// to release.
std::size_t CountHeld(const Nodes& nodes) {
  std::map<std::string, std::size_t> on_nodes;
  for (const auto& node : nodes.servers()) {
    std::istringstream keys(node->Cli("KEYS 'bench:*'"));
    for (std::string key; std::getline(keys, key);) ++on_nodes[key];
  }
  return static_cast<std::size_t>(std::ranges::count_if(
      on_nodes, [&](const auto& entry) { return entry.second > nodes.servers().size() / 2; }));
}

std::size_t CountHeldAfterCleanUp(const Nodes& nodes) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    if (CountHeld(nodes) == 0) return 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  return CountHeld(nodes);
}

struct Outcome {
  OpenResult result;
  std::size_t missing = 0;
};

Outcome RunLoad(const Daemon& daemon, std::unique_ptr<RpcCalls> calls, const OpenPlan& plan) {
  OpenLoad load(std::move(calls), plan);
  Outcome outcome{.result = load.Run()};
  outcome.missing = CountMissing(daemon.address(), load.kept());
  return outcome;
}

std::string ThreeQuantiles(const std::vector<double>& values) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f / %.1f / %.1f", Quantile(values, .5),
                Quantile(values, .99), Quantile(values, .999));
  return text;
}

void PrintHeader() {
  std::printf(
      "| offered | capacity/s | offered/s | completed/s | of what can be | refused/s | shed/s | "
      "acquire p50 / p99 / p99.9 ms | extend p99 ms: within the load, beside it | outstanding | "
      "CPU %%: daemon, client | client late p99 ms |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|\n");
}

void PrintRow(int percent, double capacity, const OpenResult& load, const OpenResult& beside) {
  const auto rate = [&load](std::size_t count) {
    return static_cast<double>(count) / load.seconds;
  };
  std::printf(
      "| %3d %% | %7.0f | %7.0f | %7.0f | %.2f | %7.0f | %6.0f | %s | %.1f, %.1f | %zu | "
      "%.0f, %.0f | %.1f |\n",
      percent, capacity, rate(load.offered), rate(load.completed),
      rate(load.completed) / std::min(capacity, rate(load.offered)), rate(load.refused),
      rate(load.shed), ThreeQuantiles(load.acquire_ms).c_str(), Quantile(load.extend_ms, .99),
      Quantile(beside.extend_ms, .99), load.outstanding, load.daemon_cpu_us / load.seconds / 1e4,
      load.client_cpu_us / load.seconds / 1e4, Quantile(load.late_ms, .99));
  std::fflush(stdout);
}

// Returns whether nothing was lost.
bool PrintFaults(const Outcome& outcome, const char* who) {
  const OpenResult& result = outcome.result;
  if (outcome.missing + result.lost + result.refused_others + result.failed + result.unanswered ==
      0) {
    return true;
  }
  std::printf(
      "%s: %zu leases not held, %zu reported as lost, %zu extensions or releases refused, "
      "%zu operations failed (%s), %zu unanswered\n",
      who, outcome.missing, result.lost, result.refused_others, result.failed,
      result.why_failed.c_str(), result.unanswered);
  return false;
}

// Returns whether nothing was lost.
bool MeasureAt(int percent, const Subject& subject, const Nodes& nodes, Daemon& daemon,
               const Settings& settings) {
  const auto closed =
      ClosedLoad(subject.connect(daemon.address()), subject.hands_over ? HotKeyOf : KeyOf);
  const auto measure_capacity = [&] {
    return closed->Run(subject.outstanding, Seconds(settings.capacity_seconds)).per_second();
  };
  const double capacity = measure_capacity();
  OpenPlan plan{.rate = capacity * percent / 100,
                .hands_over = subject.hands_over,
                .most_outstanding = settings.most_outstanding,
                .kept_prefix = "kept:load:",
                .daemon = daemon.process().pid(),
                .warm_up = Seconds(settings.warm_up),
                .time = Seconds(settings.seconds)};
  OpenPlan only_extends{.kept_prefix = "kept:beside:", .warm_up = plan.warm_up, .time = plan.time};
  Outcome load, beside;
  std::thread another(
      [&] { beside = RunLoad(daemon, UnaryCalls(daemon.address()), only_extends); });
  std::string why_ended;
  try {
    load = RunLoad(daemon, subject.connect(daemon.address()), plan);
  } catch (const std::runtime_error& error) {
    why_ended = error.what();
  }
  another.join();
  if (!why_ended.empty()) {
    std::printf("| %3d %% | %s\n", percent, why_ended.c_str());
    return false;
  }
  // The speed of a machine changes, so the mean of before and after counts.
  PrintRow(percent, (capacity + measure_capacity()) / 2, load.result, beside.result);
  const std::size_t held = CountHeldAfterCleanUp(nodes);
  if (held > 0) std::printf("%zu released keys are still held\n", held);
  const bool load_is_good = PrintFaults(load, "the load");
  return PrintFaults(beside, "the client beside") && load_is_good && held == 0;
}

bool Measure(const Subject& subject, const Settings& settings, unsigned cores) {
  if (!settings.share_cores) UseCores(0, cores - 1);
  const Nodes nodes(3);
  std::vector<std::string> options = {"--log-level", "warning", "--max-waiters-per-key",
                                      std::to_string(2 * kWaitersPerHotKey)};
  options.insert(options.end(), settings.daemon_options.begin(), settings.daemon_options.end());
  Daemon daemon(nodes.servers(), options);
  if (!settings.share_cores) UseCores(cores - 1, cores);
  std::printf("\n%s: the capacity is measured with %zu outstanding\n\n", subject.name.c_str(),
              subject.outstanding);
  PrintHeader();
  bool good = true;
  for (const int percent : settings.percent) {
    good = MeasureAt(percent, subject, nodes, daemon, settings) && good;
  }
  return good;
}

// Returns whether nothing was lost.
bool Run(Settings settings) {
  const unsigned cores = std::thread::hardware_concurrency();
  if (cores < 2) settings.share_cores = true;
  const auto sessions = [](std::size_t count) {
    return [count](const std::string& address) { return SessionCalls(address, count); };
  };
  const std::vector<Subject> subjects = {
      {.name = "unary calls", .connect = UnaryCalls},
      {.name = "one Session", .connect = sessions(1)},
      {.name = "many Sessions (" + std::to_string(settings.sessions) + ")",
       .connect = sessions(settings.sessions),
       .outstanding = 4 * settings.sessions},
      {.name = "hand-overs",
       .connect = sessions(settings.sessions),
       .hands_over = true,
       .outstanding = kHotKeys * (kWaitersPerHotKey + 1)}};
  std::printf("3 nodes; %.1f s at each rate after a warm-up of %.1f s; %s\n", settings.seconds,
              settings.warm_up,
              settings.share_cores ? "all processes share the cores"
                                   : "the client has the last core, the daemon and the nodes have "
                                     "the others");
  bool good = true;
  for (const Subject& subject : subjects) {
    if (subject.name.find(settings.only) == std::string::npos) continue;
    good = Measure(subject, settings, cores) && good;
  }
  return good;
}

}  // namespace
}  // namespace redlock::bench

int main(int argc, char** argv) {
  redlock::bench::Settings settings;
  CLI::App app("Offers loads at fixed rates, in percent of the capacity.");
  app.add_option("--percent", settings.percent, "Offered rates, in percent of the capacity")
      ->check(CLI::Range(1, 1000))
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--seconds", settings.seconds, "Duration at each rate")
      ->check(CLI::Range(0.1, 60.0))
      ->capture_default_str();
  app.add_option("--warm-up", settings.warm_up, "Seconds at each rate before they count")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  app.add_option("--capacity-seconds", settings.capacity_seconds,
                 "Duration of each closed loop that measures the capacity, before and after a rate")
      ->check(CLI::Range(0.1, 60.0))
      ->capture_default_str();
  app.add_option("--most-outstanding", settings.most_outstanding,
                 "Cycles beyond this are not begun, and count as shed")
      ->check(CLI::Range(20'000, 1'000'000))
      ->capture_default_str();
  app.add_option("--sessions", settings.sessions, "Of the loads with many")
      ->check(CLI::Range(2, 1000))
      ->capture_default_str();
  app.add_option("--only", settings.only, "Measures only loads whose name contains this text");
  app.add_option("--daemon-option", settings.daemon_options, "One more argument for redlockd");
  app.add_flag("--share-cores", settings.share_cores, "The client does not get a core of its own");
  CLI11_PARSE(app, argc, argv);
  return redlock::bench::Run(settings) ? 0 : 1;
}
