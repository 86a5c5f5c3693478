#include "client/redlockctl/run_command.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>

namespace redlockctl {
namespace {

namespace v1 = redlock::v1;
using Clock = std::chrono::steady_clock;

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD}) sigaddset(&signals, signal);
  return signals;
}

// Waits for one of the signals; 0 when `until` has come first.
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

// Reads the Hold stream in a thread of its own, and wakes the main one with SIGUSR1.
class HeldLock {
 public:
  HeldLock(v1::LockService::Stub& stub, const v1::HoldRequest& request)
      : main_(pthread_self()),
        reader_(stub.Hold(&context_, request)),
        thread_([this] { Read(); }) {}
  ~HeldLock() {
    if (thread_.joinable()) (void)End();
  }
  HeldLock(const HeldLock&) = delete;
  HeldLock& operator=(const HeldLock&) = delete;

  [[nodiscard]] std::optional<v1::Lease> lease() const {
    const std::lock_guard lock(mutex_);
    return lease_;
  }
  // Lost, or the stream has ended: the command must not go on.
  [[nodiscard]] bool over() const { return over_; }

  // Gives the lock back, or up, and returns how the stream ended.
  grpc::Status End() {
    context_.TryCancel();
    thread_.join();
    return status_;
  }

 private:
  void Read() {
    v1::HoldResponse event;
    while (reader_->Read(&event)) {
      if (event.type() == v1::EVENT_TYPE_ACQUIRED) {
        const std::lock_guard lock(mutex_);
        lease_ = event.lease();
      } else if (event.type() == v1::EVENT_TYPE_LOST) {
        over_ = true;
      } else {
        continue;
      }
      pthread_kill(main_, SIGUSR1);
    }
    status_ = reader_->Finish();
    over_ = true;
    pthread_kill(main_, SIGUSR1);
  }

  const pthread_t main_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReader<v1::HoldResponse>> reader_;
  mutable std::mutex mutex_;
  std::optional<v1::Lease> lease_;
  std::atomic<bool> over_ = false;
  grpc::Status status_;  // once the thread has ended
  std::thread thread_;
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

pid_t Start(const std::vector<std::string>& command, const v1::Lease& lease) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  setenv("REDLOCK_KEY", lease.key().c_str(), 1);
  setenv("REDLOCK_TOKEN", lease.token().c_str(), 1);
  setenv("REDLOCK_FENCING_TOKEN", std::to_string(lease.fencing_token()).c_str(), 1);
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

// Until the command has ended; ends it when the lock is lost. Returns its status as shells do.
int Attend(pid_t command, const HeldLock& lock, std::chrono::milliseconds grace) {
  std::optional<Clock::time_point> kill_at;
  bool ending = false;
  while (true) {
    int status = 0;
    if (waitpid(command, &status, WNOHANG) == command) {
      if (ending) return kRunLost;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (lock.over() && !ending) {
      ending = true;
      kill(command, SIGTERM);
      kill_at = Clock::now() + grace;
    }
    const int signal = NextSignal(kill_at);
    if (signal == 0) {
      kill(command, SIGKILL);
      kill_at.reset();
    } else if (signal != SIGCHLD && signal != SIGUSR1) {
      kill(command, signal);
    }
  }
}

int NotAcquired(HeldLock& lock, const RunOptions& options, const Printer& printer, int signal) {
  const bool ended_by_daemon = lock.over();
  const grpc::Status status = lock.End();
  if (signal != 0) return 128 + signal;
  Failure failure =
      Explain(ended_by_daemon ? status : grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, ""),
              options.server);
  printer.Print(failure);
  return StatusOf(failure.exit_status);
}

}  // namespace

int RunUnderLock(v1::LockService::Stub& stub, const v1::HoldRequest& request,
                 const RunOptions& options, const Printer& printer) {
  HeldLock lock(stub, request);
  std::optional<Clock::time_point> give_up;
  if (options.wait) give_up = Clock::now() + *options.wait;
  while (!lock.lease()) {
    if (lock.over()) return NotAcquired(lock, options, printer, 0);
    const int signal = NextSignal(give_up);
    if (signal == 0) return NotAcquired(lock, options, printer, 0);
    if (signal != SIGUSR1 && signal != SIGCHLD) return NotAcquired(lock, options, printer, signal);
  }
  const v1::Lease lease = *lock.lease();
  const pid_t command = Start(options.command, lease);
  const int status = Attend(command, lock, options.grace);
  if (status == kRunLost && lock.over()) {
    printer.Print(Failure{.reason = "LOCK_NOT_HELD",
                          .message = "the lock was lost; the command was ended",
                          .votes = {},
                          .retry_after = std::nullopt,
                          .exit_status = kExitNotHeld});
    return status;
  }
  // By a call, so that the lock is free when this returns; the stream's end would do so as well.
  v1::ReleaseRequest release;
  release.set_key(lease.key());
  release.set_token(lease.token());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
  v1::ReleaseResponse released;
  (void)stub.Release(&context, release, &released);
  return status;
}

}  // namespace redlockctl
