// The commands of redlockctl: one call of the service each.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "client/redlockctl/bench_command.h"
#include "client/redlockctl/failure.h"
#include "client/redlockctl/printer.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/redlock/v1/admin_service.grpc.pb.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlockctl {

using Millis = std::chrono::duration<double, std::milli>;

struct Options {
  std::vector<std::string> servers = {"127.0.0.1:50051"};
  std::string tls_ca;  // PEM files; empty: no TLS
  std::string tls_cert, tls_key;
  std::string auth_token_file;
  std::string auth_token;  // says who the caller is; empty: nobody
  std::string identity;    // that a token is made for
  std::string why;         // of a forced release
  std::string level;       // of the daemon's log
  std::string key;
  std::string token;
  std::string owner;
  Millis ttl = std::chrono::seconds(30);
  std::optional<Millis> timeout;   // of the call
  std::optional<Millis> wait;      // for the lock
  std::optional<Millis> interval;  // of a watch
  std::optional<Millis> max_lifetime;
  Millis grace = std::chrono::seconds(5);  // of a command whose lock was lost
  std::vector<std::string> command;
  BenchOptions bench;
  bool single_try = false;
  std::optional<int> max_retries;  // of a request; the daemon's defaults where none is set
  std::optional<Millis> min_delay;
  std::optional<Millis> max_jitter;
  bool extend_if_held = false;
  bool release_on_close = false;
  bool keep_watching = false;
};

class Commands {
 public:
  Commands(Options options, Printer printer);

  [[nodiscard]] ExitStatus Acquire();
  [[nodiscard]] ExitStatus Extend();
  [[nodiscard]] ExitStatus Release();
  [[nodiscard]] ExitStatus Inspect();
  // The nodes as the daemon sees them; kExitNoQuorum where too few of them would grant.
  [[nodiscard]] ExitStatus Status();
  // Whether the daemon serves: kExitOk, else kExitNoQuorum.
  [[nodiscard]] ExitStatus Health();
  // What the daemon keeps alive and who waits there, all pages.
  [[nodiscard]] ExitStatus Leases();
  // Takes a lock from whoever holds it.
  [[nodiscard]] ExitStatus ForceRelease();
  [[nodiscard]] ExitStatus LogLevel();
  // Prints a new bearer token and the line for the daemon's file; asks nobody.
  [[nodiscard]] ExitStatus Token();
  // Until the lock is lost, max_lifetime has passed, or SIGINT or SIGTERM comes.
  [[nodiscard]] ExitStatus Watch();
  // Takes the lock and holds it until then.
  [[nodiscard]] ExitStatus Hold();
  // Runs a command while the lock is held; returns a RunExitStatus or the command's own status.
  [[nodiscard]] ExitStatus Run();
  [[nodiscard]] ExitStatus Bench();

 private:
  [[nodiscard]] redlock::client::Options ClientOptions() const;
  // Of any request that has one; unset where no option says anything.
  void SetRetry(auto& request) const;
  // How long to wait for a lock at most: --try, --wait or --timeout.
  [[nodiscard]] std::optional<Millis> Wait() const;
  [[nodiscard]] redlock::v1::HoldRequest HoldRequest() const;
  void Identify(grpc::ClientContext& context) const;
  void SetDeadline(grpc::ClientContext& context) const;
  static void SetDeadline(grpc::ClientContext& context, Millis timeout);
  void ShowWaiting(const std::stop_token& stop) const;
  [[nodiscard]] ExitStatus Report(const grpc::Status& status) const;

  const Options options_;
  const Printer printer_;
  std::string server_;  // that is asked
  std::unique_ptr<redlock::v1::LockService::Stub> stub_;
  std::unique_ptr<redlock::v1::AdminService::Stub> admin_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

}  // namespace redlockctl
