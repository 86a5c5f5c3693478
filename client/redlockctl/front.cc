#include "client/redlockctl/front.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "client/redlockctl/job.h"

namespace redlockctl {
namespace {

constexpr int kKillRounds = 250;
constexpr int kKillPauseUs = 20'000;

// Sends this process group a signal that is blocked here, and takes its default action.
void TakeWithGroup(int signal) {
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  kill(0, signal);
  sigprocmask(SIG_UNBLOCK, &only, nullptr);
  sigprocmask(SIG_BLOCK, &only, nullptr);
}

bool IsPending(int signal) {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, signal) == 1;
}

bool IsFromTerminal(int signal) { return signal == SIGINT || signal == SIGQUIT; }

}  // namespace

Front::Front(pid_t keeper, int events, const sigset_t& signals, const Terminal& terminal)
    : keeper_(keeper), events_(events), signals_(signals), terminal_(terminal) {}

std::optional<int> Front::Wait() {
  sigset_t signals = signals_;
  sigaddset(&signals, SIGCHLD);
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  int status = 0;
  pid_t ended = 0;
  while (ended != keeper_) {
    std::array<pollfd, 2> sources = {pollfd{.fd = signal_fd, .events = POLLIN, .revents = 0},
                                     pollfd{.fd = events_, .events = POLLIN, .revents = 0}};
    (void)poll(sources.data(), sources.size(), -1);
    TakeSignals(signal_fd);
    ended = waitpid(keeper_, &status, WNOHANG);
    TakeEvents();  // also the last ones
  }
  close(signal_fd);
  (void)terminal_.TakeBack(group_);
  if (!WIFEXITED(status)) {
    KillWhatIsLeft();
    return std::nullopt;
  }
  if (interrupted_by_ != 0) {
    prctl(PR_SET_DUMPABLE, 0);  // no core of this process after SIGQUIT
    TakeWithGroup(interrupted_by_);
  }
  return WEXITSTATUS(status);
}

void Front::TakeSignals(int signal_fd) {
  signalfd_siginfo info{};
  while (read(signal_fd, &info, sizeof(info)) == sizeof(info)) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGCONT) {
      Continue();
    } else if (signal != SIGCHLD) {
      kill(keeper_, signal);
    }
  }
}

void Front::TakeEvents() {
  JobEvent event{};
  ssize_t size = 0;
  while (events_ >= 0 && (size = read(events_, &event, sizeof(event))) == sizeof(event)) {
    OnEvent(event);
  }
  if (size == 0) events_ = -1;
}

void Front::OnEvent(const JobEvent& event) {
  group_ = event.group;
  if (WIFCONTINUED(event.status)) return;
  if (WIFSTOPPED(event.status)) {
    const int signal = WSTOPSIG(event.status);
    const bool asks = signal == SIGTTIN || signal == SIGTTOU;
    if (asks && terminal_.Give(group_)) {
      Continue();
    } else if (terminal_.exists()) {
      Stop();
    }
    return;
  }
  const bool had_terminal = terminal_.TakeBack(group_);
  if (had_terminal && WIFSIGNALED(event.status) && IsFromTerminal(WTERMSIG(event.status))) {
    interrupted_by_ = WTERMSIG(event.status);
  }
}

void Front::Stop() {
  wants_terminal_ = terminal_.TakeBack(group_) || wants_terminal_;
  TakeWithGroup(SIGTSTP);
  // The kernel does not stop a group that no shell would continue. The command must not stay
  // stopped then.
  if (!IsPending(SIGCONT) && terminal_.IsOurs()) Continue();
}

void Front::Continue() {
  if (wants_terminal_ && terminal_.Give(group_)) wants_terminal_ = false;
  kill(keeper_, SIGCONT);
}

void Front::KillWhatIsLeft() const {
  for (int round = 0; round < kKillRounds; ++round) {
    SignalDescendants(SIGKILL, 0);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (waitpid(-1, nullptr, WNOHANG) < 0) return;  // no children are left
    usleep(kKillPauseUs);
  }
}

}  // namespace redlockctl
