// `redlockctl run`: runs a command while the lock is held.
#pragma once

#include <redlock/client.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "client/redlockctl/printer.h"

namespace redlockctl {

// Returned instead of the exit status of the command. Chosen to avoid the statuses in common use as
// far as the conventions of flock and of shells allow.
enum RunExitStatus : int {
  kRunUnreachable = 120,  // no daemon answered
  kRunNoQuorum = 121,     // too few Redis nodes answered
  kRunLost = 122,         // the lock was lost and the command was ended
  kRunNotAcquired = 123,  // another holder has the lock, or the time to wait ran out
  kRunFailed = 125,       // any other failure of redlockctl itself
  kRunNotExecutable = 126,
  kRunNotFound = 127,
};

struct RunOptions {
  std::string key;
  redlock::client::AcquireOptions acquire;  // stop and queued are ignored
  std::vector<std::string> command;
  // The time between SIGTERM and SIGKILL after a loss. Shorter if another client could acquire the
  // lock earlier.
  std::chrono::milliseconds grace{};
  std::optional<std::chrono::milliseconds> max_lifetime;  // of the lock, which then counts as lost
};

// Returns the exit status. SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGCHLD must be blocked in every
// thread; the first three are forwarded to the command. The command gets the lock's key, token and
// fencing token in the environment variables REDLOCK_KEY, REDLOCK_TOKEN and REDLOCK_FENCING_TOKEN.
[[nodiscard]] int RunUnderLock(redlock::client::Client& client, const RunOptions& options,
                               const Printer& printer);

}  // namespace redlockctl
