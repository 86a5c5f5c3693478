// Compares redlockd with its limits in one run: the nodes without a service, RPCs without a lock,
// and a library that runs the algorithm in the client's process.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>

#include "tests/bench/empty_server.h"
#include "tests/bench/figures.h"
#include "tests/bench/load.h"
#include "tests/bench/nodes.h"
#include "tests/support/daemon.h"

namespace redlock::bench {
namespace {

using testing::Daemon;
using testing::Process;

struct Settings {
  std::size_t nodes = 3;
  std::vector<std::size_t> outstanding = {1, 16, 64, 256};
  double seconds = 0.6;
  int rounds = 5;
  std::string only;
  std::string json;
};

struct Subject {
  std::string name;
  std::unique_ptr<Load> load;
  int server = 0;  // the process whose CPU counts as the service's
};

// The medians over all rounds of one subject at one number of outstanding cycles.
struct Row {
  std::vector<double> rates;
  std::vector<double> acquire_us;
  std::vector<double> client_cpu, server_cpu;  // per cycle, µs
  std::vector<double> commands, node_cpu, bytes, calls;

  [[nodiscard]] double rate() const { return Median(rates); }
  [[nodiscard]] double p50() const { return Median(acquire_us); }
};

void Measure(Subject& subject, const Nodes& nodes, std::size_t outstanding, double seconds,
             Row& row) {
  NodeCounts before = nodes.Count();
  const double cpu = CpuMicros(subject.server);
  const LoadResult result = subject.load->Run(
      outstanding, std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9)));
  const double server_cpu = subject.server != 0 ? CpuMicros(subject.server) - cpu : 0;
  NodeCounts used = nodes.Count();
  used -= before;
  const auto cycles = static_cast<double>(result.cycle_us.size());
  row.rates.push_back(result.per_second());
  row.acquire_us.insert(row.acquire_us.end(), result.acquire_us.begin(), result.acquire_us.end());
  row.client_cpu.push_back(result.client_cpu_us / cycles);
  row.server_cpu.push_back(server_cpu / cycles);
  row.commands.push_back(used.commands / cycles);
  row.node_cpu.push_back(used.cpu_us / cycles);
  row.bytes.push_back(used.bytes / cycles);
  row.calls.push_back(used.calls / cycles);
}

void PrintHeader(std::size_t outstanding) {
  std::printf(
      "\n%zu outstanding\n\n"
      "| | cycles/s | spread | acquire p50 / p99 / p99.9 ms | CPU per cycle, µs: client, service, "
      "nodes | nodes: commands, bytes, calls per cycle |\n|---|---|---|---|---|---|\n",
      outstanding);
}

void PrintRow(const std::string& name, const Row& row) {
  std::printf(
      "| %-30s | %6.0f | %4.1f %% | %6.2f / %6.2f / %6.2f | %5.1f, %5.1f, %5.1f | %4.1f, %5.0f, "
      "%4.1f |\n",
      name.c_str(), row.rate(), 100 * Spread(row.rates), row.p50() / 1000,
      Quantile(row.acquire_us, .99) / 1000, Quantile(row.acquire_us, .999) / 1000,
      Median(row.client_cpu), Median(row.server_cpu), Median(row.node_cpu), Median(row.commands),
      Median(row.bytes), Median(row.calls));
  std::fflush(stdout);
}

void WriteJson(std::ofstream& out, const Settings& settings, std::size_t outstanding,
               const std::string& name, const Row& row) {
  out << "{\"nodes\": " << settings.nodes << ", \"outstanding\": " << outstanding
      << ", \"subject\": \"" << name << "\", \"rate\": " << row.rate()
      << ", \"p50_us\": " << row.p50() << ", \"p99_us\": " << Quantile(row.acquire_us, .99)
      << ", \"server_cpu_us\": " << Median(row.server_cpu)
      << ", \"node_cpu_us\": " << Median(row.node_cpu) << "}\n";
}

constexpr const char* kRawDocumented = "nodes: documented commands";
constexpr const char* kRawOwnEach = "nodes: own script, one step";
constexpr const char* kRawOwn = "nodes: own script, many steps";
constexpr const char* kEmptyTcp = "empty RPCs, TCP";
constexpr const char* kEmptyCallback = "empty RPCs, callback API, TCP";
constexpr const char* kEmptyUnix = "empty RPCs, unix";
constexpr const char* kUnaryTcp = "redlockd unary, TCP";
constexpr const char* kUnaryUnix = "redlockd unary, unix";
constexpr const char* kSession = "redlockd Session, TCP";
constexpr const char* kLibrary = "in-process library";

