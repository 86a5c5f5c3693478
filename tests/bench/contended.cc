// Contention: how fast and how fairly one key passes between many workers, compared with a client
// that polls.
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <deque>
#include <functional>
#include <latch>
#include <thread>

#include "tests/bench/documented_client.h"
#include "tests/bench/empty_server.h"
#include "tests/bench/figures.h"
#include "tests/bench/lockers.h"
#include "tests/bench/nodes.h"
#include "tests/support/daemon.h"

namespace redlock::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration;
using std::chrono::milliseconds;
using Millis = duration<double, std::milli>;
using testing::Daemon;

struct Settings {
  int workers = 16;
  int waiters = 1000;
  double hold_ms = 1;
  double seconds = 3;
  int rounds = 3;
  double poll_least_ms = 50;
  double poll_most_ms = 300;
};

// One period in which a worker held the lock.
struct Turn {
  int worker = 0;
  std::size_t daemon = 0;
  Clock::time_point requested;
  Clock::time_point acquired;
  Clock::time_point released;  // when the release was called
};

// The results of a round. Times in milliseconds.
struct Figures {
  double rate = 0;
  double gap_p50 = 0, gap_p99 = 0;
  double local_p50 = 0, across_p50 = 0;
  double fairness = 0;
  double longest_wait = 0;
  double held = 0;
  double commands = 0;
  double overlaps = 0;
};

Figures Evaluate(std::vector<Turn> turns, const Settings& settings, Millis took) {
  std::sort(turns.begin(), turns.end(),
            [](const Turn& a, const Turn& b) { return a.acquired < b.acquired; });
  std::vector<double> gaps, local, across;
  std::vector<double> per_worker(static_cast<std::size_t>(settings.workers));
  Figures figures;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const Turn& turn = turns[i];
    per_worker[static_cast<std::size_t>(turn.worker)] += 1;
    figures.longest_wait =
        std::max(figures.longest_wait, Millis(turn.acquired - turn.requested).count());
    figures.held += Millis(turn.released - turn.acquired).count();
    if (i == 0) continue;
    const Turn& before = turns[i - 1];
    if (turn.acquired < before.released) ++figures.overlaps;
    if (turn.worker == before.worker) continue;
    const double gap = Millis(turn.acquired - before.released).count();
    gaps.push_back(gap);
    (turn.daemon == before.daemon ? local : across).push_back(gap);
  }
  const auto [idlest, busiest] = std::minmax_element(per_worker.begin(), per_worker.end());
  figures.fairness = *busiest / std::max(*idlest, 1.0);
  figures.held /= std::max<double>(1, static_cast<double>(turns.size()));
  figures.rate = static_cast<double>(turns.size()) * 1000 / took.count();
  figures.gap_p50 = Quantile(gaps, .5);
  figures.gap_p99 = Quantile(gaps, .99);
  figures.local_p50 = Quantile(local, .5);
  figures.across_p50 = Quantile(across, .5);
  return figures;
}

Figures Measure(const Nodes& nodes, const Settings& settings, Millis pause,
                const std::function<std::unique_ptr<Locker>(int)>& make) {
  std::atomic<bool> stop = false;
  std::vector<std::vector<Turn>> turns(static_cast<std::size_t>(settings.workers));
  std::vector<std::thread> threads;
  std::latch ready(settings.workers + 1);
  for (int i = 0; i < settings.workers; ++i) {
    threads.emplace_back([&, i] {
      prctl(PR_SET_TIMERSLACK, 1);  // makes holds and pauses as short as requested
      const auto locker = make(i);
      ready.arrive_and_wait();
      while (!stop) {
        Turn turn{i, locker->daemon(), Clock::now(), {}, {}};
        if (!locker->Acquire(stop)) continue;
        turn.acquired = Clock::now();
        std::this_thread::sleep_for(Millis(settings.hold_ms));
        turn.released = Clock::now();
        locker->Release();
        turns[static_cast<std::size_t>(i)].push_back(turn);
        if (pause.count() > 0) std::this_thread::sleep_for(pause);
      }
    });
  }
  ready.arrive_and_wait();
  std::this_thread::sleep_for(milliseconds(500));  // warm-up
  const double commands = nodes.Count().commands;
  const auto begin = Clock::now();
  std::this_thread::sleep_for(duration<double>(settings.seconds));
  const auto end = Clock::now();
  const double commands_after = nodes.Count().commands;
  stop = true;
  for (std::thread& thread : threads) thread.join();
  std::vector<Turn> counted;
  for (const auto& of_worker : turns) {
    for (const Turn& turn : of_worker) {
      if (turn.acquired >= begin && turn.acquired < end) counted.push_back(turn);
    }
  }
  Figures figures = Evaluate(std::move(counted), settings, end - begin);
  figures.commands = (commands_after - commands) / settings.seconds;
  return figures;
}

