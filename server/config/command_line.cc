#include "server/config/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <sstream>
#include <utility>

#include "server/config/node_uri.h"

namespace redlock::config {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

const std::map<std::string, double>& Units() {
  static const std::map<std::string, double> units = {
      {"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}};
  return units;
}

// Declares options in one line each: flag, environment variable, range and default.
class Options {
 public:
  Options(CLI::App& app, const Environ& lookup) : app_(app), environ_(lookup) {}

  template <typename Value>
  CLI::Option* Add(const std::string& flag, Value& value, const std::string& help) {
    auto* option = app_.add_option(flag, value, help + " " + Variable(flag));
    flags_.push_back(flag);
    return option->capture_default_str();
  }

  void AddDuration(const std::string& flag, Duration& value, Duration low, Duration high,
                   const std::string& help) {
    const std::string range = FlagText(low) + " to " + FlagText(high);
    app_.add_option_function<std::string>(
            flag,
            [&value, flag, low, high, range](std::string text) {
              const std::string original = text;
              const auto allowed = [&] {
                return flag + " " + original + ": must be a duration from " + range +
                       ", written like 50ms, 2s, 5m or 24h";
              };
              double ms = 0;
              try {
                const CLI::AsNumberWithUnit with_unit(Units(),
                                                      CLI::AsNumberWithUnit::UNIT_REQUIRED);
                if (!with_unit(text).empty()) throw ConfigError(allowed());
                ms = std::stod(text);
              } catch (const std::logic_error&) {
                throw ConfigError(allowed());
              } catch (const CLI::Error&) {
                throw ConfigError(allowed());
              }
              // Phrased so that NaN is rejected too.
              if (!(ms >= std::chrono::duration<double, std::milli>(low).count() &&
                    ms <= std::chrono::duration<double, std::milli>(high).count())) {
                throw ConfigError(allowed());
              }
              value = std::chrono::duration_cast<Duration>(
                  std::chrono::duration<double, std::milli>(ms));
            },
            help + " (" + range + ") " + Variable(flag))
        ->type_name("DURATION")
        ->default_str(FlagText(value));
    flags_.push_back(flag);
  }

  template <typename Number>
  void AddNumber(const std::string& flag, Number& value, Number low, Number high,
                 const std::string& help) {
    std::ostringstream range;
    range << low << " to " << high;
    Add(flag, value, help + " (" + range.str() + ")")
        ->check([low, high, range = range.str()](const std::string& text) -> std::string {
          Number number{};
          if (CLI::detail::lexical_cast(text, number) && number >= low && number <= high) {
            return {};
          }
          return "must be a number from " + range + ", not " + text;
        });
  }

  // Adds the environment variables of all flags that `arguments` does not contain. They become
  // arguments, so they take precedence over the configuration file.
  [[nodiscard]] std::vector<std::string> WithEnvironment(std::vector<std::string> arguments) const {
    std::vector<std::string> added;
    for (const std::string& flag : flags_) {
      const char* const value = environ_(Name(flag).c_str());
      if (value == nullptr || *value == '\0') continue;
      const bool given =
          std::any_of(arguments.begin(), arguments.end(), [&](const std::string& argument) {
            return argument == flag || argument.starts_with(flag + "=");
          });
      if (given) continue;
      // Commas separate the elements of a list. Other values are used as they are.
      const bool list = app_.get_option(flag)->get_items_expected_max() > 1;
      std::istringstream parts(value);
      for (std::string part; std::getline(parts, part, list ? ',' : '\0');) {
        added.push_back(flag + "=" + part);
      }
    }
    arguments.insert(arguments.end(), added.begin(), added.end());
    return arguments;
  }

  void Remember(const std::string& flag) { flags_.push_back(flag); }
  [[nodiscard]] static std::string Variable(const std::string& flag) {
    return "[" + Name(flag) + "]";
  }

 private:
  static std::string Name(const std::string& flag) {
    std::string name = "REDLOCKD_" + flag.substr(2);
    for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
    return name;
  }

  CLI::App& app_;
  const Environ& environ_;
  std::vector<std::string> flags_;
};

struct Raw {
  std::vector<std::string> nodes;
  std::string node_guard = "on";
  std::string create_node_set = "auto";
  std::string log_format = "text";
};

GuardMode ToGuardMode(const std::string& text) {
  if (text == "strict") return GuardMode::kStrict;
  return text == "off" ? GuardMode::kOff : GuardMode::kOn;
}

void Declare(CLI::App& app, Options& options, Config& config, Raw& raw) {
  app.set_version_flag("--version", "redlockd " REDLOCKD_VERSION);
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.set_config("--config", "",
                 "TOML file with options, named like the flags: node-timeout = \"50ms\"");

  app.option_defaults()->group("Service");
  options.Add("--listen", config.listen,
              "gRPC listen address: host:port or unix:/path; repeatable");
  options.Add("--metrics-listen", config.metrics_listen,
              "HTTP listen address (host:port) for the status page and for Prometheus metrics at "
              "/metrics; off by default");
  app.add_flag("--dev", config.dev,
               "Start three private Redis nodes without persistence; for experiments only " +
                   Options::Variable("--dev"));
  options.Remember("--dev");
  options.AddNumber<std::size_t>(
      "--shards", config.shards, 1, 64,
      "Threads that serve locks, each with its own connections to the nodes");
  options.AddDuration("--drain-timeout", config.drain_timeout, {}, minutes(10),
                      "How long to wait after SIGTERM for clients to move to another daemon");
  options.AddDuration("--keepalive-time", config.keepalive_time, seconds(1), hours(1),
                      "Send a keepalive ping on a connection that has been silent for this long");
  options.AddDuration("--keepalive-timeout", config.keepalive_timeout, milliseconds(100),
                      minutes(1),
                      "Close a connection if the ping is not answered within this time");

  app.option_defaults()->group("Callers");
  options.Add("--tls-cert", config.tls_cert,
              "PEM file with the certificate chain for gRPC over TLS (not on Unix sockets); "
              "reloaded when it changes");
  options.Add("--tls-key", config.tls_key, "PEM file with the private key for --tls-cert");
  options.Add("--tls-client-ca", config.tls_client_ca,
              "PEM file with the CA of client certificates; clients must then present one. The "
              "identity is the first subject alternative name, or else the common name");
  options.Add(
      "--token-file", config.token_file,
      "File with the accepted bearer tokens, one per line; redlockctl token creates the lines. "
      "Reloaded on SIGHUP");
  options.Add("--access-list", config.access_list,
              "TOML file with rules: which identity may do what to which keys. Reloaded on SIGHUP");
  app.add_flag("--insecure", config.insecure,
               "Allow non-local listen addresses without TLS and without a token file " +
                   Options::Variable("--insecure"));
  options.Remember("--insecure");
  options.Add("--unix-socket-mode", config.unix_socket_mode,
              "File mode of the Unix sockets that redlockd listens on");
  options.Add("--unix-socket-owner", config.unix_socket_owner,
              "Owner of the Unix sockets that redlockd listens on: user[:group]");

  app.option_defaults()->group("Redis nodes");
  options.Add("--node", raw.nodes,
              "An independent Redis node: redis://[user:password@]host:port[/db], "
              "rediss://... (TLS), unix:///path; ?password_file=PATH reads the password from a "
              "file; repeatable");
  options.AddDuration("--node-timeout", config.lock.node_timeout, milliseconds(1), seconds(10),
                      "How long to wait for a node; later answers do not count");
  options
      .Add("--node-guard", raw.node_guard,
           "Quarantine nodes that may have lost their data or whose clock jumped: they grant no "
           "locks until the longest TTL has passed. on: a new node set, in which no node carries a "
           "mark, is used at once; strict: a new node set is quarantined too; off: no guard")
      ->check(CLI::IsMember({"on", "strict", "off"}));
  options
      .Add("--create-node-set", raw.create_node_set,
           "Who creates the node set if no configured node has one. auto: this daemon, as soon as "
           "all configured nodes are connected; manual: an operator, by redlockctl nodes init")
      ->check(CLI::IsMember({"auto", "manual"}));
  options.Add("--redis-tls-ca", config.redis_tls.ca_file,
              "PEM file with the CA of the nodes' certificates (default: the system's CAs)");
  options.Add("--redis-tls-cert", config.redis_tls.cert_file,
              "PEM file with the client certificate for nodes");
  options.Add("--redis-tls-key", config.redis_tls.key_file,
              "PEM file with the private key for --redis-tls-cert");

  app.option_defaults()->group("Locks");
  options.AddDuration(
      "--max-ttl", config.max_ttl, milliseconds(100), hours(24),
      "Longest TTL that a request may ask for, in a node set that this daemon "
      "creates; change it by redlockctl nodes max-ttl. A node that lost its data is "
      "quarantined for this long");
  options.AddDuration("--release-timeout", config.lock.release_timeout, milliseconds(10),
                      minutes(10), "How long to retry a roll-back on nodes that do not answer");
  options.AddNumber("--clock-drift-factor", config.lock.drift.factor, 0.0, 0.5,
                    "Fraction of the TTL reserved for clocks that run at different rates");
  options.AddDuration("--clock-drift-buffer", config.lock.drift.buffer, {}, seconds(10),
                      "Time reserved in addition to --clock-drift-factor");
  options.AddDuration("--fence-retention", config.fence_retention, minutes(1), hours(24 * 365),
                      "How long a node keeps a key's last fencing token");
  options.AddNumber("--retry-max", config.retry.max_retries, -1, 1'000'000,
                    "Maximum number of retries if a request does not set it; -1: no limit");
  options.AddDuration("--retry-min-delay", config.retry.min_delay, {}, hours(1),
                      "Minimum pause between attempts if a request does not set it");
  options.AddDuration("--retry-max-jitter", config.retry.max_jitter, {}, hours(1),
                      "Maximum random pause added to the minimum if a request does not set it");

  options.AddNumber("--max-hand-overs", config.lock.max_hand_overs, 0, 1'000'000,
                    "Consecutive hand-overs of a key within this daemon before waiters at other "
                    "daemons get a chance");

  app.option_defaults()->group("Limits");
  options.AddNumber<std::size_t>("--max-operations", config.lock.max_operations, 1, 10'000'000,
                                 "Maximum number of operations, waiters and watchdogs in a shard");
  options.AddDuration(
      "--max-queue-time", config.lock.max_queue_time, milliseconds(10), hours(1),
      "Reject a new acquisition that would wait longer than this, or past its deadline, "
      "before it can be sent to the nodes. Extensions and releases are never rejected");
  options.AddNumber<std::size_t>("--max-waiters-per-key", config.lock.max_waiters_per_key, 1,
                                 10'000'000, "Maximum number of waiters for one key");
  options.AddNumber<std::size_t>("--max-streams", config.max_streams, 1, 1'000'000,
                                 "Maximum number of open streams");
  options.AddNumber<std::size_t>("--max-items-per-stream", config.max_items_per_stream, 1, 100'000,
                                 "Maximum number of leases in one Watch");
  options.AddNumber<std::size_t>(
      "--max-session-operations", config.max_session_operations, 1, 1'000'000,
      "Maximum number of operations of one Session that are in progress or whose "
      "results the client has not read");
  options.AddNumber<std::size_t>("--max-message-bytes", config.max_message_bytes, 4'096, 64U << 20,
                                 "Maximum size of a request in bytes");

  app.option_defaults()->group("Logs");
  options
      .Add("--log-level", config.log_level, "Log level: trace, debug, info, warning, error or off")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "off"}));
  options.Add("--log-format", raw.log_format, "Log format: text or json")
      ->check(CLI::IsMember({"text", "json"}));
}

}  // namespace

