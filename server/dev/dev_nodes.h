// Private, throw-away Redis servers for `redlockd --dev`.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "server/redis/endpoint.h"

namespace redlock::dev {

// Starts three redis-server processes without persistence, on unix sockets in a directory of their
// own. They end, and the directory goes, with this object; the kernel ends them too if the daemon
// dies. Construct before any other thread exists. Throws std::runtime_error in plain words.
class DevNodes {
 public:
  DevNodes();
  ~DevNodes();
  DevNodes(const DevNodes&) = delete;
  DevNodes& operator=(const DevNodes&) = delete;

  [[nodiscard]] const std::vector<redis::Endpoint>& endpoints() const { return endpoints_; }

 private:
  void End();

  std::string directory_;
  std::vector<redis::Endpoint> endpoints_;
  std::vector<pid_t> processes_;
};

}  // namespace redlock::dev
