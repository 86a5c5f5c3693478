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

std::string Show(Duration duration) {
  const auto ms = std::chrono::duration_cast<milliseconds>(duration).count();
  if (ms != 0 && ms % 3'600'000 == 0) return std::to_string(ms / 3'600'000) + "h";
  if (ms != 0 && ms % 60'000 == 0) return std::to_string(ms / 60'000) + "m";
  if (ms != 0 && ms % 1'000 == 0) return std::to_string(ms / 1'000) + "s";
  return std::to_string(ms) + "ms";
}

// Collects the options, so that each is declared in one line: flag, variable, range and default.
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
    const std::string range = Show(low) + " to " + Show(high);
    app_.add_option_function<std::string>(
            flag,
            [&value, flag, low, high, range](std::string text) {
              const std::string original = text;
              const auto allowed = [&] {
                return flag + " " + original + ": allowed are durations from " + range +
                       ", e.g. 50ms, 2s, 5m, 24h";
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
              // Written so that not-a-number is refused too.
              if (!(ms >= std::chrono::duration<double, std::milli>(low).count() &&
                    ms <= std::chrono::duration<double, std::milli>(high).count())) {
                throw ConfigError(allowed());
              }
              value = std::chrono::duration_cast<Duration>(
                  std::chrono::duration<double, std::milli>(ms));
            },
            help + " (" + range + ") " + Variable(flag))
        ->type_name("DURATION")
        ->default_str(Show(value));
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
          return text + ": allowed are numbers from " + range;
        });
  }

  // Variables stand in for flags that were not given, and so come before the file.
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
      // Lists are separated by commas; other values are taken whole.
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
  std::string log_format = "text";
};

GuardMode ToGuardMode(const std::string& text) {
  if (text == "strict") return GuardMode::kStrict;
  return text == "off" ? GuardMode::kOff : GuardMode::kOn;
}

