#include "server/config/declarations.h"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "server/config/listen_address.h"
#include "server/config/node_uri.h"
#include "server/core/utf8.h"

namespace redlock::config {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

void AddNodes(Settings& settings, std::vector<redis::Endpoint>& nodes) {
  const auto shown = std::make_shared<std::vector<std::string>>();
  settings.Add({.name = "node",
                .help = "An independent Redis node: redis://[user:password@]host:port[/db], "
                        "rediss://... (TLS), unix:///path; ?password_file=PATH reads the password "
                        "from a file; repeatable",
                .placeholder = "TEXT",
                .type = Setting::Type::kList,
                .set =
                    [&nodes, shown](const std::string& uri) {
                      nodes.push_back(ParseNodeUri(uri, nodes.size() + 1));
                      shown->push_back(WithoutPassword(uri));
                    },
                .clear =
                    [&nodes, shown] {
                      nodes.clear();
                      shown->clear();
                    },
                .show = [shown] { return QuotedList(*shown); },
                .starts = {"redis://", "rediss://", "unix://"}});
}

void ValidateOwner(const std::string& owner) {
  if (owner.find('/') == std::string::npos && owner != ":") return;
  throw ConfigError("--unix-socket-owner: must be user, user:group or :group");
}

void ValidateKeyGroup(const std::string& pattern) {
  constexpr std::size_t kMaxBytes = 128;  // it becomes a label
  if (pattern.empty() || pattern.size() > kMaxBytes || !IsUtf8(pattern)) {
    throw ConfigError("--key-group" + Shown(pattern) +
                      ": must be a pattern of 1 to 128 bytes of UTF-8, such as billing/*");
  }
  if (pattern == KeyGroups::kOther) {
    throw ConfigError(
        "--key-group other: this is the group of all keys that no pattern matches; "
        "use another pattern");
  }
}

}  // namespace

