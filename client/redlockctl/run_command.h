// `redlockctl run` and `redlockctl elect`: run a command while the lock is held.
//
//   front    the process that the user has started: passes signals on, stops and continues with the
//   │        command, hands the terminal over. Single-threaded.
//   └─ keeper    holds the lock, with the threads of gRPC; ends what the command has started
//      └─ command    leads a process group of its own
//
// If the front is stopped, the keeper keeps the lock. If it is killed, the keeper ends the command
// and releases the lock. If the keeper is killed, the kernel kills the command, and the front kills
// what it has started.
#pragma once

#include <redlock/client.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "client/redlockctl/printer.h"

namespace redlockctl {

// Returned instead of the exit status of the command. Chosen to avoid the statuses in common use as
// far as the conventions of flock and of shells allow. redlockctl explains each of them in a line
// on standard error that begins with "redlockctl: ", also if it is the command's own.
enum RunExitStatus : int {
  kRunUnreachable = 120,  // no daemon answered
  kRunNoQuorum = 121,     // too few Redis nodes answered
  kRunLost = 122,         // the lock was lost and the command was ended
  kRunNotAcquired = 123,  // another holder has the lock, or the time to wait ran out
  kRunFailed = 125,       // any other failure of redlockctl itself
  kRunNotExecutable = 126,
  kRunNotFound = 127,
};

struct KeeperOptions;

struct RunOptions {
  std::vector<std::string> keys;            // to lock together
  bool shared = false;                      // with others
  int max_holders = 0;                      // of a semaphore; 0: it is a lock
  redlock::client::AcquireOptions acquire;  // stop, queued and margin are ignored
  std::vector<std::string> command;
  // The time between SIGTERM and SIGKILL. After a loss, it ends before the validity does.
  std::chrono::milliseconds grace{};
  std::optional<std::chrono::milliseconds> max_lifetime;  // of the lock, which then counts as lost
  int not_acquired_status = kRunNotAcquired;
  // How long after the acquisition the key stays taken, once the command has been started.
  std::optional<std::chrono::milliseconds> keep_for;
};

// Acquires the lock in the keeper. Returns the exit status.
using Keep = std::function<int(const KeeperOptions& options)>;

// Returns the exit status. The calling process must not have used gRPC and must have one thread.
// The command gets the lock's keys, token and fencing token in the environment variables
// REDLOCK_KEY ("a, b" if there are several), REDLOCK_TOKEN and REDLOCK_FENCING_TOKEN, the slot of a
// semaphore in REDLOCK_SLOT, and a value that the lock publishes in REDLOCK_VALUE. Returns in the
// keeper, too, with the result of `keep`.
[[nodiscard]] int RunUnderLock(const RunOptions& options, const Keep& keep, const Printer& printer);

}  // namespace redlockctl
