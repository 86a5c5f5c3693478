// Measures what a stopped or dead node costs the operations on the remaining nodes. Three daemons,
// each with its own nodes, are measured alternately.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <thread>

#include "tests/bench/figures.h"
#include "tests/bench/load.h"
#include "tests/bench/nodes.h"
#include "tests/support/daemon.h"

namespace redlock::bench {
namespace {

struct Settings {
  std::size_t outstanding = 64;
  double seconds = 1;
  int rounds = 7;
};

struct Set {
  explicit Set(std::string what)
      : name(std::move(what)), nodes(3), daemon(nodes.servers(), {"--node-timeout", "500ms"}) {}

  std::string name;
  Nodes nodes;
  testing::Daemon daemon;
  std::unique_ptr<Load> load = UnaryLoad(daemon.address());
  std::vector<double> rates, p99s;
};

void Run(const Settings& settings) {
  Set healthy("all nodes up"), stopped("one stopped (SIGSTOP)"), dead("one dead (SIGKILL)");
  stopped.nodes.servers()[0]->Pause();
  dead.nodes.servers()[0]->Kill();
  // Begins after a moment, because a fault is detected only after the node timeout.
  for (Set* const set : {&healthy, &stopped, &dead}) {
    (void)set->load->Run(settings.outstanding, std::chrono::seconds(1));
  }
  for (int round = 0; round < settings.rounds; ++round) {
    for (Set* const set : {&healthy, &stopped, &dead}) {
      const LoadResult result = set->load->Run(
          settings.outstanding,
          std::chrono::nanoseconds(static_cast<std::int64_t>(settings.seconds * 1e9)));
      set->rates.push_back(result.per_second());
      set->p99s.push_back(Quantile(result.acquire_us, .99) / 1000);
    }
  }
  std::printf("%zu outstanding, 3 nodes; medians of %d rounds of %.1f s, alternating\n\n",
              settings.outstanding, settings.rounds, settings.seconds);
  std::printf("| | cycles/s | of healthy | acquire p99 ms | of healthy |\n|---|---|---|---|---|\n");
  for (const Set* const set : {&healthy, &stopped, &dead}) {
    std::printf("| %s | %.0f | %.2f | %.2f | %.2f |\n", set->name.c_str(), Median(set->rates),
                Median(set->rates) / Median(healthy.rates), Median(set->p99s),
                Median(set->p99s) / Median(healthy.p99s));
  }
  stopped.nodes.servers()[0]->Resume();
}

}  // namespace
}  // namespace redlock::bench

int main(int argc, char** argv) {
  redlock::bench::Settings settings;
  CLI::App app("Measures the cost of a stopped or dead node.");
  app.add_option("--outstanding", settings.outstanding)
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--seconds", settings.seconds, "Duration of a round")
      ->check(CLI::Range(0.1, 60.0))
      ->capture_default_str();
  app.add_option("--rounds", settings.rounds)->check(CLI::Range(1, 99))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  redlock::bench::Run(settings);
}
