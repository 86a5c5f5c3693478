#include "server/observe/http_listener.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "server/loop/listen.h"
#include "server/observe/metrics.h"
#include "server/observe/page_files.h"
#include "server/observe/status_json.h"
#include "server/observe/view.h"

namespace redlock::observe {
namespace {

using Clock = std::chrono::steady_clock;

// The pause after composing documents, as a multiple of the time that it took: a flood of requests
// must leave the shards most of their time.
constexpr int kRestFactor = 4;
constexpr std::chrono::steady_clock::duration kMaxRest = std::chrono::milliseconds(200);

// `address` has been validated: it is host:port, with brackets around an IPv6 address.
std::vector<OwnedFd> Open(const std::string& address) {
  const auto colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  std::uint16_t port = 0;
  std::from_chars(address.data() + colon + 1, address.data() + address.size(), port);
  try {
    return Listen(host, port);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error("--metrics-listen " + address + ": " + error.what() +
                             "; check that the host is an address of this machine, and that the "
                             "port is free");
  }
}

std::shared_ptr<const HttpAnswer> File(const char* type, std::string_view content) {
  return std::make_shared<HttpAnswer>(HttpAnswer{.type = type, .body = std::string(content)});
}

std::map<std::string, std::shared_ptr<const HttpAnswer>> Files() {
  constexpr auto kScript = "text/javascript; charset=utf-8";
  return {{"/", File("text/html; charset=utf-8", kIndexHtml)},
          {"/status.css", File("text/css; charset=utf-8", kStatusCss)},
          {"/status.js", File(kScript, kStatusJs)},
          {"/locks.js", File(kScript, kLocksJs)},
          {"/charts.js", File(kScript, kChartsJs)},
          {"/dom.js", File(kScript, kDomJs)}};
}

std::vector<std::string> NamesOf(const std::vector<redis::Endpoint>& nodes) {
  std::vector<std::string> names;
  for (const redis::Endpoint& node : nodes) names.push_back(node.Name());
  return names;
}

}  // namespace

HttpListener::HttpListener(const config::Config& config, runtime::ShardPool& shards,
                           const access::Access& access, const runtime::Reloads& reloads,
                           std::function<std::size_t()> streams)
    : files_(Files()),
      sample_([this, &shards, nodes = NamesOf(config.nodes)] {
        const auto view = TakeView(nodes, shards, Detail::kNumbers);
        if (view) trend_.Add(Clock::now(), std::chrono::system_clock::now(), view->statistics);
      }),
      documents_(Documents(config, shards, access, reloads, streams, trend_)),
      server_(
          Open(config.metrics_listen),
          [this](HttpServer::Ticket ticket, const std::string& path) { OnRequest(ticket, path); }),
      composer_([this] { Compose(); }) {}

HttpListener::~HttpListener() {
  {
    const MutexLock lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  composer_.join();
}

HttpListener::DocumentsByPath HttpListener::Documents(const config::Config& config,
                                                      runtime::ShardPool& shards,
                                                      const access::Access& access,
                                                      const runtime::Reloads& reloads,
                                                      const std::function<std::size_t()>& streams,
                                                      const Trend& trend) {
  const std::vector<std::string> nodes = NamesOf(config.nodes);
  const auto metrics = [nodes, &shards, &reloads, streams,
                        groups = config.lock.key_groups]() -> std::optional<HttpAnswer> {
    const auto view = TakeView(nodes, shards, Detail::kNumbers);
    if (!view) return std::nullopt;
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(
        text, ToMetrics(*view, streams(), reloads, groups, REDLOCKD_VERSION));
    return HttpAnswer{.type = "text/plain; version=0.0.4; charset=utf-8", .body = text.str()};
  };
  const auto status = [nodes, &shards, &access, streams, &trend]() -> std::optional<HttpAnswer> {
    const bool keys_shown = !access.asks();
    const auto view = TakeView(nodes, shards, keys_shown ? Detail::kLeases : Detail::kNumbers);
    if (!view) return std::nullopt;
    return HttpAnswer{.type = "application/json",
                      .body = ToStatusJson(*view, trend, streams(), keys_shown, REDLOCKD_VERSION)};
  };
  return {{"/metrics", metrics}, {"/status.json", status}};
}

void HttpListener::OnRequest(HttpServer::Ticket ticket, const std::string& path) {
  if (const auto file = files_.find(path); file != files_.end()) {
    server_.Answer(ticket, file->second);
  } else if (documents_.contains(path)) {
    const MutexLock lock(mutex_);
    requested_[path].push_back(ticket);
    changed_.notify_one();
  } else {
    server_.Answer(ticket, std::make_shared<HttpAnswer>(ErrorAnswer(HttpStatus::kNotFound)));
  }
}

void HttpListener::Compose() {
  Clock::time_point sample_due = Clock::now();
  MutexLock lock(mutex_);
  while (true) {
    while (!ending_ && requested_.empty() && Clock::now() < sample_due) {
      changed_.wait_until(lock, sample_due);
    }
    if (ending_) return;
    const auto requested = std::exchange(requested_, {});
    lock.unlock();
    const Clock::time_point begin = Clock::now();
    if (begin >= sample_due) {
      sample_();
      sample_due = begin + Trend::kPeriod;
    }
    for (const auto& [path, tickets] : requested) {
      auto document = documents_.at(path)();
      if (!document) document = ErrorAnswer(HttpStatus::kUnavailable);
      const auto answer = std::make_shared<HttpAnswer>(std::move(*document));
      for (const HttpServer::Ticket ticket : tickets) server_.Answer(ticket, answer);
    }
    const Clock::time_point end = Clock::now();
    const Clock::time_point next = end + std::min(kRestFactor * (end - begin), kMaxRest);
    lock.lock();
    while (!ending_ && changed_.wait_until(lock, next) == std::cv_status::no_timeout) {
    }
  }
}

}  // namespace redlock::observe
