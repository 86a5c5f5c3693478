#include "client/redlockctl/run_command.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

namespace redlockctl {
namespace {

namespace client = redlock::client;
using Clock = std::chrono::steady_clock;

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD}) sigaddset(&signals, signal);
  return signals;
}

// Waits for one of the signals. Returns 0 if `until` comes first.
int NextSignal(std::optional<Clock::time_point> until) {
  const sigset_t signals = Signals();
  if (!until) {
    int signal = 0;
    sigwait(&signals, &signal);
    return signal;
  }
  const auto left = std::max(*until - Clock::now(), Clock::duration::zero());
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
  const timespec timeout{ns / 1'000'000'000, ns % 1'000'000'000};
  const int signal = sigtimedwait(&signals, nullptr, &timeout);
  return signal < 0 ? 0 : signal;
}

// The lock and its state for the main thread, which is woken by SIGUSR1 when the state changes.
class HeldLock {
 public:
  HeldLock(client::Client& locks, const std::string& key, client::AcquireOptions options,
           const Printer& printer)
      : main_(pthread_self()) {
    options.stop = give_up_.get_token();
    options.queued = [&printer, key](int position) { printer.PrintQueued(key, position); };
    locks.acquire_async(key, std::move(options), [this](client::Result<client::Lock> result) {
      const std::lock_guard lock(mutex_);
      result_.emplace(std::move(result));
      pthread_kill(main_, SIGUSR1);
    });
  }
  HeldLock(const HeldLock&) = delete;
  HeldLock& operator=(const HeldLock&) = delete;
  // The result of the acquisition must have arrived.
  ~HeldLock() = default;

  // Null until the acquisition has been answered.
  [[nodiscard]] client::Result<client::Lock>* result() {
    const std::lock_guard lock(mutex_);
    return result_ ? &*result_ : nullptr;
  }
  // Wakes the main thread when the lock is lost. The lock must be held.
  void WatchForLoss() {
    lost_.emplace((*result_)->lost(), [main = main_] { pthread_kill(main, SIGUSR1); });
  }
  [[nodiscard]] const client::Lock& lock() const { return **result_; }
  [[nodiscard]] bool over() const { return (*result_)->lost().stop_requested(); }
  void GiveUp() { give_up_.request_stop(); }

 private:
  const pthread_t main_;
  std::stop_source give_up_;
  mutable std::mutex mutex_;
  std::optional<client::Result<client::Lock>> result_;
  std::optional<std::stop_callback<std::function<void()>>> lost_;
};

int StatusOf(ExitStatus status) {
  switch (status) {
    case kExitHeld:
      return kRunNotAcquired;
    case kExitNotHeld:
      return kRunLost;
    case kExitNoQuorum:
      return kRunNoQuorum;
    case kExitUnreachable:
      return kRunUnreachable;
    case kExitUsage:
      return kExitUsage;
    case kExitOk:
    case kExitFailed:
      break;
  }
  return kRunFailed;
}

pid_t Start(const std::vector<std::string>& command, const client::Lock& lock) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  setenv("REDLOCK_KEY", lock.key().c_str(), 1);
  setenv("REDLOCK_TOKEN", lock.token().c_str(), 1);
  setenv("REDLOCK_FENCING_TOKEN", std::to_string(lock.fencing_token()).c_str(), 1);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  execvp(arguments[0], arguments.data());
  const bool found = errno != ENOENT;
  const std::string complaint = "redlockctl: cannot run " + command[0] + "\n";
  (void)!write(STDERR_FILENO, complaint.data(), complaint.size());
  _exit(found ? kRunNotExecutable : kRunNotFound);
}

// Ends a command whose lock is lost: sends SIGTERM, and SIGKILL after the grace. If the lock is
// still trusted when the loss is signalled, SIGKILL is sent before the trust ends, because another
// client may have the lock after that.
class Ending {
 public:
  Ending(pid_t command, Clock::duration grace) : command_(command), kill_at_(Clock::now() + grace) {
    kill(command_, SIGTERM);
  }

  void Continue(const client::Lock& lock) {
    constexpr client::Duration kReserve = std::chrono::milliseconds(20);
    const client::Duration left = lock.time_to_stop();
    trusted_ |= left > client::Duration::zero();
    if (Clock::now() >= kill_at_ || (trusted_ && left <= kReserve)) kill(command_, SIGKILL);
  }

 private:
  const pid_t command_;
  const Clock::time_point kill_at_;
  bool trusted_ = false;
};

// Waits until the command has ended, and ends it when the lock is lost. Returns the exit status of
// the command as shells do, or kRunLost.
int Attend(pid_t command, const HeldLock& lock, const RunOptions& options) {
  constexpr auto kSlice = std::chrono::milliseconds(20);  // a suspend stops the clock of the wait
  std::optional<Clock::time_point> max_lifetime_ends;
  if (options.max_lifetime) max_lifetime_ends = Clock::now() + *options.max_lifetime;
  std::optional<Ending> ending;
  while (true) {
    int status = 0;
    if (waitpid(command, &status, WNOHANG) == command) {
      if (ending) return kRunLost;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    const bool over = lock.over() || (max_lifetime_ends && Clock::now() >= *max_lifetime_ends);
    if (over && !ending) ending.emplace(command, options.grace);
    if (ending) ending->Continue(lock.lock());
    const int signal = NextSignal(ending ? Clock::now() + kSlice : max_lifetime_ends);
    if (signal != 0 && signal != SIGCHLD && signal != SIGUSR1) kill(command, signal);
  }
}

}  // namespace

int RunUnderLock(client::Client& client, const RunOptions& options, const Printer& printer) {
  HeldLock lock(client, options.key, options.acquire, printer);
  int ended_by = 0;
  while (lock.result() == nullptr) {
    const int signal = NextSignal(std::nullopt);
    if (signal == SIGUSR1 || signal == SIGCHLD) continue;
    ended_by = signal;
    lock.GiveUp();
  }
  printer.ClearProgress();
  client::Result<client::Lock>& held = *lock.result();
  if (ended_by != 0) return 128 + ended_by;  // `lock` releases what was acquired meanwhile
  if (!held) {
    const Failure failure = Explain(held.error());
    printer.Print(failure);
    return StatusOf(failure.exit_status);
  }
  lock.WatchForLoss();
  const pid_t command = Start(options.command, *held);
  const int status = Attend(command, lock, options);
  const auto loss = held->loss();
  (void)held->release();  // the lock must be free when this returns
  if (status == kRunLost) {
    printer.Print(Failure{.reason = "LOCK_NOT_HELD",
                          .message = "the lock was lost; the command was ended (" +
                                     (loss ? loss->message : "--max-lifetime has passed") + ")",
                          .votes = {},
                          .retry_after = std::nullopt,
                          .exit_status = kExitNotHeld});
  }
  return status;
}

}  // namespace redlockctl
