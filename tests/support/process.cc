#include "tests/support/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>

#include "server/loop/owned_fd.h"

namespace redlock::testing {

namespace {

// Whether nothing uses the port now.
bool IsFree(std::uint16_t port) {
  const OwnedFd probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return bind(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

// Binds an abstract Unix socket, which the kernel removes with the process. Not open if another
// process has reserved the port.
OwnedFd Reserve(std::uint16_t port) {
  OwnedFd reservation(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = "redlock-test-port-" + std::to_string(port);
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(reservation.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return OwnedFd(-1);
  return reservation;
}

}  // namespace

std::uint16_t FreePort() {
  static std::mutex mutex;
  static std::vector<OwnedFd> reserved;
  static std::mt19937 random{std::random_device{}()};
  const std::lock_guard lock(mutex);
  for (int i = 0; i < 10'000; ++i) {
    const auto port = std::uniform_int_distribution<std::uint16_t>(10'000, 31'999)(random);
    OwnedFd reservation = Reserve(port);
    if (reservation.get() < 0 || !IsFree(port)) continue;
    reserved.push_back(std::move(reservation));
    return port;
  }
  throw std::runtime_error("no free port from 10000 to 31999");
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "redlock-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Process::Process(std::vector<std::string> command, const std::string& log) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  dup2(file, STDOUT_FILENO);
  dup2(file, STDERR_FILENO);
  execvp(arguments[0], arguments.data());
  _exit(127);
}

Process::~Process() {
  if (pid_ <= 0) return;
  Signal(SIGKILL);  // also ends a stopped process
  (void)Wait();
}

void Process::Signal(int signal) const { kill(pid_, signal); }

int Process::Wait() {
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

RedisServer::RedisServer(std::vector<std::string> more_arguments)
    : port_(FreePort()), socket_(directory_.path() + "/redis.sock") {
  command_ = {"redis-server",
              "--port",
              std::to_string(port_),
              "--bind",
              "127.0.0.1",
              "--unixsocket",
              socket_,
              "--dir",
              directory_.path(),
              "--save",
              "",
              "--appendonly",
              "no"};
  command_.insert(command_.end(), more_arguments.begin(), more_arguments.end());
  Start();
}

RedisServer::~RedisServer() = default;

void RedisServer::Start() {
  process_ = std::make_unique<Process>(command_, directory_.path() + "/log");
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (Cli("PING").find("PONG") == std::string::npos &&
         Cli("PING").find("NOAUTH") == std::string::npos) {
    if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("no redis-server");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void RedisServer::Kill() {
  process_.reset();
  std::error_code ignored;
  std::filesystem::remove(socket_, ignored);
}

void RedisServer::Pause() const { process_->Signal(SIGSTOP); }
void RedisServer::Resume() const { process_->Signal(SIGCONT); }

std::string RedisServer::Cli(const std::string& command) const {
  const std::string line = "redis-cli -s " + socket_ + " " + command + " 2>&1";
  std::string output;
  std::FILE* const pipe = popen(line.c_str(), "r");
  std::array<char, 4096> buffer{};
  while (const std::size_t size = fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), size);
  }
  pclose(pipe);
  while (!output.empty() && output.back() == '\n') output.pop_back();
  return output;
}

}  // namespace redlock::testing
