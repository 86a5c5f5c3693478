// Serves metrics and the status page over HTTP, on a listener of its own.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "server/access/access.h"
#include "server/config/config.h"
#include "server/runtime/shard_thread.h"

class CivetServer;

namespace redlock::observe {

// To anybody who can reach it. Keys are shown on the page only where nobody is asked who they are
// by the service either, and never in metrics.
class HttpListener {
 public:
  // Serves at once: /metrics, and the page at /. `streams` tells how many are open; from any
  // thread. The shards and the access must outlive this. Throws config::ConfigError where the
  // address cannot be listened on.
  HttpListener(const config::Config& config, runtime::ShardPool& shards,
               const access::Access& access, std::function<std::size_t()> streams);
  ~HttpListener();
  HttpListener(const HttpListener&) = delete;
  HttpListener& operator=(const HttpListener&) = delete;

 private:
  class Handler;

  std::vector<std::unique_ptr<Handler>> handlers_;
  std::unique_ptr<CivetServer> server_;
};

}  // namespace redlock::observe
