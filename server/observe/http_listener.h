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

// Does not authenticate: answers every client that can reach it. The page shows keys only if the
// gRPC service requires no credentials either. Metrics never contain keys.
class HttpListener {
 public:
  // Starts to serve /metrics, and the page at /. `streams` returns the number of open streams and
  // must be callable from any thread. `shards` and `access` must outlive this. Throws
  // config::ConfigError if it cannot listen on the address.
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
