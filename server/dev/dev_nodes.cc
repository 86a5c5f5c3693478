#include "server/dev/dev_nodes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace redlock::dev {
namespace {

constexpr int kNodes = 3;
constexpr auto kStartTimeout = std::chrono::seconds(5);

pid_t Spawn(const std::string& directory, const std::string& socket) {
  const pid_t daemon = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  // Ctrl-C in a terminal must reach only the daemon, which ends the nodes after it has drained.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != daemon) _exit(1);  // the daemon died before prctl()
  // exec() keeps which signals are blocked or ignored.
  for (int number = 1; number < SIGRTMIN; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
  execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket.c_str(),
         "--unixsocketperm", "700", "--dir", directory.c_str(), "--save", "", "--appendonly", "no",
         static_cast<char*>(nullptr));
  _exit(127);
}

bool Exited(pid_t process) { return waitpid(process, nullptr, WNOHANG) != 0; }

}  // namespace

DevNodes::DevNodes() {
  const std::string directory = directory_.path().string();
  for (int i = 1; i <= kNodes; ++i) {
    const std::string socket = directory + "/node" + std::to_string(i) + ".sock";
    processes_.push_back(Spawn(directory, socket));
    endpoints_.push_back({.kind = redis::Endpoint::Kind::kUnix, .path = socket});
  }
  const auto give_up = std::chrono::steady_clock::now() + kStartTimeout;
  for (std::size_t i = 0; i < endpoints_.size(); ++i) {
    struct stat unused {};
    while (stat(endpoints_[i].path.c_str(), &unused) != 0) {
      if (Exited(processes_[i]) || std::chrono::steady_clock::now() > give_up) {
        End();
        throw std::runtime_error(
            "--dev: redis-server did not start; check that it is installed and in PATH. Of the "
            "container images, only redlockd:dev contains it");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

DevNodes::~DevNodes() { End(); }

void DevNodes::End() {
  for (const pid_t process : processes_) kill(process, SIGKILL);
  for (const pid_t process : processes_) waitpid(process, nullptr, 0);
}

}  // namespace redlock::dev
