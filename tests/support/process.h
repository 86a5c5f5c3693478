// Child processes of the tests. They run on free ports and always end with the test.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace redlock::testing {

// A port of 127.0.0.1 that nothing uses, reserved until this process ends: suites run side by side,
// and a server that restarts must find its port still free. It is outside the range from which the
// kernel chooses, and no other test gets it. tests/e2e/ports.py does the same. Thread-safe.
[[nodiscard]] std::uint16_t FreePort();

// A directory that is removed with this object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// One program, killed by the destructor; the kernel kills it too if the test dies.
class Process {
 public:
  // Writes the output to the file `log`.
  Process(std::vector<std::string> command, const std::string& log);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  void Signal(int signal) const;
  // Waits for the process and returns its exit status, or 128 + signal if a signal ended it.
  int Wait();

 private:
  pid_t pid_;
};

// A redis-server without persistence, on a TCP port of 127.0.0.1 and on a Unix socket.
class RedisServer {
 public:
  explicit RedisServer(std::vector<std::string> more_arguments = {});
  ~RedisServer();

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] const std::string& socket() const { return socket_; }
  void Kill();
  void Start();
  void Pause() const;
  void Resume() const;
  // Runs one command with redis-cli over the Unix socket and returns its output.
  [[nodiscard]] std::string Cli(const std::string& command) const;

 private:
  TemporaryDirectory directory_;
  std::uint16_t port_;
  std::string socket_;
  std::vector<std::string> command_;
  std::unique_ptr<Process> process_;
};

}  // namespace redlock::testing
