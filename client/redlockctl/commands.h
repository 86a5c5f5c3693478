// The commands of redlockctl. Most of them make one call of the service.
#pragma once

#include <optional>
#include <stop_token>

#include "client/redlockctl/daemon.h"
#include "client/redlockctl/failure.h"
#include "client/redlockctl/options.h"
#include "client/redlockctl/printer.h"

namespace redlockctl {

// Each command prints its result and returns its exit status.
class Commands {
 public:
  Commands(Options options, Printer printer);

  [[nodiscard]] ExitStatus Acquire();
  [[nodiscard]] ExitStatus Extend();
  [[nodiscard]] ExitStatus Release();
  [[nodiscard]] ExitStatus Proclaim();
  [[nodiscard]] ExitStatus Inspect();
  // Prints who holds the key, and every change, until SIGINT or SIGTERM arrives, or --timeout has
  // passed.
  [[nodiscard]] ExitStatus Observe();
  // Asks every daemon, and prints who holds the key and who waits for it.
  [[nodiscard]] ExitStatus Who();
  // Prints the nodes as the daemon sees them. kExitNoQuorum if fewer than a quorum are up.
  [[nodiscard]] ExitStatus Status();
  // Prints the node set. kExitNoQuorum if there is none, or fewer than a quorum of members are up.
  [[nodiscard]] ExitStatus ListNodeSet();
  // Changes the node set and prints the progress. Throws std::invalid_argument if the change is
  // invalid.
  [[nodiscard]] ExitStatus ChangeNodeSet();
  // Prints whether the daemon serves. kExitNoQuorum if it does not.
  [[nodiscard]] ExitStatus Health();
  // Prints the watchdogs and waiters of all daemons, all pages.
  [[nodiscard]] ExitStatus Leases();
  // Takes a lock from its holder.
  [[nodiscard]] ExitStatus ForceRelease();
  [[nodiscard]] ExitStatus LogLevel();
  // Prints a new bearer token and the line for the daemon's --token-file. Makes no call.
  [[nodiscard]] ExitStatus Token();
  // Keeps a held lock alive until the lock is lost, max_lifetime has passed, or SIGINT or SIGTERM
  // arrives.
  [[nodiscard]] ExitStatus Watch();
  // Acquires the lock and keeps it alive until the same events; then releases it unless it was
  // lost.
  [[nodiscard]] ExitStatus Hold();
  // Runs a command while the lock is held; returns a RunExitStatus or the command's own status.
  [[nodiscard]] ExitStatus Run();
  [[nodiscard]] ExitStatus Bench();
  // Writes a file for a bug report. kExitOk although parts, such as the answers of a daemon that is
  // down, are missing.
  [[nodiscard]] ExitStatus Debug();

 private:
  [[nodiscard]] redlock::client::Options ClientOptions() const;
  // Adds why the time to wait for the lock ran out: asks the daemon who holds it.
  [[nodiscard]] Failure WithCause(Failure failure);
  // Names the key or the keys in a request, with their mode.
  void SetClaim(auto& request) const;
  // The same without the mode.
  void SetKeys(auto& request) const;
  // Sets the value and the delay of a request that acquires a lock.
  void SetPublished(auto& request) const;
  // Sets the retry policy of a request; leaves fields unset for which no option is given.
  void SetRetry(auto& request) const;
  // Inspects the keys up to the first one that is held or may be held.
  [[nodiscard]] grpc::Status InspectKeys(redlock::v1::InspectResponse& response, Millis timeout);
  // How long to wait for a lock at most: --wait or --timeout. Unset: no limit.
  [[nodiscard]] std::optional<Millis> Wait() const;
  // Makes one call. `then` prints the response and returns the exit status. Prints a failure.
  template <typename Stub, typename Request, typename Response>
  [[nodiscard]] ExitStatus Ask(Method<Stub, Request, Response> method, const Request& request,
                               auto then);
  // Calls ask(daemon) for each daemon in --server, and returns the highest exit status.
  [[nodiscard]] ExitStatus AskEach(auto ask) const;
  // Makes one call, and prints an error if it fails.
  template <typename Stub, typename Request, typename Response>
  [[nodiscard]] ExitStatus AskOne(Daemon& one, Method<Stub, Request, Response> method,
                                  const Request& request, Response& response) const;
  // Prints the events of a stream, and passes them to `seen`, until the stream ends or a signal
  // ends it.
  template <typename Stub, typename Request, typename Event>
  [[nodiscard]] ExitStatus Follow(StreamMethod<Stub, Request, Event> method, const Request& request,
                                  auto seen);
  // Prints the states of the observer until it ends, or --timeout has passed. With --once, until
  // the first decided one.
  [[nodiscard]] ExitStatus Follow(redlock::client::Observer& observer) const;
  // Releases a lock and ignores a failure: the lock expires then.
  void ReleaseQuietly(const redlock::v1::Lease& lease);
  // Shows who holds the key once a second until `stop` is requested. Ignores failed calls.
  void ShowWaiting(const std::stop_token& stop);
  [[nodiscard]] ExitStatus Report(const grpc::Status& status);
  // Connects on first use.
  [[nodiscard]] Daemon& daemon();

  const Options options_;
  const Printer printer_;
  std::optional<Daemon> daemon_;
};

}  // namespace redlockctl
