#include "tests/support/daemon.h"

#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace redlock::testing {
namespace {
constexpr int kUnreachable = 6;  // redlockctl's exit status
// On a busy machine, a node can take longer than the daemon's default to answer.
constexpr const char* kNodeTimeout = "1s";
}  // namespace

// The environment can select another build, to compare two builds, or a script that starts one.
const std::string kRedlockd =
    std::getenv("REDLOCKD") != nullptr ? std::getenv("REDLOCKD") : REDLOCKD_PATH;
const std::string kRedlockctl =
    std::getenv("REDLOCKCTL") != nullptr ? std::getenv("REDLOCKCTL") : REDLOCKCTL_PATH;

Finished Shell(const std::string& command) {
  Finished finished;
  std::FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer{};
  while (const std::size_t size = fread(buffer.data(), 1, buffer.size(), pipe)) {
    finished.output.append(buffer.data(), size);
  }
  const int status = pclose(pipe);
  finished.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return finished;
}

std::vector<std::unique_ptr<RedisServer>> StartNodes(std::size_t count) {
  std::vector<std::unique_ptr<RedisServer>> nodes;
  for (std::size_t i = 0; i < count; ++i) nodes.push_back(std::make_unique<RedisServer>());
  return nodes;
}

Daemon::Daemon(const std::vector<std::unique_ptr<RedisServer>>& nodes,
               std::vector<std::string> more_arguments)
    : address_("127.0.0.1:" + std::to_string(FreePort())) {
  std::vector<std::string> command = {kRedlockd, "--listen", address_};
  for (const auto& node : nodes) {
    command.insert(command.end(), {"--node", "redis://127.0.0.1:" + std::to_string(node->port())});
  }
  if (std::ranges::find(more_arguments, "--node-timeout") == more_arguments.end()) {
    command.insert(command.end(), {"--node-timeout", kNodeTimeout});
  }
  command.insert(command.end(), more_arguments.begin(), more_arguments.end());
  process_ = std::make_unique<Process>(command, directory_.path() + "/log");
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto ready = [this] {
    const Finished probe = Ctl("inspect probe");
    return probe.status != kUnreachable &&
           probe.output.find("not connected yet") == std::string::npos &&
           (probe.output.find("no node set found yet") == std::string::npos ||
            probe.output.find("configured at this daemon") != std::string::npos) &&
           probe.output.find("not marked yet") == std::string::npos;
  };
  while (!ready()) {
    if (std::chrono::steady_clock::now() > give_up) {
      throw std::runtime_error("redlockd does not serve: " + Log());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

std::string Daemon::Log() const {
  std::stringstream text;
  text << std::ifstream(directory_.path() + "/log").rdbuf();
  return text.str();
}

Finished Daemon::Ctl(const std::string& arguments) const {
  return Shell(kRedlockctl + " --server " + address_ + " " + arguments);
}

}  // namespace redlock::testing
