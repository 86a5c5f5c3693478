#include "client/redlockctl/run_signals.h"

#include <algorithm>

namespace redlockctl {

sigset_t SignalsToPassOn() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal :
       {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP, SIGCONT, SIGWINCH}) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler != SIG_IGN) sigaddset(&signals, signal);
  }
  return signals;
}

bool EndsProcess(int signal) {
  return signal == SIGHUP || signal == SIGINT || signal == SIGQUIT || signal == SIGTERM ||
         signal == SIGUSR1 || signal == SIGUSR2 || signal == SIGALRM;
}

int NextSignal(const sigset_t& signals, std::optional<std::chrono::nanoseconds> patience) {
  int signal = -1;
  if (patience) {
    const auto ns = std::max<std::chrono::nanoseconds::rep>(patience->count(), 0);
    const timespec timeout{ns / 1'000'000'000, ns % 1'000'000'000};
    signal = sigtimedwait(&signals, nullptr, &timeout);
  } else {
    signal = sigwaitinfo(&signals, nullptr);
  }
  return std::max(signal, 0);  // also if the call was interrupted
}

}  // namespace redlockctl
