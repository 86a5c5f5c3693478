#include "client/redlockctl/debug_command.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "client/cpp/core/endpoint.h"
#include "client/redlockctl/http_get.h"

namespace redlockctl {
namespace {

namespace v1 = redlock::v1;
using v1::AdminService;

constexpr int kMostLeasesOfPage = 1000;
constexpr std::size_t kMostLeases = 20'000;

// Returns the answer, or adds why there is none.
template <typename Response, typename Stub, typename Request>
std::optional<Response> Answer(DebugBundle& bundle, Daemon& daemon, const std::string& what,
                               Method<Stub, Request, Response> method, const Request& request,
                               Millis patience) {
  Response response;
  const grpc::Status status = daemon.Call(method, request, response, patience);
  if (status.ok()) return response;
  bundle.AddError(what + " of " + daemon.server(), daemon.Explain(status).message);
  return std::nullopt;
}

void CollectLeases(DebugBundle& bundle, Daemon& daemon, Millis patience) {
  std::vector<v1::LeaseEntry> leases;
  v1::ListLeasesRequest request;
  request.set_page_size(kMostLeasesOfPage);
  do {
    const auto page =
        Answer(bundle, daemon, "leases", &AdminService::Stub::ListLeases, request, patience);
    if (!page) return;
    leases.insert(leases.end(), page->entries().begin(), page->entries().end());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && leases.size() < kMostLeases);
  if (!request.page_token().empty()) {
    bundle.AddError("leases of " + daemon.server(),
                    "only the first " + std::to_string(leases.size()) + " are counted");
  }
  bundle.Add(leases);
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host.starts_with("127.") || host == "[::1]";
}

// Where the status page of this daemon can be reached from here. `listen`: the setting as TOML.
// Returns nothing if it cannot be reached, and adds why.
std::optional<std::string> StatusPageOf(DebugBundle& bundle, const std::string& server,
                                        const std::string& listen) {
  const std::string what = "metrics of " + server;
  const auto colon = listen.rfind(':');
  if (colon == std::string::npos) {
    bundle.AddError(what, "the daemon has no --metrics-listen");
    return std::nullopt;
  }
  const std::string host = listen.substr(1, colon - 1);  // without quotation marks
  const std::string port = listen.substr(colon, listen.size() - colon - 1);
  const bool local = redlock::client::IsUnix(server);
  const std::string server_host = local ? "127.0.0.1" : server.substr(0, server.rfind(':'));
  if (host == "0.0.0.0" || host == "[::]") return server_host + port;
  if (IsLoopback(host) && !IsLoopback(server_host)) {
    bundle.AddError(what, "it serves them at " + host + port +
                              " of its own machine: run redlockctl debug there");
    return std::nullopt;
  }
  return host + port;
}

std::string DefaultFile(std::string time) {
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  return "redlock-debug-" + time + ".json";
}

void WriteAll(int fd, std::string_view text, const std::string& file) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      throw std::runtime_error("cannot write " + file + ": " +
                               std::generic_category().message(errno));
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void WriteFile(const std::string& file, std::string_view text) {
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (fd < 0) {
    throw std::runtime_error("cannot create " + file + ": " +
                             std::generic_category().message(errno) +
                             "; name another file with --file");
  }
  WriteAll(fd, text, file);
  close(fd);
}

}  // namespace

void Collect(DebugBundle& bundle, Daemon& daemon, const DebugOptions& options, Millis patience) {
  using grpc::health::v1::Health;
  using grpc::health::v1::HealthCheckRequest;
  bundle.AddDaemon(daemon.server());
  const auto health =
      Answer(bundle, daemon, "health", &Health::Stub::Check, HealthCheckRequest(), patience);
  if (!health) return;  // the other calls would wait as long
  bundle.Add("health", *health);
  const auto configuration =
      Answer(bundle, daemon, "configuration", &AdminService::Stub::GetConfiguration,
             v1::GetConfigurationRequest(), patience);
  if (configuration) bundle.Add(*configuration);
  const auto nodes = Answer(bundle, daemon, "nodes", &AdminService::Stub::ListNodes,
                            v1::ListNodesRequest(), patience);
  if (nodes) bundle.Add("nodes", *nodes);
  const auto set = Answer(bundle, daemon, "node set", &AdminService::Stub::GetNodeSet,
                          v1::GetNodeSetRequest(), patience);
  if (set) bundle.Add("node_set", set->node_set());
  CollectLeases(bundle, daemon, patience);
  if (!configuration || !options.metrics.empty()) return;
  for (const v1::Setting& setting : configuration->settings()) {
    if (setting.name() != "metrics-listen") continue;
    const auto address = StatusPageOf(bundle, daemon.server(), setting.value());
    if (address) CollectStatusPage(bundle, *address, patience);
  }
}

void CollectStatusPage(DebugBundle& bundle, const std::string& address, Millis patience) {
  const auto each = std::chrono::duration_cast<std::chrono::milliseconds>(patience);
  try {
    const std::string metrics = HttpGet(address, "/metrics", each);
    bundle.AddStatusPage(address, metrics, HttpGet(address, "/status.json", each));
  } catch (const std::exception& error) {
    bundle.AddError("metrics at " + address, error.what());
  }
}

void Write(const DebugBundle& bundle, const DebugOptions& options, const std::string& time,
           const Printer& printer) {
  const std::string file = options.file.empty() ? DefaultFile(time) : options.file;
  if (file == "-") {
    WriteAll(STDOUT_FILENO, bundle.Text(), "standard output");
  } else {
    WriteFile(file, bundle.Text());
  }
  for (const std::string& error : bundle.errors()) printer.PrintNotice("not collected: " + error);
  printer.PrintNotice(
      "left out: tokens, passwords, private keys, values, owner labels, identities "
      "and addresses of callers");
  printer.PrintNotice(std::string("wrote ") + (file == "-" ? "to standard output" : file) +
                      "; it names nodes and paths" +
                      (options.redact_keys ? "" : ", and keys (--redact-keys replaces them)") +
                      ": read it before you send it");
}

}  // namespace redlockctl
