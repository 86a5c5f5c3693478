#include "client/redlockctl/keeper.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>

#include "client/redlockctl/attendance.h"
#include "client/redlockctl/held_lock.h"
#include "client/redlockctl/job.h"
#include "client/redlockctl/run_signals.h"
#include "client/redlockctl/shown.h"

namespace redlockctl {
namespace {

namespace client = redlock::client;

constexpr int kStopped = 0x7f | (SIGTSTP << 8);  // as waitpid(2) reports it
constexpr int kContinued = 0xffff;

int StatusOf(ExitStatus status, int not_acquired) {
  switch (status) {
    case kExitHeld:
      return not_acquired;
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

void Report(const KeeperOptions& options, JobEvent event) {
  (void)!write(options.events, &event, sizeof(event));
}

// Waits until the request for the lock has been answered. Returns the signal that ended the wait,
// or 0.
int Await(HeldLock& lock, const KeeperOptions& options) {
  sigset_t signals = options.signals;
  sigaddset(&signals, SIGCONT);  // also sent when the front process ends
  sigaddset(&signals, HeldLock::Wake());
  int ended_by = 0;
  while (lock.result() == nullptr) {
    if (getppid() != options.front) ended_by = SIGKILL;
    if (ended_by != 0) lock.GiveUp();
    const int signal = NextSignal(signals, std::nullopt);
    if (EndsProcess(signal)) ended_by = signal;
    if (signal == SIGTSTP) {  // no lock is held yet, so that waiting can stop
      Report(options, {.group = 0, .status = kStopped});
      raise(SIGSTOP);
    }
  }
  return ended_by;
}

int Fail(const Printer& printer, int status, const std::string& message) {
  printer.Print(Failure{.reason = status == kRunLost ? "LOCK_NOT_HELD" : "",
                        .message = message,
                        .votes = {},
                        .retry_after = std::nullopt,
                        .exit_status = status == kRunLost ? kExitNotHeld : kExitFailed});
  return status;
}

// Returns the exit status of a command that ended by itself.
int Passed(int status, const Printer& printer) {
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  const int exit_status = WEXITSTATUS(status);
  if (exit_status >= kRunUnreachable && exit_status <= kRunNotFound) {
    printer.PrintNotice("the command ended with status " + std::to_string(exit_status));
  }
  return exit_status;
}

// Returns false if the daemon refuses --keep-for: the key is free, and others may run the command.
bool Release(client::Lock& lock, const client::ReleaseOptions& options, const Printer& printer) {
  const auto released = lock.release(options);
  if (released) return true;
  const client::Reason reason = released.error().reason;
  printer.PrintNotice((reason == client::Reason::kLockNotHeld
                           ? "the lock was lost before the command ended: "
                       : reason == client::Reason::kInvalidArgument
                           ? "the lock is released, but --keep-for does not keep the key taken: "
                           : "the lock could not be released, and expires: ") +
                      released.error().message);
  return reason != client::Reason::kInvalidArgument;
}

// The lock must be held. It is free when this returns, unless the nodes cannot be reached.
int RunCommand(HeldLock& held, const KeeperOptions& options, const Printer& printer) {
  client::Lock& lock = held.lock();
  std::vector<std::string> environment = {
      "REDLOCK_KEY=" + Listed(lock.keys()), "REDLOCK_TOKEN=" + lock.token(),
      "REDLOCK_FENCING_TOKEN=" + std::to_string(lock.fencing_token())};
  if (!options.run.acquire.value.empty()) {
    environment.push_back("REDLOCK_VALUE=" + options.run.acquire.value);
  }
  if (lock.slot() != 0) environment.push_back("REDLOCK_SLOT=" + std::to_string(lock.slot()));
  Job job({.command = options.run.command,
           .environment = std::move(environment),
           .signal_mask = options.command_mask,
           .foreground = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0},
          options.terminal);
  if (job.error() != 0) {
    Release(lock, {}, printer);
    return Fail(printer, job.error() == ENOENT ? kRunNotFound : kRunNotExecutable,
                "cannot run " + options.run.command[0] + ": " + strerror(job.error()));
  }
  Report(options, {.group = job.group(), .status = kContinued});
  Attendance attendance(job, held, options);
  attendance.Run();
  if (attendance.gave_up()) printer.PrintNotice("some processes cannot be ended");
  const auto loss = lock.loss();
  const client::ReleaseOptions release{.keep_for = options.run.keep_for};
  switch (attendance.reason()) {
    case Attendance::Reason::kLeftBehind:
      printer.PrintNotice("the command left processes running in its group; they were ended");
      [[fallthrough]];
    case Attendance::Reason::kNone: {
      const bool accepted = Release(lock, release, printer);
      const int status = Passed(job.ended().value_or(0), printer);
      return accepted || status != 0 ? status : kRunFailed;
    }
    case Attendance::Reason::kLost:
      (void)lock.release();
      return Fail(printer, kRunLost,
                  "the lock was lost; the command was ended (" + (loss ? loss->message : "") + ")");
    case Attendance::Reason::kLifetimeOver:
      Release(lock, release, printer);
      return Fail(printer, kRunLost, "--max-lifetime has passed; the command was ended");
    case Attendance::Reason::kFrontGone:
      break;
  }
  Release(lock, release, printer);
  return Fail(printer, kRunFailed, "redlockctl was killed; the command was ended");
}

}  // namespace

int KeepAndRun(client::Client& client, const KeeperOptions& options, const Printer& printer,
               const std::function<Failure(const client::Error&)>& explain) {
  client::AcquireOptions acquire = options.run.acquire;
  acquire.margin = MarginFor(options.run);
  HeldLock held(client, options.run, std::move(acquire), printer);
  const int ended_by = Await(held, options);
  printer.ClearProgress();
  if (ended_by != 0) return 128 + ended_by;  // the destructor releases what was acquired meanwhile
  const client::Result<client::Lock>& lock = *held.result();
  if (!lock) {
    const Failure failure = explain(lock.error());
    printer.Print(failure);
    return StatusOf(failure.exit_status, options.run.not_acquired_status);
  }
  held.WatchForLoss();
  if (held.lost()) {  // this process was stopped meanwhile
    return Fail(printer, kRunLost, "the lock was lost before the command was started");
  }
  return RunCommand(held, options, printer);
}

}  // namespace redlockctl