void Declare(Settings& settings, Config& config) {
  settings.StartGroup("Service");
  settings.AddList("listen", config.listen,
                   "gRPC listen address: host:port or unix:/path; repeatable", ValidateListen);
  settings.AddText(
      "metrics-listen", config.metrics_listen,
      "HTTP listen address (host:port) for the status page and for Prometheus metrics at "
      "/metrics; off by default",
      ValidateMetricsListen);
  settings.AddList("key-group", config.lock.key_groups.patterns,
                   "Group of keys for the metrics of waits and holds: a pattern such as "
                   "billing/*, in which * matches any characters. A key belongs to the first group "
                   "that matches it; repeatable",
                   ValidateKeyGroup);
  settings.AddSwitch("dev", config.dev,
                     "Start three private Redis nodes without persistence; for experiments only");
  settings.AddInteger("shards", config.shards, 1, 64,
                      "Threads that serve locks, each with its own connections to the nodes");
  settings.AddDuration("drain-timeout", config.drain_timeout, {}, minutes(10),
                       "How long to wait after SIGTERM for clients to move to another daemon");
  settings.AddDuration("keepalive-time", config.keepalive_time, seconds(1), hours(1),
                       "Send a keepalive ping on a connection that has been silent for this long");
  settings.AddDuration("keepalive-timeout", config.keepalive_timeout, milliseconds(100), minutes(1),
                       "Close a connection if the ping is not answered within this time");

  settings.StartGroup("Callers");
  settings.AddPath("tls-cert", config.tls_cert,
                   "PEM file with the certificate chain for gRPC over TLS (not on Unix sockets); "
                   "reloaded when it changes");
  settings.AddPath("tls-key", config.tls_key, "PEM file with the private key for --tls-cert");
  settings.AddPath(
      "tls-client-ca", config.tls_client_ca,
      "PEM file with the CA of client certificates; clients must then present one. The "
      "identity is the first subject alternative name, or else the common name. Reloaded when "
      "it changes");
  settings.AddPath(
      "token-file", config.token_file,
      "File with the accepted bearer tokens, one per line; redlockctl token creates the lines. "
      "Reloaded on SIGHUP");
  settings.AddPath(
      "access-list", config.access_list,
      "TOML file with rules: which identity may do what to which keys. Reloaded on SIGHUP");
  settings.AddSwitch("insecure", config.insecure,
                     "Allow non-local listen addresses without TLS and without a token file");
  settings.AddText("unix-socket-mode", config.unix_socket_mode,
                   "File mode of the Unix sockets that redlockd listens on");
  settings.AddText(
      "unix-socket-owner", config.unix_socket_owner,
      "Owner of the Unix sockets that redlockd listens on: user, user:group, or :group, which "
      "changes the group alone",
      ValidateOwner);

  settings.StartGroup("Redis nodes");
  AddNodes(settings, config.nodes);
  settings.AddDuration("node-timeout", config.lock.node_timeout, milliseconds(1), seconds(10),
                       "How long to wait for a node; later answers do not count");
  settings.AddChoice<GuardMode>(
      "node-guard", config.lock.guard.mode,
      {{"on", GuardMode::kOn}, {"strict", GuardMode::kStrict}, {"off", GuardMode::kOff}},
      "Quarantine nodes that may have lost their data or whose clock jumped: they grant no "
      "locks until the longest TTL has passed. on: a new node set, in which no node carries a "
      "mark, is used at once; strict: a new node set is quarantined too; off: no guard");
  settings.AddChoice<bool>(
      "create-node-set", config.lock.node_set.create, {{"auto", true}, {"manual", false}},
      "Who creates the node set if no configured node has one. auto: this daemon, as soon as "
      "all configured nodes are connected; manual: an operator, by redlockctl nodes init");
  settings.AddPath("redis-tls-ca", config.redis_tls.ca_file,
                   "PEM file with the CA of the nodes' certificates (default: the system's CAs); "
                   "reloaded when it changes");
  settings.AddPath("redis-tls-cert", config.redis_tls.cert_file,
                   "PEM file with the client certificate for nodes; reloaded when it changes");
  settings.AddPath("redis-tls-key", config.redis_tls.key_file,
                   "PEM file with the private key for --redis-tls-cert");

  settings.StartGroup("Locks");
  settings.AddDuration(
      "max-ttl", config.max_ttl, milliseconds(100), hours(24),
      "Longest TTL that a request may ask for, in a node set that this daemon "
      "creates; change it by redlockctl nodes max-ttl. A node that lost its data is "
      "quarantined for this long");
  settings.AddDuration("release-timeout", config.lock.release_timeout, milliseconds(10),
                       minutes(10), "How long to retry a roll-back on nodes that do not answer");
  settings.AddNumber("clock-drift-factor", config.lock.drift.factor, 0.0, 0.5,
                     "Fraction of the TTL reserved for clocks that run at different rates");
  settings.AddDuration("clock-drift-buffer", config.lock.drift.buffer, {}, seconds(10),
                       "Time reserved in addition to --clock-drift-factor");
  settings.AddDuration("fence-retention", config.fence_retention, minutes(1), hours(24 * 365),
                       "How long a node keeps a key's fencing token after its lock; then it keeps "
                       "one bound for all such keys");
  settings.AddInteger("retry-max", config.retry.max_retries, -1, 1'000'000,
                      "Maximum number of retries if a request does not set it; -1: no limit");
  settings.AddDuration("retry-min-delay", config.retry.min_delay, {}, hours(1),
                       "Minimum pause between attempts if a request does not set it");
  settings.AddDuration("retry-max-jitter", config.retry.max_jitter, {}, hours(1),
                       "Maximum random pause added to the minimum if a request does not set it");

  settings.AddInteger("max-hand-overs", config.lock.max_hand_overs, 0, 1'000'000,
                      "Consecutive hand-overs of a key within this daemon before waiters at other "
                      "daemons get a chance");

  settings.StartGroup("Limits");
  settings.AddInteger("max-operations", config.lock.max_operations, 1, 10'000'000,
                      "Maximum number of operations, waiters and watchdogs in a shard");
  settings.AddDuration(
      "max-queue-time", config.lock.max_queue_time, milliseconds(10), hours(1),
      "Reject a new acquisition that would wait longer than this, or past its deadline, "
      "before it can be sent to the nodes. Extensions and releases are never rejected");
  settings.AddInteger("max-waiters-per-key", config.lock.max_waiters_per_key, 1, 10'000'000,
                      "Maximum number of waiters for one key");
  settings.AddInteger("max-connections", config.max_connections, 4, 1'000'000,
                      "Maximum number of connections of callers; less if the limit of open files "
                      "does not allow it");
  settings.AddInteger("max-streams", config.max_streams, 1, 1'000'000,
                      "Maximum number of open streams");
  settings.AddInteger("max-items-per-stream", config.max_items_per_stream, 1, 100'000,
                      "Maximum number of leases in one Watch");
  settings.AddInteger("max-session-operations", config.max_session_operations, 1, 1'000'000,
                      "Maximum number of operations of one Session that are in progress or whose "
                      "results the client has not read. Only acquisitions are rejected");
  settings.AddInteger("max-message-bytes", config.max_message_bytes, 4'096, 64U << 20,
                      "Maximum size of a request in bytes");

  settings.StartGroup("Logs");
  settings.AddChoice<std::string>("log-level", config.log_level,
                                  {{"trace", "trace"},
                                   {"debug", "debug"},
                                   {"info", "info"},
                                   {"warning", "warning"},
                                   {"error", "error"},
                                   {"off", "off"}},
                                  "Log level");
  settings.AddChoice<LogFormat>("log-format", config.log_format,
                                {{"text", LogFormat::kText}, {"json", LogFormat::kJson}},
                                "Log format");
  settings.AddPath("audit-log", config.audit_log,
                   "File to which a JSON line is added for each lock that is acquired, released, "
                   "lost or released by force; - for standard output. Reopened on SIGHUP");
}

}  // namespace redlock::config
