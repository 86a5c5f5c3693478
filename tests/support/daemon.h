// A real redlockd over real nodes, and redlockctl against it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace redlock::testing {

// The programs under test.
extern const std::string kRedlockd;
extern const std::string kRedlockctl;

// What a program printed on stdout and stderr, and its exit status.
struct Finished {
  int status = 0;
  std::string output;
};

// Runs a shell command and waits for it.
[[nodiscard]] Finished Shell(const std::string& command);

class Daemon {
 public:
  // Serves the nodes on a free port. Waits until the daemon answers and has reached every node that
  // is up.
  explicit Daemon(const std::vector<std::unique_ptr<RedisServer>>& nodes,
                  std::vector<std::string> more_arguments = {});

  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] Process& process() { return *process_; }
  // Everything that it has logged so far.
  [[nodiscard]] std::string Log() const;
  // Runs redlockctl against this daemon.
  [[nodiscard]] Finished Ctl(const std::string& arguments) const;

 private:
  TemporaryDirectory directory_;
  std::string address_;
  std::unique_ptr<Process> process_;
};

[[nodiscard]] std::vector<std::unique_ptr<RedisServer>> StartNodes(std::size_t count);

}  // namespace redlock::testing
