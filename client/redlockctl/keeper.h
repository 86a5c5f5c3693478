// The process of `redlockctl run` that holds the lock, starts the command and ends it.
#pragma once

#include <redlock/client.h>
#include <signal.h>

#include <functional>

#include "client/redlockctl/printer.h"
#include "client/redlockctl/run_command.h"
#include "client/redlockctl/terminal.h"

namespace redlockctl {

// What the keeper reports to the front process through a pipe.
struct JobEvent {
  pid_t group;  // of the command; 0 while there is none
  int status;   // as waitpid(2) reports it; a start is reported as a continuation
};

struct KeeperOptions {
  const RunOptions& run;
  const Terminal& terminal;
  pid_t front = 0;          // the process that the user has started; its end ends the command
  int events = -1;          // the file descriptor to which JobEvents are written
  sigset_t signals{};       // those that are passed on to the command; blocked, like SIGCHLD
  sigset_t command_mask{};  // the signals that are blocked for the command
};

// Acquires the lock, runs the command and releases the lock. Returns the exit status. `explain`
// says why the lock was not acquired.
[[nodiscard]] int KeepAndRun(redlock::client::Client& client, const KeeperOptions& options,
                             const Printer& printer,
                             const std::function<Failure(const redlock::client::Error&)>& explain);

}  // namespace redlockctl