std::optional<Config> ParseCommandLine(std::vector<std::string> arguments, const Environ& environ,
                                       std::string& output) {
  Config config;
  Raw raw;
  CLI::App app(
      "redlockd - a distributed lock service: Redlock over independent Redis nodes, with a gRPC "
      "API.\n"
      "Try it:  redlockd --dev        Serve:  redlockd --node redis://a:6379 --node ...",
      "redlockd");
  Options options(app, environ);
  Declare(app, options, config, raw);
  try {
    arguments = options.WithEnvironment(std::move(arguments));
    std::reverse(arguments.begin(), arguments.end());  // CLI11 expects them in reverse order
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    output = app.help();
    return std::nullopt;
  } catch (const CLI::CallForVersion&) {
    output = app.version() + "\n";
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw ConfigError(error.what());
  }
  for (const std::string& uri : raw.nodes) config.nodes.push_back(ParseNodeUri(uri));
  config.lock.guard.mode = ToGuardMode(raw.node_guard);
  config.lock.guard.quarantine = config.max_ttl;
  config.lock.node_set.create = raw.create_node_set == "auto";
  config.lock.node_set.max_ttl = config.max_ttl;
  config.lock.node_set.fence_retention = config.fence_retention;
  config.log_format = raw.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
  Validate(config);
  return config;
}

}  // namespace redlock::config
