#include "server/observe/metrics_listener.h"

#include <CivetServer.h>
#include <prometheus/text_serializer.h>

#include <sstream>
#include <utility>

#include "server/observe/metrics.h"
#include "server/observe/view.h"

namespace redlock::observe {
namespace {

void Answer(mg_connection* connection, const char* status, const char* type,
            const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
            status, type, body.size());
  mg_write(connection, body.data(), body.size());
}

}  // namespace

class MetricsListener::Handler final : public CivetHandler {
 public:
  Handler(const config::Config& config, runtime::ShardPool& shards,
          std::function<std::size_t()> streams)
      : shards_(shards), streams_(std::move(streams)) {
    for (const redis::Endpoint& node : config.nodes) nodes_.push_back(node.Name());
  }

  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    const auto view = Look(nodes_, shards_);
    if (!view) {
      Answer(connection, "503 Service Unavailable", "text/plain", "a shard does not answer\n");
      return true;
    }
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, ToMetrics(*view, streams_(), REDLOCKD_VERSION));
    Answer(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8", text.str());
    return true;
  }

 private:
  std::vector<std::string> nodes_;
  runtime::ShardPool& shards_;
  const std::function<std::size_t()> streams_;
};

MetricsListener::MetricsListener(const config::Config& config, runtime::ShardPool& shards,
                                 std::function<std::size_t()> streams)
    : handler_(std::make_unique<Handler>(config, shards, std::move(streams))) {
  const std::vector<std::string> options = {
      "listening_ports", config.metrics_listen, "num_threads", "2", "request_timeout_ms", "5000"};
  try {
    server_ = std::make_unique<CivetServer>(options);
  } catch (const CivetException&) {
    throw config::ConfigError("--metrics-listen " + config.metrics_listen +
                              ": cannot be listened on; is it host:port, not in use, and this "
                              "machine's?");
  }
  server_->addHandler("/metrics", *handler_);
}

MetricsListener::~MetricsListener() = default;

}  // namespace redlock::observe
