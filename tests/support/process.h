// Child processes of the tests: started on free ports, ended with the test, whatever happens.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace redlock::testing {

// A port that was free a moment ago.
[[nodiscard]] std::uint16_t FreePort();

// A directory that goes with this object.
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

// One program, killed at the end; the kernel kills it too if the test dies.
class Process {
 public:
  // Output goes to the file `log`.
  Process(std::vector<std::string> command, const std::string& log);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  void Signal(int signal) const;
  // Waits for the end and returns the exit status; 128 + signal where one ended it.
  int Wait();

 private:
  pid_t pid_;
};

// A redis-server without persistence on a TCP port of 127.0.0.1 and a unix socket.
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
  // Runs one command with redis-cli over the unix socket and returns what it prints.
  [[nodiscard]] std::string Cli(const std::string& command) const;

 private:
  TemporaryDirectory directory_;
  std::uint16_t port_;
  std::string socket_;
  std::vector<std::string> command_;
  std::unique_ptr<Process> process_;
};

}  // namespace redlock::testing
