#include "client/redlockctl/job.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

namespace redlockctl {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  return pointers;
}

// The environment of this process with the variables that are added or replaced.
std::vector<char*> Environment(const std::vector<std::string>& added) {
  std::vector<char*> pointers = Pointers(added);
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view old(*variable);
    const std::string_view name = old.substr(0, old.find('=') + 1);
    const bool replaced = std::any_of(added.begin(), added.end(), [name](const std::string& each) {
      return each.starts_with(name);
    });
    if (!replaced) pointers.push_back(*variable);
  }
  pointers.push_back(nullptr);
  return pointers;
}

void AppendChildren(const std::string& process, std::vector<pid_t>& found) {
  std::error_code error;
  std::filesystem::directory_iterator task("/proc/" + process + "/task", error);
  for (; !error && task != std::filesystem::directory_iterator(); task.increment(error)) {
    std::ifstream children(task->path() / "children");
    for (pid_t child = 0; children >> child;) found.push_back(child);
  }
}

// From the oldest generation to the youngest.
std::vector<pid_t> Descendants() {
  std::vector<pid_t> found;
  AppendChildren("self", found);
  for (std::size_t i = 0; i < found.size(); ++i) AppendChildren(std::to_string(found[i]), found);
  return found;
}

// Runs between fork() and exec() of a process with threads: async-signal-safe functions only.
[[noreturn]] void Execute(char* const* arguments, char* const* environment,
                          const JobOptions& options, const Terminal& terminal, pid_t parent,
                          int failure) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(EXIT_FAILURE);  // it ended before the request
  if (options.foreground) terminal.Give(getpid());
  signal(SIGCHLD, SIG_DFL);
  sigprocmask(SIG_SETMASK, &options.signal_mask, nullptr);
  execvpe(arguments[0], arguments, environment);
  const int error = errno;
  (void)!write(failure, &error, sizeof(error));
  _exit(EXIT_FAILURE);
}

}  // namespace

void AdoptOrphans() { prctl(PR_SET_CHILD_SUBREAPER, 1); }

void SignalDescendants(int signal, pid_t group) {
  for (const pid_t process : Descendants()) {
    if (getpgid(process) != group) kill(process, signal);
  }
}

Job::Job(const JobOptions& options, const Terminal& terminal) {
  std::vector<char*> arguments = Pointers(options.command);
  arguments.push_back(nullptr);
  const std::vector<char*> environment = Environment(options.environment);
  int failure[2];
  if (pipe2(failure, O_CLOEXEC) != 0) {
    error_ = errno;
    return;
  }
  const pid_t parent = getpid();
  group_ = fork();
  if (group_ == 0) {
    Execute(arguments.data(), environment.data(), options, terminal, parent, failure[1]);
  }
  if (group_ < 0) error_ = errno;
  close(failure[1]);
  // Ends when the command runs. Nothing is read then.
  while (group_ > 0 && read(failure[0], &error_, sizeof(error_)) < 0 && errno == EINTR) {
  }
  close(failure[0]);
}

void Job::Signal(int signal) const { kill(-group_, signal); }

void Job::SignalAll(int signal) const {
  Signal(signal);
  SignalDescendants(signal, group_);
}

std::vector<int> Job::Collect() {
  std::vector<int> changes;
  int status = 0;
  pid_t child = 0;
  while ((child = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0) {
    if (child != group_) continue;
    changes.push_back(status);
    if (WIFEXITED(status) || WIFSIGNALED(status)) ended_ = status;
  }
  childless_ = child < 0;
  return changes;
}

bool Job::IsGroupGone() const {
  return ended_.has_value() && kill(-group_, 0) != 0 && errno == ESRCH;
}

}  // namespace redlockctl
