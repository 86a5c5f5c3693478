// redlockd: wiring and signals, nothing else.
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "server/access/access.h"
#include "server/config/command_line.h"
#include "server/dev/dev_nodes.h"
#include "server/observe/http_listener.h"
#include "server/observe/log.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/lock_service.h"
#include "server/rpc/server.h"
#include "server/runtime/shard_thread.h"

namespace {

using redlock::Duration;
using redlock::Shard;
using std::chrono::milliseconds;

constexpr int kExitUsage = 2;
constexpr Duration kSettleTimeout = std::chrono::seconds(1);

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// SIGHUP reads tokens and the access list anew.
int WaitForEnd(redlock::access::Access& access) {
  sigset_t signals = StopSignals();
  sigaddset(&signals, SIGHUP);
  while (true) {
    int signal = 0;
    sigwait(&signals, &signal);
    if (signal != SIGHUP) return signal;
    try {
      access.Reload();
      spdlog::info("SIGHUP: tokens and access list are read anew");
    } catch (const std::exception& error) {
      spdlog::error("SIGHUP: {}; what was in force stays so", error.what());
    }
  }
}

bool SignalledWithin(Duration patience) {
  const sigset_t signals = StopSignals();
  const auto ns = patience.count();
  const timespec timeout{ns / 1'000'000'000, ns % 1'000'000'000};
  return sigtimedwait(&signals, nullptr, &timeout) > 0;
}

// Tells every stream, and waits for the clients to go elsewhere. A second signal ends the wait.
void Drain(redlock::rpc::LockService& service, redlock::rpc::Server& server, Duration patience) {
  server.Drain();
  service.Drain();
  constexpr Duration kPollInterval = milliseconds(20);
  for (Duration waited{}; waited < patience; waited += kPollInterval) {
    if (service.streams().WaitUntilEmpty(Duration{}) || SignalledWithin(kPollInterval)) return;
  }
}

// Lets releases and roll-backs that are on their way reach the nodes.
void Settle(redlock::runtime::ShardPool& shards) {
  constexpr Duration kPollInterval = milliseconds(5);
  for (Duration waited{}; waited < kSettleTimeout; waited += kPollInterval) {
    if (shards.Sum([](Shard& shard) { return shard.operations(); }) == 0) return;
    if (SignalledWithin(kPollInterval)) return;
  }
}

void PrintDevBanner() {
  std::fputs(
      "\n  redlockd --dev: three throw-away Redis nodes of its own, without persistence.\n"
      "  Locks do not outlive this process. To try things out, nothing else.\n\n",
      stderr);
}

int Serve(redlock::config::Config config) {
  redlock::observe::StartLog(config);
  std::optional<redlock::dev::DevNodes> dev;  // before any thread is started
  if (config.dev) {
    dev.emplace();
    config.nodes = dev->endpoints();
    PrintDevBanner();
  }
  if (config.nodes.size() % 2 == 0) {
    spdlog::warn("{} nodes tolerate no more failures than {} do: an odd number is better",
                 config.nodes.size(), config.nodes.size() - 1);
  }
  redlock::runtime::ShardPool shards(config);
  redlock::access::Access access({.token_file = config.token_file,
                                  .access_list = config.access_list,
                                  .client_certificates = !config.tls_client_ca.empty()});
  redlock::rpc::LockService service(config, shards, access);
  redlock::rpc::AdminService admin(config, shards, access);
  redlock::rpc::Server server(config, shards, service, admin);
  std::optional<redlock::observe::HttpListener> metrics;
  if (!config.metrics_listen.empty()) {
    metrics.emplace(config, shards, access, [&service] { return service.streams().size(); });
    spdlog::info("status page at http://{}/, metrics at /metrics", config.metrics_listen);
  }
  for (const std::string& address : server.addresses()) spdlog::info("serving on {}", address);

  const int signal = WaitForEnd(access);
  spdlog::info("{}: draining for {} s at most; a second signal ends at once",
               signal == SIGINT ? "SIGINT" : "SIGTERM",
               std::chrono::duration<double>(config.drain_timeout).count());
  Drain(service, server, config.drain_timeout);
  service.streams().ExpelAll();
  server.Shutdown();
  Settle(shards);
  spdlog::info("ended; leases stay valid until their time ends");
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  // Before any thread is started, so that all of them leave the signals to this one.
  sigset_t signals = StopSignals();
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  try {
    std::string output;
    const auto config =
        redlock::config::ParseCommandLine({argv + 1, argv + argc}, std::getenv, output);
    if (!config) {
      std::fputs(output.c_str(), stdout);
      return EXIT_SUCCESS;
    }
    return Serve(*config);
  } catch (const redlock::config::ConfigError& error) {
    std::fprintf(stderr, "redlockd: %s\nredlockd --help tells more.\n", error.what());
    return kExitUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "redlockd: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
