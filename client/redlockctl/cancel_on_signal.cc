#include "client/redlockctl/cancel_on_signal.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace redlockctl {

CancelOnSignal::CancelOnSignal(std::function<void()> cancel)
    : thread_([this, cancel = std::move(cancel)] {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGUSR1);
        int signal = 0;
        sigwait(&signals, &signal);
        signalled_ = signal != SIGUSR1;
        if (signalled_) cancel();
      }) {}

CancelOnSignal::~CancelOnSignal() {
  if (thread_.joinable()) (void)Stop();
}

bool CancelOnSignal::Stop() {
  pthread_kill(thread_.native_handle(), SIGUSR1);
  thread_.join();
  return signalled_;
}

}  // namespace redlockctl
