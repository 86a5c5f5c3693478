// Starts and ends the private Redis servers of `redlockd --dev`.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "server/dev/dev_directory.h"
#include "server/redis/endpoint.h"

namespace redlock::dev {

// Starts three redis-server processes without persistence, on Unix sockets in a temporary
// directory. The destructor ends them and removes the directory. If the daemon dies, the kernel
// ends them, and the next daemon removes the directory. Must be constructed before any other thread
// exists. Throws std::runtime_error if they cannot be started.
class DevNodes {
 public:
  DevNodes();
  ~DevNodes();
  DevNodes(const DevNodes&) = delete;
  DevNodes& operator=(const DevNodes&) = delete;

  [[nodiscard]] const std::vector<redis::Endpoint>& endpoints() const { return endpoints_; }

 private:
  void End();

  DevDirectory directory_;
  std::vector<redis::Endpoint> endpoints_;
  std::vector<pid_t> processes_;
};

}  // namespace redlock::dev
