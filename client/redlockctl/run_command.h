// `redlockctl run`: a command that runs while the lock is held.
#pragma once

#include <redlock/client.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "client/redlockctl/printer.h"

namespace redlockctl {

// Besides the command's own exit status, and as far from those in common use as flock's and the
// shells' habits allow.
enum RunExitStatus : int {
  kRunUnreachable = 120,  // no daemon answered
  kRunNoQuorum = 121,     // too few Redis nodes answered
  kRunLost = 122,         // the lock was lost, and the command ended for it
  kRunNotAcquired = 123,  // another holder has the lock, or the time to wait ran out
  kRunFailed = 125,       // any other failure of redlockctl itself
  kRunNotExecutable = 126,
  kRunNotFound = 127,
};

struct RunOptions {
  std::string key;
  redlock::client::AcquireOptions acquire;  // stop and queued are not looked at
  std::vector<std::string> command;
  // Between SIGTERM and SIGKILL after a loss; less if another client could have the lock sooner.
  std::chrono::milliseconds grace{};
  std::optional<std::chrono::milliseconds> max_lifetime;  // of the lock; then it counts as lost
};

// Returns the exit status. SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGCHLD must be blocked in every
// thread; the first three are passed on to the command. It finds the lock's key, token and fencing
// token in REDLOCK_KEY, REDLOCK_TOKEN and REDLOCK_FENCING_TOKEN.
[[nodiscard]] int RunUnderLock(redlock::client::Client& client, const RunOptions& options,
                               const Printer& printer);

}  // namespace redlockctl