void PrintRatios(std::map<std::string, Row>& rows, std::size_t outstanding) {
  const double own = rows[kRawOwn].rate();
  std::printf("\n");
  for (const auto& [empty, ours, how] :
       {std::tuple{kEmptyTcp, kUnaryTcp, "TCP"}, std::tuple{kEmptyUnix, kUnaryUnix, "unix"},
        std::tuple{kEmptyCallback, kUnaryTcp, "TCP, callback API"}}) {
    if (rows[ours].rates.empty() || rows[empty].rates.empty() || own == 0) continue;
    // An empty cycle is two RPCs.
    const double limit = 1 / (1 / rows[empty].rate() + 1 / own);
    std::printf("- unary over %s: %.2f of the additive limit (%.0f cycles/s)", how,
                rows[ours].rate() / limit, limit);
    if (outstanding == 1) {
      std::printf("; an acquire takes %.2f times an empty RPC plus a round of the nodes",
                  rows[ours].p50() / (rows[empty].p50() + rows[kRawOwn].p50()));
    }
    std::printf("\n");
  }
  if (!rows[kSession].rates.empty()) {
    for (const auto& [beside, what] :
         {std::pair{kRawOwn, "of the nodes' limit with many steps per call"},
          std::pair{kRawOwnEach, "of the nodes' limit with one step per call"},
          std::pair{kLibrary, "times the library"}}) {
      if (rows[beside].rates.empty()) continue;
      std::printf("- Session: %.2f %s\n", rows[kSession].rate() / rows[beside].rate(), what);
    }
  }
  if (!rows[kRawDocumented].rates.empty()) {
    for (const char* ours : {kRawOwn, kUnaryTcp, kSession}) {
      if (rows[ours].rates.empty()) continue;
      std::printf("- CPU of the nodes, %s: %.2f times that of the documented commands\n", ours,
                  Median(rows[ours].node_cpu) / Median(rows[kRawDocumented].node_cpu));
    }
  }
}

void Run(const Settings& settings) {
  const Nodes nodes(settings.nodes);
  const testing::TemporaryDirectory directory;
  const std::string socket = "unix:" + directory.path() + "/redlockd.sock";
  Daemon daemon(nodes.servers(), {"--listen", socket, "--log-level", "warning"});
  const std::string empty_tcp = "127.0.0.1:" + std::to_string(testing::FreePort());
  const std::string empty_unix = "unix:" + directory.path() + "/empty.sock";
  const Process empty({"/proc/self/exe", "--serve-empty", empty_tcp, "--serve-empty", empty_unix},
                      "/dev/null");

  const std::string empty_callback = "127.0.0.1:" + std::to_string(testing::FreePort());
  const Process empty_by_callback({"/proc/self/exe", "--serve-empty", empty_callback, "--callback"},
                                  "/dev/null");

  std::vector<Subject> subjects;
  const auto add = [&](const char* name, std::unique_ptr<Load> load, int server = 0) {
    subjects.push_back({name, std::move(load), server});
  };
  add(kRawDocumented, RawLoad(nodes.ports(), RawMode::kDocumented));
  add(kRawOwnEach, RawLoad(nodes.ports(), RawMode::kOwnScriptEach));
  add(kRawOwn, RawLoad(nodes.ports(), RawMode::kOwnScripts));
  add(kEmptyTcp, UnaryLoad(empty_tcp), empty.pid());
  add(kUnaryTcp, UnaryLoad(daemon.address()), daemon.process().pid());
  add(kEmptyCallback, UnaryLoad(empty_callback), empty_by_callback.pid());
  add(kEmptyUnix, UnaryLoad(empty_unix), empty.pid());
  add(kUnaryUnix, UnaryLoad(socket), daemon.process().pid());
  add(kSession, SessionLoad(daemon.address()), daemon.process().pid());
  add(kLibrary, LibraryLoad(nodes.ports()));
  std::erase_if(subjects, [&](const Subject& subject) {
    return subject.name.find(settings.only) == std::string::npos;
  });

  std::ofstream json;
  if (!settings.json.empty()) json.open(settings.json, std::ios::app);
  std::printf("%zu nodes; medians of %d rounds of %.1f s, alternating\n", settings.nodes,
              settings.rounds, settings.seconds);
  for (const std::size_t outstanding : settings.outstanding) {
    std::map<std::string, Row> rows;
    for (int round = -1; round < settings.rounds; ++round) {
      for (Subject& subject : subjects) {
        Row warm_up;
        Measure(subject, nodes, outstanding, round < 0 ? 0.1 : settings.seconds,
                round < 0 ? warm_up : rows[subject.name]);
      }
    }
    PrintHeader(outstanding);
    for (const Subject& subject : subjects) PrintRow(subject.name, rows[subject.name]);
    PrintRatios(rows, outstanding);
    for (const Subject& subject : subjects) {
      if (json.is_open()) WriteJson(json, settings, outstanding, subject.name, rows[subject.name]);
    }
  }
}

}  // namespace
}  // namespace redlock::bench

int main(int argc, char** argv) {
  redlock::bench::Settings settings;
  std::vector<std::string> empty_addresses;
  CLI::App app("Compares redlockd with the limits of its parts.");
  app.add_option("--nodes", settings.nodes)->check(CLI::Range(1, 9))->capture_default_str();
  app.add_option("--outstanding", settings.outstanding)
      ->check(CLI::Range(1, 4096))
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--seconds", settings.seconds, "Duration of a round")
      ->check(CLI::Range(0.1, 60.0))
      ->capture_default_str();
  app.add_option("--rounds", settings.rounds)->check(CLI::Range(1, 99))->capture_default_str();
  app.add_option("--only", settings.only, "Measures only subjects whose name contains this text");
  app.add_option("--json", settings.json, "Appends one line per row to this file");
  app.add_option("--serve-empty", empty_addresses, "Used internally by the bench")->group("");
  bool callback = false;
  app.add_flag("--callback", callback, "Used internally by the bench")->group("");
  CLI11_PARSE(app, argc, argv);
  if (!empty_addresses.empty()) {
    return callback ? redlock::bench::ServeEmptyByCallback(empty_addresses)
                    : redlock::bench::ServeEmpty(empty_addresses);
  }
  redlock::bench::Run(settings);
}
