// Entry point of redlockd: connects the modules and handles signals.
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "server/access/access.h"
#include "server/check_config.h"
#include "server/config/command_line.h"
#include "server/describe_configuration.h"
#include "server/dev/dev_nodes.h"
#include "server/observe/audit_log.h"
#include "server/observe/http_listener.h"
#include "server/observe/log.h"
#include "server/observe/standard_streams.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/lock_service.h"
#include "server/rpc/server.h"
#include "server/runtime/descriptors.h"
#include "server/runtime/reloads.h"
#include "server/runtime/service_manager.h"
#include "server/runtime/shard_thread.h"

namespace {

using redlock::Duration;
using redlock::Shard;
using redlock::observe::AuditLog;
using redlock::runtime::Reloads;
using redlock::runtime::ServiceManager;
using redlock::secrets::Renewal;
using std::chrono::milliseconds;

constexpr int kExitUsage = 2;
constexpr Duration kSettleTimeout = std::chrono::seconds(1);
// For what ends after that: gRPC, threads, and the log, which may have a slow reader.
constexpr Duration kEndTimeout = std::chrono::seconds(10);

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// Asks every shard. Does not return if one of them is stuck: the watchdog then gets no answer.
std::string StateInWords(redlock::runtime::ShardPool& shards) {
  std::size_t leases = 0;
  std::optional<redlock::Error> outage;
  shards.ForEach([&](Shard& shard) {
    leases += shard.watchdogs();
    if (!outage) outage = shard.Outage();
  });
  if (outage) return "cannot grant locks: " + outage->message;
  return "serving; extends " + std::to_string(leases) + (leases == 1 ? " lease" : " leases");
}

// Returns the first SIGTERM or SIGINT. Until then, reloads files on SIGHUP and on change.
int WaitForEnd(Reloads& reloads, AuditLog* audit_log, ServiceManager& manager,
               redlock::runtime::ShardPool& shards) {
  sigset_t signals = StopSignals();
  sigaddset(&signals, SIGHUP);
  const timespec interval{Reloads::kLookInterval.count(), 0};
  while (true) {
    const int signal = sigtimedwait(&signals, nullptr, &interval);
    if (signal == SIGHUP) {
      manager.Reloading();
      reloads.OnSignal();
      manager.Ready();
    } else if (signal > 0) {
      return signal;
    }
    reloads.Look();
    if (audit_log != nullptr) audit_log->WarnOfDropped();
    if (manager.present()) manager.Alive(StateInWords(shards));
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

Renewal ReloadPasswords(const std::vector<redlock::redis::Endpoint>& nodes) {
  auto all = Renewal::kNone;
  std::string errors;
  for (const auto& node : nodes) {
    if (!node.password_file) continue;
    try {
      if (node.password_file->Reload() == Renewal::kRenewed) all = Renewal::kRenewed;
    } catch (const std::runtime_error& error) {
      errors += (errors.empty() ? "" : "; ") + std::string(error.what());
    }
  }
  if (!errors.empty()) throw std::runtime_error(errors);
  return all;
}

void AddCertificates(Reloads& reloads, const std::string& label, const std::string& what,
                     redlock::secrets::CertificateFiles& files) {
  reloads.Add({.label = label,
               .what = what,
               .reload = [&files] { return files.Reload(); },
               .look = [&files] { return files.Look(); },
               .certificates = [&files] { return files.certificates(); }});
}

// What can be renewed without a restart. The arguments must outlive `reloads`.
void AddReloads(Reloads& reloads, redlock::access::Access& access,
                const redlock::config::Config& config, redlock::runtime::ShardPool& shards,
                redlock::rpc::LockService& service, redlock::rpc::Server& server) {
  reloads.Add({.label = "access",
               .what = "tokens and access list",
               .reload =
                   [&access, &service] {
                     access.Reload();
                     service.Recheck();
                     return Renewal::kRenewed;
                   },
               .look = {},
               .certificates = {}});
  const auto passwords = [&config] { return ReloadPasswords(config.nodes); };
  reloads.Add({.label = "node-passwords",
               .what = "node passwords",
               .reload = passwords,
               .look = passwords,
               .certificates = {}});
  if (server.certificates() != nullptr) {
    AddCertificates(reloads, "grpc-certificates", "certificates of the gRPC service",
                    server.certificates()->files());
  }
  if (shards.node_tls() != nullptr) {
    AddCertificates(reloads, "node-certificates", "certificates for the nodes",
                    shards.node_tls()->files());
  }
}

// Returns the exit status.
int Serve(const redlock::config::Config& config,
          redlock::v1::GetConfigurationResponse configuration) {
  const std::size_t most_connections =
      redlock::runtime::MostConnections(config, redlock::runtime::RaiseDescriptorLimit());
  if (most_connections < config.max_connections) {
    spdlog::warn(
        "--max-connections is {} instead of {}, because the limit of open files (ulimit -n) is too "
        "low",
        most_connections, config.max_connections);
  }
  std::unique_ptr<AuditLog> audit_log;  // outlives the shards, which write to it
  if (!config.audit_log.empty()) audit_log = std::make_unique<AuditLog>(config.audit_log);
  redlock::runtime::ShardPool shards(config);
  redlock::access::Access access({.token_file = config.token_file,
                                  .access_list = config.access_list,
                                  .client_certificates = !config.tls_client_ca.empty()});
  redlock::rpc::Connections connections(most_connections);
  redlock::rpc::LockService service(config, shards, access, connections, audit_log.get());
  redlock::rpc::AdminService admin(service.context(), std::move(configuration));
  redlock::rpc::Server server(config, connections, shards, service, admin);
  ServiceManager manager;
  Reloads reloads;
  AddReloads(reloads, access, config, shards, service, server);
  if (audit_log) {
    reloads.Add({.label = "audit-log",
                 .what = "files of the audit log",
                 .reload =
                     [&audit_log] {
                       audit_log->Reopen();
                       return Renewal::kRenewed;
                     },
                 .look = {},
                 .certificates = {}});
  }
  std::optional<redlock::observe::HttpListener> metrics;
  if (!config.metrics_listen.empty()) {
    metrics.emplace(config, shards, access, reloads,
                    [&service] { return service.streams().size(); });
    spdlog::info("serving the status page at http://{}/ and metrics at /metrics",
                 config.metrics_listen);
  }
  for (const std::string& address : server.addresses()) spdlog::info("serving gRPC on {}", address);

  manager.Ready();
  const int signal = WaitForEnd(reloads, audit_log.get(), manager, shards);
  manager.Stopping(config.drain_timeout + kSettleTimeout + kEndTimeout);
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

int Run(const redlock::config::CommandLine& command) {
  redlock::config::Config config = command.config;
  std::optional<redlock::dev::DevNodes> dev;  // before any thread starts
  if (config.dev) {
    dev.emplace();
    config.nodes = dev->endpoints();
  }
  redlock::observe::Log log(config);
  redlock::LogStart(command);
  if (dev) {
    spdlog::warn(
        "--dev: three private Redis nodes without persistence; locks do not outlive this process");
  }
  try {
    redlock::RequireFiles(config);
    return Serve(config, redlock::DescribeConfiguration(command.settings));
  } catch (const redlock::config::ConfigError& error) {
    log.Fatal(error.what());
    return kExitUsage;
  } catch (const std::exception& error) {
    log.Fatal(error.what());
    return EXIT_FAILURE;
  }
}

}  // namespace

// Runs before the constructors of shared libraries, because some open descriptors.
__attribute__((section(".preinit_array"), used)) void (*const before_all)() = [] {
  if (!redlock::observe::SecureStandardStreams()) _exit(EXIT_FAILURE);
};

int main(int argc, char** argv) {
  // OpenSSL must not free its state at exit: threads of gRPC may still begin a TLS handshake then.
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
  // Block the signals before any thread starts, so that only WaitForEnd() receives them.
  sigset_t signals = StopSignals();
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  try {
    std::string output;
    const auto command = redlock::config::ParseCommandLine(
        {argv + 1, argv + argc}, redlock::config::ProcessEnvironment(), output);
    if (!command) {
      std::fputs(output.c_str(), stdout);
      return EXIT_SUCCESS;
    }
    if (command->check_config) {
      redlock::CheckConfig(*command);
      return EXIT_SUCCESS;
    }
    return Run(*command);
  } catch (const redlock::config::ConfigError& error) {
    redlock::observe::WriteError(std::string("redlockd: ") + error.what() +
                                 "\nRun redlockd --help for usage.\n");
    return kExitUsage;
  } catch (const std::exception& error) {
    redlock::observe::WriteError(std::string("redlockd: ") + error.what() + "\n");
    return EXIT_FAILURE;
  }
}