// The median of each figure over the rounds.
Figures Median(const std::vector<Figures>& rounds) {
  Figures median;
  for (double Figures::*const figure :
       {&Figures::rate, &Figures::gap_p50, &Figures::gap_p99, &Figures::local_p50,
        &Figures::across_p50, &Figures::fairness, &Figures::longest_wait, &Figures::held,
        &Figures::commands, &Figures::overlaps}) {
    std::vector<double> values;
    for (const Figures& round : rounds) values.push_back(round.*figure);
    median.*figure = Quantile(values, .5);
  }
  return median;
}

// Calls at the pace of the contended key, so that sleeping processes must be woken here too.
double MedianOf(int times, Millis pause, const std::function<void()>& call) {
  prctl(PR_SET_TIMERSLACK, 1);
  std::vector<double> took;
  for (int i = 0; i < times; ++i) {
    std::this_thread::sleep_for(pause);
    const auto begin = Clock::now();
    call();
    took.push_back(Millis(Clock::now() - begin).count());
  }
  return Quantile(took, .5);
}

double EmptyRpc(const std::string& self, Millis pause) {
  const std::string address = "127.0.0.1:" + std::to_string(testing::FreePort());
  const testing::Process server({self, "--serve-empty", address}, "/dev/null");
  const auto stub = ConnectTo(address);
  const auto call = [&stub] {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ReleaseRequest request;
    request.set_key(kContendedKey);
    request.set_token(std::string(35, 't'));
    v1::ReleaseResponse response;
    const grpc::Status status = stub->Release(&context, request, &response);
    if (!status.ok()) throw std::runtime_error("empty RPC: " + status.error_message());
  };
  (void)MedianOf(200, pause, call);
  return MedianOf(2000, pause, call);
}

double QuorumRound(const Nodes& nodes, Millis pause) {
  DocumentedClient client(nodes.ports());
  std::optional<std::string> held;
  return MedianOf(2000, pause, [&] {
    // Acquires and releases alternately: each is one round of one script or command.
    if (held) {
      client.Release("round", *held);
      held.reset();
    } else {
      held = client.Acquire("round", kContendedTtl);
    }
  });
}

void PrintRow(const std::string& name, const Figures& figures, double ideal) {
  std::printf("| %-34s | %6.0f | %3.0f %% | %5.2f / %5.2f | %5.2f | %7.0f ms | %8.0f | %.0f |\n",
              name.c_str(), figures.rate, 100 * figures.rate / ideal, figures.gap_p50,
              figures.gap_p99, figures.fairness, figures.longest_wait, figures.commands,
              figures.overlaps);
  std::fflush(stdout);
}

// Measures what `settings.waiters` waiters for a held key cost the nodes.
void MeasureWaiters(const Nodes& nodes, const Settings& settings) {
  const Daemon daemon(nodes.servers());
  ServiceLocker holder(daemon, 0);
  const std::atomic<bool> never = false;
  if (!holder.Acquire(never)) throw std::runtime_error("the key is not free");
  const auto stub = ConnectTo(daemon.address());
  struct Call {
    grpc::ClientContext context;
    v1::AcquireRequest request = AcquireContended();
    v1::AcquireResponse response;
  };
  std::deque<Call> calls(static_cast<std::size_t>(settings.waiters));
  std::latch answered(settings.waiters);
  for (Call& call : calls) {
    stub->async()->Acquire(&call.context, &call.request, &call.response,
                           [&answered](const grpc::Status&) { answered.count_down(); });
  }
  std::this_thread::sleep_for(milliseconds(1500));
  const double before = nodes.Count().commands;
  const auto begin = Clock::now();
  std::this_thread::sleep_for(duration<double>(settings.seconds));
  const double commands = nodes.Count().commands - before;
  const double took = Millis(Clock::now() - begin).count() / 1000;
  std::printf("\n%d waiters on a held key: %.1f commands/s on all nodes together\n",
              settings.waiters, commands / took);
  for (Call& call : calls) call.context.TryCancel();
  answered.wait();
  holder.Release();
}

// The lower bound for a turn on this machine.
struct Limits {
  double rpc_ms = 0;
  double round_ms = 0;
  [[nodiscard]] double IdealRate(double held_ms) const {
    return 1000 / (held_ms + rpc_ms + round_ms);
  }
};

