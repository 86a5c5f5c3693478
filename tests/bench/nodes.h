// redis-server processes and their own statistics.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace redlock::bench {

// Totals over all nodes since their start.
struct NodeCounts {
  double commands = 0;  // including commands that scripts call
  double cpu_us = 0;    // user and system time of the server processes
  double bytes = 0;     // received and sent
  double calls = 0;     // read and write system calls on connections

  NodeCounts& operator-=(const NodeCounts& before) {
    commands -= before.commands;
    cpu_us -= before.cpu_us;
    bytes -= before.bytes;
    calls -= before.calls;
    return *this;
  }
};

class Nodes {
 public:
  explicit Nodes(std::size_t count);

  [[nodiscard]] const std::vector<std::unique_ptr<testing::RedisServer>>& servers() const {
    return servers_;
  }
  [[nodiscard]] std::vector<std::uint16_t> ports() const;
  // Does not count the commands that read the statistics.
  [[nodiscard]] NodeCounts Count() const;

 private:
  std::vector<std::unique_ptr<testing::RedisServer>> servers_;
};

}  // namespace redlock::bench
