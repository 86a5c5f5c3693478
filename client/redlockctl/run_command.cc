#include "client/redlockctl/run_command.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "client/redlockctl/front.h"
#include "client/redlockctl/held_lock.h"
#include "client/redlockctl/job.h"
#include "client/redlockctl/keeper.h"
#include "client/redlockctl/run_signals.h"

namespace redlockctl {
namespace {

void Check(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
}

// Blocks the signals that are waited for, SIGTTOU, which would stop a process that hands the
// terminal over, and SIGPIPE, which would end the keeper when the front has ended. Returns the
// signals that were blocked before.
sigset_t Block(sigset_t signals) {
  for (const int signal : {SIGCHLD, SIGTTOU, SIGPIPE, HeldLock::Wake()})
    sigaddset(&signals, signal);
  signal(SIGCHLD, SIG_DFL);  // if it was ignored, waitpid() would not report how a child ended
  sigset_t before;
  sigprocmask(SIG_BLOCK, &signals, &before);
  return before;
}

}  // namespace

int RunUnderLock(const RunOptions& options, const Keep& keep, const Printer& printer) {
  const Terminal terminal;
  const sigset_t signals = SignalsToPassOn();
  const sigset_t before = Block(signals);
  std::array<int, 2> events{};
  Check(pipe2(events.data(), O_CLOEXEC | O_NONBLOCK), "pipe");
  AdoptOrphans();  // if the keeper is killed
  const pid_t front = getpid();
  const pid_t keeper = fork();
  Check(keeper, "fork");
  if (keeper == 0) {
    close(events[0]);
    prctl(PR_SET_NAME, "redlock-keeper");  // pkill(1) of redlockctl must not match it
    setpgid(0, 0);                         // signals from the terminal reach it through the front
    prctl(PR_SET_PDEATHSIG, SIGCONT);      // wakes it even if it is stopped
    AdoptOrphans();
    return keep({.run = options,
                 .terminal = terminal,
                 .front = front,
                 .events = events[1],
                 .signals = signals,
                 .command_mask = before});
  }
  close(events[1]);
  const std::optional<int> status = Front(keeper, events[0], signals, terminal).Wait();
  close(events[0]);
  if (status) return *status;
  printer.PrintNotice("the process that held the lock was killed; the command was ended");
  return kRunFailed;
}

}  // namespace redlockctl