void MeasureBesidePolling(const Nodes& nodes, const Settings& settings, const Limits& limits,
                          Millis pause) {
  std::vector<Figures> ours, polling;
  {
    const Daemon daemon(nodes.servers());
    for (int i = 0; i < settings.rounds; ++i) {
      ours.push_back(Measure(nodes, settings, pause,
                             [&](int) { return std::make_unique<ServiceLocker>(daemon, 0); }));
      polling.push_back(Measure(nodes, settings, pause, [&](int) {
        return std::make_unique<PollingLocker>(nodes.ports(), settings.poll_least_ms,
                                               settings.poll_most_ms);
      }));
    }
  }
  const Figures ours_median = Median(ours);
  const Figures polling_median = Median(polling);
  const double ideal = limits.IdealRate(ours_median.held);
  const std::string with = pause.count() > 0 ? ", 5 ms pause" : ", no pause";
  PrintRow("redlockd" + with, ours_median, ideal);
  PrintRow("polling client" + with, polling_median, ideal);
  std::printf("| ratio: %.2f; ideal turn %.1f ms, longest wait %.2f of it | | | | | | | |\n",
              ours_median.rate / polling_median.rate, settings.workers * 1000 / ideal,
              ours_median.longest_wait * ideal / (settings.workers * 1000));
}

void MeasureTwoDaemons(const Nodes& nodes, const Settings& settings, const Limits& limits) {
  std::deque<Daemon> daemons;
  for (int i = 0; i < 2; ++i) daemons.emplace_back(nodes.servers());
  std::vector<Figures> rounds;
  for (int i = 0; i < settings.rounds; ++i) {
    rounds.push_back(Measure(nodes, settings, Millis(5), [&](int worker) {
      const std::size_t number = static_cast<std::size_t>(worker) % daemons.size();
      return std::make_unique<ServiceLocker>(daemons[number], number);
    }));
  }
  const Figures median = Median(rounds);
  PrintRow("redlockd, 2 daemons, 5 ms pause", median, limits.IdealRate(median.held));
  std::printf("\nTwo daemons: hand-over p50 %.2f ms within one, %.2f ms across (%.2f times)\n",
              median.local_p50, median.across_p50, median.across_p50 / median.local_p50);
}

void Run(const std::string& self, const Settings& settings) {
  const Nodes nodes(3);
  const Limits limits{EmptyRpc(self, Millis(settings.hold_ms)),
                      QuorumRound(nodes, Millis(settings.hold_ms))};
  std::printf("%d workers, %g ms hold, 3 nodes; empty RPC %.3f ms, quorum round %.3f ms\n\n",
              settings.workers, settings.hold_ms, limits.rpc_ms, limits.round_ms);
  std::printf(
      "| | acquired/s | of ideal | gap p50 / p99 ms | busiest:idlest | longest wait | "
      "commands/s | overlaps |\n|---|---|---|---|---|---|---|---|\n");
  for (const double pause : {5.0, 0.0})
    MeasureBesidePolling(nodes, settings, limits, Millis(pause));
  MeasureTwoDaemons(nodes, settings, limits);
  MeasureWaiters(nodes, settings);
}

}  // namespace
}  // namespace redlock::bench

int main(int argc, char** argv) {
  redlock::bench::Settings settings;
  std::string empty_address;
  CLI::App app("Many workers contend for one key: compares redlockd with a client that polls.");
  app.add_option("--workers", settings.workers)->check(CLI::Range(2, 1000))->capture_default_str();
  app.add_option("--waiters", settings.waiters)->check(CLI::Range(1, 9000))->capture_default_str();
  app.add_option("--hold", settings.hold_ms, "Milliseconds")->capture_default_str();
  app.add_option("--seconds", settings.seconds, "Duration of a round")
      ->check(CLI::Range(0.1, 60.0))
      ->capture_default_str();
  app.add_option("--rounds", settings.rounds)->check(CLI::Range(1, 99))->capture_default_str();
  app.add_option("--poll-least", settings.poll_least_ms, "Milliseconds")->capture_default_str();
  app.add_option("--poll-most", settings.poll_most_ms, "Milliseconds")->capture_default_str();
  app.add_option("--serve-empty", empty_address, "Used internally by the bench")->group("");
  CLI11_PARSE(app, argc, argv);
  if (!empty_address.empty()) return redlock::bench::ServeEmpty({empty_address});
  redlock::bench::Run("/proc/self/exe", settings);
}
