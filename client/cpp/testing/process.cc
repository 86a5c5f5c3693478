#include "client/cpp/testing/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace redlock::testing::internal {

Process::Process(std::vector<std::string> command, std::string log) : log_(std::move(log)) {
  std::promise<pid_t> started;
  std::promise<void> ended;
  auto pid = started.get_future();
  ended_ = ended.get_future();
  thread_ = std::thread([this, command = std::move(command), started = std::move(started),
                         ended = std::move(ended)]() mutable {
    Run(std::move(command), std::move(started), std::move(ended));
  });
  pid_ = pid.get();
  if (pid_ < 0) {
    thread_.join();
    throw std::runtime_error("cannot fork a process");
  }
}

Process::~Process() {
  Signal(SIGKILL);
  thread_.join();
  waitpid(pid_, nullptr, 0);
}

void Process::Run(std::vector<std::string> command, std::promise<pid_t> started,
                  std::promise<void> ended) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {  // only async-signal-safe calls
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    const int file = open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  started.set_value(child);
  // Leaves the zombie to the next wait, so that the id stays ours for signals until then.
  siginfo_t how{};
  while (child > 0 && waitid(P_PID, static_cast<id_t>(child), &how, WEXITED | WNOWAIT) != 0 &&
         errno == EINTR) {
  }
  ended.set_value();
}

void Process::Signal(int signal) const { kill(pid_, signal); }

bool Process::EndsWithin(std::chrono::seconds time) const {
  return ended_.wait_for(time) == std::future_status::ready;
}

std::string Process::Log() const {
  std::ostringstream text;
  text << std::ifstream(log_).rdbuf();
  return text.str();
}

}  // namespace redlock::testing::internal
