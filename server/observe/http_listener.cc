#include "server/observe/http_listener.h"

#include <CivetServer.h>
#include <prometheus/text_serializer.h>

#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "server/observe/metrics.h"
#include "server/observe/page_files.h"
#include "server/observe/status_json.h"
#include "server/observe/view.h"

namespace redlock::observe {
namespace {

struct Document {
  const char* type;
  std::string body;
};

void Answer(mg_connection* connection, const char* status, const Document& document) {
  mg_printf(connection,
            "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            "Referrer-Policy: no-referrer\r\n"
            "Content-Security-Policy: default-src 'self'; img-src data:; frame-ancestors 'none'; "
            "base-uri 'none'; form-action 'none'\r\n\r\n",
            status, document.type, document.body.size());
  mg_write(connection, document.body.data(), document.body.size());
}

}  // namespace

// Serves one path. If `make` returns nothing, a shard did not answer in time.
class HttpListener::Handler final : public CivetHandler {
 public:
  using Make = std::function<std::optional<Document>()>;

  Handler(std::string path, Make make) : path_(std::move(path)), make_(std::move(make)) {}

  [[nodiscard]] const std::string& path() const { return path_; }

  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    // CivetWeb also routes requests for paths below this one here.
    if (mg_get_request_info(connection)->local_uri != path_) {
      Answer(connection, "404 Not Found", {"text/plain", "not found; see / and /metrics\n"});
    } else if (const auto document = make_()) {
      Answer(connection, "200 OK", *document);
    } else {
      Answer(connection, "503 Service Unavailable",
             {"text/plain", "a shard did not answer in time\n"});
    }
    return true;
  }

 private:
  const std::string path_;
  const Make make_;
};

HttpListener::HttpListener(const config::Config& config, runtime::ShardPool& shards,
                           const access::Access& access, std::function<std::size_t()> streams) {
  std::vector<std::string> nodes;
  for (const redis::Endpoint& node : config.nodes) nodes.push_back(node.Name());
  const auto add = [this](const char* path, Handler::Make make) {
    handlers_.push_back(std::make_unique<Handler>(path, std::move(make)));
  };
  const auto add_file = [&add](const char* path, const char* type, std::string_view file) {
    add(path, [type, file] { return Document{type, std::string(file)}; });
  };
  add("/metrics", [nodes, &shards, streams]() -> std::optional<Document> {
    const auto view = TakeView(nodes, shards, Detail::kNumbers);
    if (!view) return std::nullopt;
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, ToMetrics(*view, streams(), REDLOCKD_VERSION));
    return Document{"text/plain; version=0.0.4; charset=utf-8", text.str()};
  });
  add("/status.json", [nodes, &shards, &access, streams]() -> std::optional<Document> {
    const bool keys_shown = !access.asks();
    const auto view = TakeView(nodes, shards, keys_shown ? Detail::kLeases : Detail::kNumbers);
    if (!view) return std::nullopt;
    return Document{"application/json",
                    ToStatusJson(*view, streams(), keys_shown, REDLOCKD_VERSION)};
  });
  add_file("/status.css", "text/css; charset=utf-8", kStatusCss);
  add_file("/status.js", "text/javascript; charset=utf-8", kStatusJs);
  add_file("/", "text/html; charset=utf-8", kIndexHtml);

  const std::vector<std::string> options = {
      "listening_ports", config.metrics_listen, "num_threads", "2", "request_timeout_ms", "5000"};
  try {
    server_ = std::make_unique<CivetServer>(options);
  } catch (const CivetException&) {
    throw config::ConfigError("--metrics-listen " + config.metrics_listen +
                              ": cannot listen; check that it is host:port, that the host is an "
                              "address of this machine, and that the port is free");
  }
  for (const auto& handler : handlers_) server_->addHandler(handler->path(), *handler);
}

HttpListener::~HttpListener() = default;

}  // namespace redlock::observe
