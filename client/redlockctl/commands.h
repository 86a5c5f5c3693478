// The commands of redlockctl: one call of the service each.
#pragma once

#include <optional>
#include <stop_token>

#include "client/redlockctl/daemon.h"
#include "client/redlockctl/failure.h"
#include "client/redlockctl/options.h"
#include "client/redlockctl/printer.h"

namespace redlockctl {

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
  // One call; `then` prints its response and says how the command ends. A failure is printed.
  template <typename Stub, typename Request, typename Response>
  [[nodiscard]] ExitStatus Ask(Method<Stub, Request, Response> method, const Request& request,
                               auto then);
  // Prints the events of a stream until it ends, or a signal ends it. `seen` gets them too.
  template <typename Stub, typename Request, typename Event>
  [[nodiscard]] ExitStatus Follow(StreamMethod<Stub, Request, Event> method, const Request& request,
                                  auto seen);
  void ReleaseQuietly(const redlock::v1::Lease& lease);
  // Until told to stop; what cannot be asked is not shown.
  void ShowWaiting(const std::stop_token& stop);
  [[nodiscard]] ExitStatus Report(const grpc::Status& status);
  // Connected to when it is first asked.
  [[nodiscard]] Daemon& daemon();

  const Options options_;
  const Printer printer_;
  std::optional<Daemon> daemon_;
};

}  // namespace redlockctl
