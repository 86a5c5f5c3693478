// The command of `redlockctl run` with everything that it has started.
//
// The command leads a process group of its own. The process that starts it is a subreaper: what
// leaves the group, such as a daemon, remains its descendant and is ended with the rest.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "client/redlockctl/terminal.h"

namespace redlockctl {

struct JobOptions {
  std::vector<std::string> command;
  std::vector<std::string> environment;  // NAME=VALUE, in addition to that of this process
  sigset_t signal_mask;                  // of the command
  bool foreground = false;               // hand the terminal to it, if that is ours
};

// Makes this process the parent of the orphans among its descendants.
void AdoptOrphans();
// Sends the signal to all descendants of this process except those in `group`.
void SignalDescendants(int signal, pid_t group);

// The only children of this process are those of the job.
class Job {
 public:
  // Starts the command. The kernel kills it if the calling thread ends. error() is set if the
  // command cannot be run.
  Job(const JobOptions& options, const Terminal& terminal);

  // The errno of a command that could not be run; 0 if it runs.
  [[nodiscard]] int error() const { return error_; }
  // The process group and the process of the command.
  [[nodiscard]] pid_t group() const { return group_; }

  // Signals the process group.
  void Signal(int signal) const;
  // Signals also what has left the group.
  void SignalAll(int signal) const;

  // Collects children that have ended. Returns the changes of the command's state as waitpid(2)
  // reports them. Call it after each SIGCHLD.
  [[nodiscard]] std::vector<int> Collect();
  // As waitpid(2) reports it, once the command has ended.
  [[nodiscard]] std::optional<int> ended() const { return ended_; }
  // Whether the command has ended and its group is empty.
  [[nodiscard]] bool IsGroupGone() const;
  // Whether the command and all that it has started have ended.
  [[nodiscard]] bool IsGone() const { return ended_.has_value() && childless_; }

 private:
  int error_ = 0;
  pid_t group_ = 0;
  std::optional<int> ended_;
  bool childless_ = false;  // after the last Collect()
};

}  // namespace redlockctl
