// Entry point of redlockd: connects the modules and handles signals.
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

// Returns the first SIGTERM or SIGINT. SIGHUP reloads the tokens and the access list.
int WaitForEnd(redlock::access::Access& access) {
  sigset_t signals = StopSignals();
  sigaddset(&signals, SIGHUP);
  while (true) {
    int signal = 0;
    sigwait(&signals, &signal);
    if (signal != SIGHUP) return signal;
    try {
      access.Reload();
      spdlog::info("SIGHUP: tokens and access list reloaded");
    } catch (const std::exception& error) {
      spdlog::error("SIGHUP: reload failed, the previous tokens and access list stay in effect: {}",
                    error.what());
    }
  }
}

bool SignalledWithin(Duration patience) {
  const sigset_t signals = StopSignals();
  const auto ns = patience.count();
  const timespec timeout{ns / 1'000'000'000, ns % 1'000'000'000};
  return sigtimedwait(&signals, nullptr, &timeout) > 0;
}

// Sends DRAINING on every stream and waits for the clients to move to another daemon. A second
// signal ends the wait.
void Drain(redlock::rpc::LockService& service, redlock::rpc::Server& server, Duration patience) {
  server.Drain();
  service.Drain();
  constexpr Duration kPollInterval = milliseconds(20);
  for (Duration waited{}; waited < patience; waited += kPollInterval) {
    if (service.streams().WaitUntilEmpty(Duration{}) || SignalledWithin(kPollInterval)) return;
  }
}

// Waits for up to kSettleTimeout until no operation is pending, so that releases and roll-backs
// reach the nodes. A signal ends the wait.
void Settle(redlock::runtime::ShardPool& shards) {
  constexpr Duration kPollInterval = milliseconds(5);
  for (Duration waited{}; waited < kSettleTimeout; waited += kPollInterval) {
    if (shards.Sum([](Shard& shard) { return shard.operations(); }) == 0) return;
    if (SignalledWithin(kPollInterval)) return;
  }
}

void PrintDevBanner() {
  std::fputs(
      "\n  redlockd --dev: started three private Redis nodes without persistence.\n"
      "  Locks do not outlive this process. For experiments only.\n\n",
      stderr);
}

int Serve(redlock::config::Config config) {
  redlock::observe::StartLog(config);
  std::optional<redlock::dev::DevNodes> dev;  // before any thread starts
  if (config.dev) {
    dev.emplace();
    config.nodes = dev->endpoints();
    PrintDevBanner();
  }
  redlock::runtime::ShardPool shards(config);
  redlock::access::Access access({.token_file = config.token_file,
                                  .access_list = config.access_list,
                                  .client_certificates = !config.tls_client_ca.empty()});
  redlock::rpc::LockService service(config, shards, access);
  redlock::rpc::AdminService admin(service.context());
  redlock::rpc::Server server(config, shards, service, admin);
  std::optional<redlock::observe::HttpListener> metrics;
  if (!config.metrics_listen.empty()) {
    metrics.emplace(config, shards, access, [&service] { return service.streams().size(); });
    spdlog::info("serving the status page at http://{}/ and metrics at /metrics",
                 config.metrics_listen);
  }
  for (const std::string& address : server.addresses()) spdlog::info("serving gRPC on {}", address);

  const int signal = WaitForEnd(access);
  spdlog::info("{}: draining for up to {} s; a second signal ends the wait",
               signal == SIGINT ? "SIGINT" : "SIGTERM",
               std::chrono::duration<double>(config.drain_timeout).count());
  Drain(service, server, config.drain_timeout);
  service.streams().ExpelAll();
  server.Shutdown();
  Settle(shards);
  spdlog::info("shut down; leases that are still held stay valid until they expire");
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  // Block the signals before any thread starts, so that only WaitForEnd() receives them.
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
    std::fprintf(stderr, "redlockd: %s\nRun redlockd --help for usage.\n", error.what());
    return kExitUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "redlockd: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
