// The process of `redlockctl run` that the user has started: passes signals to the keeper, and
// hands the terminal to the command and back.
//
// The command has the terminal from the start if standard input and output are the terminal, or
// else from its first attempt to read it: the programs of a pipeline may need the terminal, too.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>

#include "client/redlockctl/keeper.h"
#include "client/redlockctl/terminal.h"

namespace redlockctl {

class Front {
 public:
  // `events`: the file descriptor from which the keeper's JobEvents are read, non-blocking.
  // `signals`: those to pass on. They and SIGCHLD must be blocked.
  Front(pid_t keeper, int events, const sigset_t& signals, const Terminal& terminal);

  // Waits for the keeper. Returns its exit status, or std::nullopt if a signal ended it; what the
  // command had started has been killed then. If Ctrl-C or Ctrl-\ has ended a command that had the
  // terminal, ends this process group the same way, as if it had shared the terminal.
  [[nodiscard]] std::optional<int> Wait();

 private:
  void TakeSignals(int signal_fd);
  void TakeEvents();
  void OnEvent(const JobEvent& event);
  // Stops this process group together with the command, so that the shell notices.
  void Stop();
  void Continue();
  void KillWhatIsLeft() const;

  const pid_t keeper_;
  int events_;  // negative at the end of the events
  const sigset_t signals_;
  const Terminal& terminal_;
  pid_t group_ = 0;              // of the command, once it has been started
  bool wants_terminal_ = false;  // the command had the terminal when it was stopped
  int interrupted_by_ = 0;       // the signal from the terminal that ended the command
};

}  // namespace redlockctl
