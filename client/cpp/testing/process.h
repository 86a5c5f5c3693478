// A child process of the test kit.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

namespace redlock::testing::internal {

// Ends with this object. The kernel ends it too if this process dies.
class Process {
 public:
  // Writes the output to the file `log`. Throws std::runtime_error.
  Process(std::vector<std::string> command, std::string log);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Signal(int signal) const;
  // Returns whether it has ended within that time.
  [[nodiscard]] bool EndsWithin(std::chrono::seconds time) const;
  [[nodiscard]] std::string Log() const;

 private:
  void Run(std::vector<std::string> command, std::promise<pid_t> started, std::promise<void> ended);

  const std::string log_;
  pid_t pid_ = -1;
  std::future<void> ended_;
  // Forks and waits. The kernel ends a child when the thread that has forked it ends, so this must
  // not be a thread of the user's.
  std::thread thread_;
};

}  // namespace redlock::testing::internal
