// Serves metrics and the status page over HTTP, on a listener of its own.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/access/access.h"
#include "server/config/config.h"
#include "server/observe/http_server.h"
#include "server/observe/trend.h"
#include "server/runtime/reloads.h"
#include "server/runtime/shard_thread.h"
#include "server/sync/mutex.h"

namespace redlock::observe {

// Does not authenticate: answers every client that can reach it. The page shows keys only if the
// gRPC service requires no credentials either. Metrics never contain keys.
class HttpListener {
 public:
  // Starts to serve /metrics, and the page at /. `streams` returns the number of open streams and
  // must be callable from any thread. The references must outlive this. Throws
  // std::runtime_error if it cannot listen on the address.
  HttpListener(const config::Config& config, runtime::ShardPool& shards,
               const access::Access& access, const runtime::Reloads& reloads,
               std::function<std::size_t()> streams);
  // Waits until queries to the shards have ended: up to 2 s for each of two
  // documents and for the sample of the trend.
  ~HttpListener();
  HttpListener(const HttpListener&) = delete;
  HttpListener& operator=(const HttpListener&) = delete;

 private:
  // Queries the shards. Returns nothing if a shard does not answer in time.
  using Document = std::function<std::optional<HttpAnswer>()>;
  using DocumentsByPath = std::map<std::string, Document>;

  static DocumentsByPath Documents(const config::Config& config, runtime::ShardPool& shards,
                                   const access::Access& access, const runtime::Reloads& reloads,
                                   const std::function<std::size_t()>& streams, const Trend& trend);
  void OnRequest(HttpServer::Ticket ticket, const std::string& path);
  void Compose();

  const std::map<std::string, std::shared_ptr<const HttpAnswer>> files_;  // by path
  Trend trend_;  // of the composer's thread
  const std::function<void()> sample_;
  const DocumentsByPath documents_;

  Mutex mutex_;
  std::condition_variable_any changed_;
  // By the path of the document. Each ticket belongs to a connection, so their number is bounded.
  std::map<std::string, std::vector<HttpServer::Ticket>> requested_ REDLOCK_GUARDED_BY(mutex_);
  bool ending_ REDLOCK_GUARDED_BY(mutex_) = false;

  HttpServer server_;
  // A thread of its own waits for the shards. It composes one document at a time, for all requests
  // that have come before it starts, and then rests, so that many requests cost the shards little.
  // Every Trend::kPeriod, it takes a sample.
  std::thread composer_;
};

}  // namespace redlock::observe
