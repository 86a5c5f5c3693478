// Serves metrics over HTTP, on a listener of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/config/config.h"
#include "server/runtime/shard_thread.h"

class CivetServer;

namespace redlock::observe {

class MetricsListener {
 public:
  // Serves /metrics at once. `streams` tells how many are open; from any thread. The shards must
  // outlive this. Throws config::ConfigError where the address cannot be listened on.
  MetricsListener(const config::Config& config, runtime::ShardPool& shards,
                  std::function<std::size_t()> streams);
  ~MetricsListener();
  MetricsListener(const MetricsListener&) = delete;
  MetricsListener& operator=(const MetricsListener&) = delete;

 private:
  class Handler;

  std::unique_ptr<Handler> handler_;
  std::unique_ptr<CivetServer> server_;
};

}  // namespace redlock::observe