void Declare(CLI::App& app, Options& options, Config& config, Raw& raw) {
  app.set_version_flag("--version", "redlockd " REDLOCKD_VERSION);
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.set_config("--config", "", "Read options from this TOML file, e.g.  node-timeout = \"50ms\"");

  app.option_defaults()->group("Service");
  options.Add("--listen", config.listen, "Serve gRPC here: host:port or unix:/path; repeatable");
  options.Add("--metrics-listen", config.metrics_listen,
              "Serve a status page and, at /metrics, Prometheus metrics here: host:port (default: "
              "nowhere)");
  app.add_flag("--dev", config.dev,
               "Start three throw-away Redis nodes of its own: to try things out, nothing else " +
                   Options::Variable("--dev"));
  options.Remember("--dev");
  options.AddNumber<std::size_t>("--shards", config.shards, 1, 64,
                                 "Threads that serve locks, each with its own connections");
  options.AddDuration("--drain-timeout", config.drain_timeout, {}, minutes(10),
                      "After SIGTERM, wait this long for clients to move elsewhere");
  options.AddDuration("--keepalive-time", config.keepalive_time, seconds(1), hours(1),
                      "Ask a silent client for a sign of life after this time");
  options.AddDuration("--keepalive-timeout", config.keepalive_timeout, milliseconds(100),
                      minutes(1), "A client that does not answer for this long is gone");

  app.option_defaults()->group("Callers");
  options.Add(
      "--tls-cert", config.tls_cert,
      "PEM file of the certificate chain for gRPC over TLS (not on unix sockets); read anew "
      "when it changes");
  options.Add("--tls-key", config.tls_key, "PEM file of its key");
  options.Add("--tls-client-ca", config.tls_client_ca,
              "PEM file of the CA of client certificates, which are then demanded; the identity is "
              "the first subject alternative name, else the common name");
  options.Add(
      "--token-file", config.token_file,
      "Bearer tokens that are let in, a line each: see redlockctl token. Read anew at SIGHUP");
  options.Add("--access-list", config.access_list,
              "TOML file of rules: which identity may do what to which keys. Read anew at SIGHUP");
  app.add_flag("--insecure", config.insecure,
               "Listen off loopback although there is neither TLS nor a token file " +
                   Options::Variable("--insecure"));
  options.Remember("--insecure");
  options.Add("--unix-socket-mode", config.unix_socket_mode, "Of the sockets that are listened on");
  options.Add("--unix-socket-owner", config.unix_socket_owner, "user[:group] of these sockets");

  app.option_defaults()->group("Redis nodes");
  options.Add("--node", raw.nodes,
              "An independent Redis node: redis://[user:password@]host:port[/db], "
              "rediss://... (TLS), unix:///path; ?password_file=PATH reads the password from a "
              "file; repeatable");
  options.AddDuration("--node-timeout", config.lock.node_timeout, milliseconds(1), seconds(10),
                      "A node's answer after this time does not count");
  options
      .Add(
          "--node-guard", raw.node_guard,
          "Nodes that may have lost their data, or whose clock jumps, grant nothing until the "
          "longest TTL has passed. on: a set of which no node has ever been marked starts at once; "
          "strict: it waits too; off: no node is judged")
      ->check(CLI::IsMember({"on", "strict", "off"}));
  options.Add("--redis-tls-ca", config.redis_tls.ca_file,
              "PEM file of the CA that signs the nodes' certificates (default: the system's)");
  options.Add("--redis-tls-cert", config.redis_tls.cert_file, "PEM file of a client certificate");
  options.Add("--redis-tls-key", config.redis_tls.key_file, "PEM file of its key");

  app.option_defaults()->group("Locks");
  options.AddDuration(
      "--max-ttl", config.max_ttl, milliseconds(100), hours(24),
      "Longest TTL that a request may ask for, the same for all daemons; a node that lost "
      "its data grants nothing for so long");
  options.AddDuration("--release-timeout", config.lock.release_timeout, milliseconds(10),
                      minutes(10), "Repeat a roll-back on nodes that do not answer for this long");
  options.AddNumber("--clock-drift-factor", config.lock.drift.factor, 0.0, 0.5,
                    "Part of the TTL set aside for clocks that run at different rates");
  options.AddDuration("--clock-drift-buffer", config.lock.drift.buffer, {}, seconds(10),
                      "Time set aside on top of it");
  options.AddDuration("--fence-retention", config.fence_retention, minutes(1), hours(24 * 365),
                      "How long a node remembers a key's last fencing token");
  options.AddNumber("--retry-max", config.retry.max_retries, -1, 1'000'000,
                    "Retries of requests that do not say; -1 for no limit");
  options.AddDuration("--retry-min-delay", config.retry.min_delay, {}, hours(1),
                      "Least pause between attempts of requests that do not say");
  options.AddDuration("--retry-max-jitter", config.retry.max_jitter, {}, hours(1),
                      "Upper bound of the random pause added to it");

  options.AddNumber("--max-hand-overs", config.lock.max_hand_overs, 0, 1'000'000,
                    "A key is handed over so many times within this daemon before others that "
                    "wait for it elsewhere have their turn");

  app.option_defaults()->group("Bounds");
  options.AddNumber<std::size_t>("--max-operations", config.lock.max_operations, 1, 10'000'000,
                                 "Operations and watchdogs under way in a shard");
  options.AddDuration("--max-queue-time", config.lock.max_queue_time, milliseconds(10), hours(1),
                      "A new acquisition that would wait longer for its turn at the nodes, or past "
                      "its deadline, is refused; extensions and releases never are");
  options.AddNumber<std::size_t>("--max-waiters-per-key", config.lock.max_waiters_per_key, 1,
                                 10'000'000, "Callers that wait for one key");
  options.AddNumber<std::size_t>("--max-streams", config.max_streams, 1, 1'000'000,
                                 "Streams open at a time");
  options.AddNumber<std::size_t>("--max-items-per-stream", config.max_items_per_stream, 1, 100'000,
                                 "Leases that one Watch may carry");
  options.AddNumber<std::size_t>("--max-session-operations", config.max_session_operations, 1,
                                 1'000'000, "Operations of one Session under way or not yet read");
  options.AddNumber<std::size_t>("--max-message-bytes", config.max_message_bytes, 4'096, 64U << 20,
                                 "Size of a request");

  app.option_defaults()->group("Logs");
  options.Add("--log-level", config.log_level, "trace, debug, info, warning, error or off")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "off"}));
  options.Add("--log-format", raw.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
}

}  // namespace

std::optional<Config> ParseCommandLine(std::vector<std::string> arguments, const Environ& environ,
                                       std::string& output) {
  Config config;
  Raw raw;
  CLI::App app(
      "redlockd - a lock service: Redlock over independent Redis nodes, served by gRPC.\n"
      "Try it:  redlockd --dev        Serve:  redlockd --node redis://a:6379 --node ...",
      "redlockd");
  Options options(app, environ);
  Declare(app, options, config, raw);
  try {
    arguments = options.WithEnvironment(std::move(arguments));
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
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
  config.log_format = raw.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
  Validate(config);
  return config;
}

}  // namespace redlock::config
