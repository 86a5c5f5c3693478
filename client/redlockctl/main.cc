// redlockctl, the command-line client: parses the arguments and runs one command.
#include <fcntl.h>
#include <grpc/support/log.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "client/cpp/core/endpoint.h"
#include "client/cpp/core/validation.h"
#include "client/redlockctl/arguments.h"
#include "client/redlockctl/commands.h"
#include "client/redlockctl/duration.h"
#include "client/redlockctl/run_command.h"
#include "client/redlockctl/shown.h"

namespace {

using redlockctl::Commands;
using redlockctl::ExitStatus;
using redlockctl::Millis;
using redlockctl::Options;

// The exit statuses of all commands but `run` and `elect`.
constexpr const char* kStatuses =
    "Exit status: 0 success; 1 other failure; 2 invalid arguments; 3 another holder has the\n"
    "lock, or the time to wait ran out; 4 the token does not hold the key, or the lock was lost;\n"
    "5 too few Redis nodes answered; 6 no daemon answered.";

// Those of `run` and `elect`.
constexpr const char* kRunStatuses =
    "the command (128 + N if signal N ended it), or: 2 invalid arguments;\n"
    "120 no daemon answered; 121 too few Redis nodes answered; 122 the lock was lost, or\n"
    "--max-lifetime has passed; 123 another holder has the lock, or the time to wait ran out;\n"
    "125 other failure; 126 the command cannot be run; 127 the command was not found. redlockctl\n"
    "writes a line that begins with `redlockctl:` to standard error for each of its own statuses,\n"
    "and if the command itself ends with 120 to 127.\n";

constexpr const char* kCommonOptions =
    "\nFor the options that every command has, such as --server, --output and --timeout:\n"
    "redlockctl --help\n\n";

std::string Footer() {
  return std::string("\n") + kStatuses + " `run` and `elect` return the status of\n" + kRunStatuses;
}

std::string CommandFooter() { return std::string(kCommonOptions) + kStatuses + "\n"; }

std::string RunFooter() {
  return std::string(kCommonOptions) + "Exit status: that of " + kRunStatuses;
}

// For the commands that change the node set.
constexpr const char* kChangeFooter =
    "\nShows the progress until the change is complete. If the command is interrupted, a change\n"
    "whose first step is decided goes on. `redlockctl nodes list` shows it, and\n"
    "`redlockctl nodes abort` undoes it.\n";

// Adds an option that takes a duration such as 250ms, 90 or 1h30m.
template <typename Store>
CLI::Option* AddDuration(CLI::App& app, const std::string& flag, const std::string& help,
                         Store store) {
  return app
      .add_option_function<std::string>(
          flag,
          [store, flag](const std::string& text) {
            const auto duration = redlockctl::ParseDuration(text);
            if (!duration) {
              throw CLI::ValidationError(
                  flag, "expected a duration such as 500ms, 90 (seconds), 10s or 1h30m, not " +
                            redlockctl::Shown(text));
            }
            store(*duration);
          },
          help)
      ->type_name("DURATION");
}

// Adds a required argument that names one node.
void AddNode(CLI::App& app, const std::string& name, const std::string& help,
             std::vector<std::string>& nodes) {
  app.add_option_function<std::string>(
         name, [&nodes](const std::string& node) { nodes.push_back(node); }, help)
      ->required();
}

struct Command {
  CLI::App* app;
  std::function<ExitStatus(Commands&)> run;
};

CLI::Option* AddTry(CLI::App& command, Options& options) {
  return command.add_flag("--try", options.single_try, "Make one attempt and do not wait");
}

class CommandLine {
 public:
  explicit CommandLine(CLI::App& app, Options& options) : app_(app), options_(options) {}

  CLI::App& Add(const std::string& name, const std::string& help, ExitStatus (Commands::*run)()) {
    CLI::App& command = AddWithoutKey(name, help, run);
    command.add_option("KEY", options_.key, "The key of the lock")->required();
    return command;
  }

  CLI::App& AddWithKeys(const std::string& name, const std::string& help,
                        ExitStatus (Commands::*run)(), const std::string& keys) {
    CLI::App& command = AddWithoutKey(name, help, run);
    command.add_option("KEY", options_.keys, keys)->required();
    return command;
  }

  CLI::App& AddWithoutKey(const std::string& name, const std::string& help,
                          ExitStatus (Commands::*run)()) {
    return AddTo(app_, name, help, run);
  }

  // A command that only has subcommands.
  CLI::App& AddGroup(const std::string& name, const std::string& help) {
    CLI::App* const group = app_.add_subcommand(name, help);
    group->fallthrough();
    group->footer(CommandFooter());
    group->require_subcommand(1);
    return *group;
  }

  CLI::App& AddTo(CLI::App& parent, const std::string& name, const std::string& help,
                  ExitStatus (Commands::*run)()) {
    CLI::App* const command = parent.add_subcommand(name, help);
    command->fallthrough();  // common options may follow the command
    command->footer(CommandFooter());
    commands_.push_back({command, [run](Commands& commands) { return (commands.*run)(); }});
    return *command;
  }

  void AddTtl(CLI::App& command) {
    AddDuration(command, "--ttl", "How long the lock lasts unless it is extended [30s]",
                [this](Millis value) { options_.ttl = value; });
  }

  // Several callers may have the lock at the same time, in one of two ways.
  void AddSharing(CLI::App& command, const std::string& shared, const std::string& max_holders) {
    CLI::Option* const share = command.add_flag("--shared", options_.shared, shared);
    command.add_option("--max-holders", options_.max_holders, max_holders)
        ->check(CLI::Range(2, 64))
        ->excludes(share)
        ->type_name("N");
  }

  // How often the daemon retries, and how long it pauses between attempts.
  void AddRetry(CLI::App& command) {
    command
        .add_option("--max-retries", options_.max_retries,
                    "Give up after this many retries; -1: no limit [the daemon's default]")
        ->check(CLI::Range(-1, 1'000'000))
        ->excludes(AddTry(command, options_));
    AddDuration(command, "--min-delay", "Minimum pause before a retry [the daemon's default]",
                [this](Millis value) { options_.min_delay = value; });
    AddDuration(command, "--max-jitter",
                "Upper bound of the random pause that is added to it [the daemon's default]",
                [this](Millis value) { options_.max_jitter = value; });
  }

  // What the lock publishes, and how it ends if it is lost.
  CLI::Option* AddPublished(CLI::App& command) {
    CLI::Option* const value = command.add_option(
        "--value", options_.value, "A value that `observe` and `who` show, such as an address");
    AddDuration(command, "--lock-delay",
                "If the lock is lost, keep the key taken for this long after its TTL [none]",
                [this](Millis delay) { options_.lock_delay = delay; });
    return value;
  }

  void AddKeepFor(CLI::App& command) {
    AddDuration(
        command, "--keep-for",
        "Keep the key taken until this long after the acquisition, although nobody holds it "
        "[not at all]",
        [this](Millis value) {
          const auto keep_for = std::chrono::duration_cast<std::chrono::nanoseconds>(value);
          if (redlock::client::CheckKeepFor(keep_for)) {
            throw CLI::ValidationError(
                "--keep-for", "must be from 1ms to 24h, and at most the daemon's --max-ttl");
          }
          options_.keep_for = value;
        });
  }

  // Another key of the lock.
  void AddAnd(CLI::App& command, const std::string& help) {
    command
        .add_option_function<std::string>(
            "--and", [this](const std::string& key) { options_.keys.push_back(key); }, help)
        ->trigger_on_parse()  // each time
        ->type_name("KEY");
  }

  // The argument of commands that take the other keys by --and.
  void AddFirstKey(CLI::App& command, const std::string& name, const std::string& help) {
    command
        .add_option_function<std::string>(
            name, [this](const std::string& key) { options_.keys.push_back(key); }, help)
        ->required();
  }

  // For the commands that need a held lock. `run` sets the variable for its command. CLI11 reads it
  // for every command, so the commands that acquire a lock have a token of their own.
  void AddToken(CLI::App& command) {
    command
        .add_option("--token", options_.held_token,
                    "The owner token: the secret that proves ownership")
        ->envname("REDLOCK_TOKEN")
        ->required();
  }

  // For the commands that acquire a lock. They do not read REDLOCK_TOKEN: under `run`, it is the
  // token of another lock.
  void AddOwnToken(CLI::App& command) {
    command
        .add_option("--token", options_.token,
                    "The owner token, the secret that proves ownership [a random one]")
        ->check([](const std::string& token) {  // such as that of a variable that is not set
          return token.empty() ? "must not be empty" : std::string();
        });
  }

  ExitStatus Run(Commands& commands) {
    for (Command& command : commands_) {
      if (command.app->parsed()) return command.run(commands);
    }
    return redlockctl::kExitUsage;
  }

 private:
  CLI::App& app_;
  Options& options_;
  std::vector<Command> commands_;
};

void DeclareNodesCommands(CommandLine& line, Options& options) {
  CLI::App& nodes = line.AddGroup("nodes", "Show or change the node set: which Redis nodes vote");
  line.AddTo(nodes, "list", "Show the members, the nodes that have no vote, and a change under way",
             &Commands::ListNodeSet);
  const auto add_change = [&](const std::string& name, const std::string& help) {
    CLI::App& command = line.AddTo(nodes, name, help, &Commands::ChangeNodeSet);
    command.footer(kChangeFooter + CommandFooter());
    return &command;
  };
  add_change("init", "Create the node set if the daemons do not create it by themselves")
      ->callback([&options] { options.change.init = true; });
  add_change("add", "Add nodes to the node set: add NODE ...")
      ->add_option("NODE", options.change.add,
                   "The addresses of nodes with which the daemon is configured")
      ->required();
  add_change("remove", "Remove members from the node set: remove NODE ...")
      ->add_option("NODE", options.change.remove, "The addresses or ids of the members")
      ->required();
  CLI::App& replace = *add_change("replace", "Add one node and remove one member: replace OLD NEW");
  AddNode(replace, "OLD", "The address or id of the member to remove", options.change.remove);
  AddNode(replace, "NEW", "The address of the node to add", options.change.add);
  AddDuration(*add_change("max-ttl", "Change the longest TTL of any lease: max-ttl DURATION"),
              "DURATION", "The longest TTL from now on, from 100ms to 24h",
              [&options](Millis value) { options.change.max_ttl = value; })
      ->required()
      ->check([](const std::string& text) {  // a mistake would take hours to correct
        const bool plain = text.find_first_not_of("0123456789.") == std::string::npos;
        return plain ? "expected a unit, such as in 60s" : "";
      })
      ->option_text("REQUIRED");
  add_change("abort", "Undo the last step of the change under way, and drop the rest of it")
      ->callback([&options] { options.change.abort = true; });
}

constexpr const char* kKeysToLock = "The key of the lock, or several to lock together";
constexpr const char* kLockedKeys = "The key of the lock, or all keys that were locked together";
constexpr const char* kShareHelp =
    "Share the lock with others that use this option, as readers do; keep exclusive holders out";
constexpr const char* kIsSharedHelp = "The lock was acquired with --shared";
constexpr const char* kSemaphoreHelp =
    "Take one of N slots of the key, which is then a semaphore: everyone must name the same N, "
    "from "
    "2 to 64";
constexpr const char* kIsSlotHelp = "The lock is a slot that was acquired with --max-holders N";

// A wait of no length is one attempt, as it is in the client libraries. As a time limit it would
// end the call before the daemon can answer.
void AddWait(CLI::App& command, Options& options) {
  AddDuration(command, "--wait",
              "Wait at most this long for the lock; 0: make one attempt, as with --try [no limit]",
              [&options](Millis value) {
                if (value == Millis(0)) {
                  options.single_try = true;
                } else {
                  options.wait = value;
                }
              })
      ->excludes("--try");
}

// What `run` and `elect` do not share with `hold`.
void DeclareRun(CLI::App& run, Options& options) {
  run.footer(RunFooter());
  AddTry(run, options);
  AddWait(run, options);
  AddDuration(run, "--grace",
              "The time between SIGTERM and SIGKILL for the command; shorter if the lock is lost, "
              "because everything must end before its validity does [5s]",
              [&options](Millis value) { options.grace = value; });
  run.add_option("-c", options.shell_command, "Run this text with /bin/sh instead of COMMAND")
      ->type_name("TEXT");
  run.add_option(
         "-E,--conflict-exit-code", options.conflict_exit_code,
         "The exit status if another holder has the lock, or the time to wait ran out [123]")
      ->check(CLI::Range(0, 255));
  // For the help only: Separate() takes the command from the arguments.
  run.add_option("COMMAND", options.command, "The command to run and its arguments");
}

void DeclareCommands(CommandLine& line, Options& options) {
  CLI::App& acquire = line.AddWithKeys("acquire", "Acquire a lock, waiting for it if necessary",
                                       &Commands::Acquire, kKeysToLock);
  line.AddTtl(acquire);
  line.AddOwnToken(acquire);
  line.AddRetry(acquire);
  AddWait(acquire, options);
  line.AddSharing(acquire, kShareHelp, kSemaphoreHelp);
  acquire
      .add_flag("--extend-if-held", options.extend_if_held,
                "Extend the lock if --token already holds the key")
      ->needs("--token");
  acquire.add_option("--owner", options.owner, "A label for people, shown by `who`");
  line.AddPublished(acquire);

  CLI::App& extend = line.AddWithKeys("extend", "Extend a held lock: set its TTL again",
                                      &Commands::Extend, kLockedKeys);
  line.AddTtl(extend);
  line.AddSharing(extend, kIsSharedHelp, kIsSlotHelp);
  extend
      .add_option(
          "--downgrade-from", options.downgrade_from,
          "With --shared: downgrade the exclusive lock with this fencing token to a share. "
          "Stop the work under the lock first. Not for a lock that `hold`, `watch` or `run` "
          "keeps alive")
      ->needs("--shared")
      ->check(CLI::Range(std::uint64_t{1}, (std::uint64_t{1} << 53U) - 1))
      ->type_name("FENCING_TOKEN");
  line.AddToken(extend);
  line.AddRetry(extend);

  CLI::App& release =
      line.AddWithKeys("release", "Release a held lock", &Commands::Release, kLockedKeys);
  line.AddToken(release);
  line.AddKeepFor(release);

  CLI::App& proclaim = line.AddWithoutKey(
      "proclaim", "Replace the value that a held lock publishes: proclaim KEY VALUE",
      &Commands::Proclaim);
  line.AddFirstKey(proclaim, "KEY", "The key of the lock");
  line.AddAnd(proclaim, "Another key of a lock of several; repeat the option for more");
  proclaim.add_option("VALUE", options.value, "The new value; empty: publish no value")->required();
  line.AddToken(proclaim);

  CLI::App& watch = line.AddWithKeys("watch", "Keep a held lock alive until interrupted",
                                     &Commands::Watch, kLockedKeys);
  line.AddTtl(watch);
  line.AddSharing(watch, kIsSharedHelp, kIsSlotHelp);
  line.AddToken(watch);
  AddDuration(watch, "--interval", "Pause between extensions [half the TTL]",
              [&options](Millis value) { options.interval = value; });
  AddDuration(watch, "--max-lifetime", "Stop after this time",
              [&options](Millis value) { options.max_lifetime = value; });
  watch.add_flag("--keep-watching", options.keep_watching,
                 "Keep trying to extend after the lock was lost");

  CLI::App& hold = line.AddWithKeys("hold", "Acquire a lock and keep it alive until interrupted",
                                    &Commands::Hold, kKeysToLock);
  CLI::App& run = line.AddWithoutKey(
      "run", "Run a command while the lock is held: run KEY COMMAND ...", &Commands::Run);
  line.AddFirstKey(run, "KEY", "The key of the lock");
  CLI::App& elect = line.AddWithoutKey(
      "elect", "Run a command while this candidate leads: elect NAME --value VALUE COMMAND ...",
      &Commands::Run);
  line.AddFirstKey(elect, "NAME", "The name of the election: the key of the lock");
  for (CLI::App* const held : {&hold, &run}) line.AddSharing(*held, kShareHelp, kSemaphoreHelp);
  for (CLI::App* const held : {&hold, &run, &elect}) {
    line.AddTtl(*held);
    line.AddOwnToken(*held);
    CLI::Option* const published = line.AddPublished(*held);
    if (held == &elect) published->required();
    held->add_option("--owner", options.owner, "A label for people, shown by `who`");
    AddDuration(*held, "--max-lifetime", "Release the lock after this time",
                [&options](Millis value) { options.max_lifetime = value; });
  }
  line.AddRetry(hold);
  AddDuration(hold, "--interval", "Pause between extensions [half the TTL]",
              [&options](Millis value) { options.interval = value; });
  DeclareRun(run, options);
  line.AddAnd(run, "Another key to lock together with KEY; repeat the option for more");
  line.AddKeepFor(run);
  DeclareRun(elect, options);

  line.AddWithoutKey("status", "Show the state of the Redis nodes as the daemon sees them",
                     &Commands::Status);
  DeclareNodesCommands(line, options);
  line.AddWithoutKey("health", "Report whether the daemon is serving, for health probes",
                     &Commands::Health);
  line.AddWithoutKey("leases", "Show the leases that the daemons keep alive and their waiters",
                     &Commands::Leases);
  line.Add("force-release", "Take a lock from a holder that cannot be reached",
           &Commands::ForceRelease)
      .add_option("--why", options.why, "The reason, for the daemon's log")
      ->required();
  line.AddWithoutKey("log-level", "Change the daemon's log level", &Commands::LogLevel)
      .add_option("LEVEL", options.level, "trace, debug, info, warning, error or off")
      ->required();
  CLI::App& token = line.AddWithoutKey(
      "token", "Make a bearer token and the line for the daemon's --token-file", &Commands::Token);
  token
      .add_option("IDENTITY", options.identity,
                  "The identity of the caller that will use the token")
      ->required()
      ->check([](const std::string& text) {
        const bool allowed =
            !text.empty() && text.size() <= 128 &&
            std::all_of(text.begin(), text.end(), [](unsigned char c) {
              return std::isalnum(c) != 0 ||
                     std::string("-_@:/").find(static_cast<char>(c)) != std::string::npos;
            });
        return allowed ? "" : "an identity is 1 to 128 letters, digits and - _ @ : /";
      });
  CLI::App& bench = line.AddWithoutKey(
      "bench", "Measure how fast locks can be acquired and released", &Commands::Bench);
  AddDuration(bench, "--duration", "How long to measure [5s]", [&options](Millis value) {
    if (value <= Millis(0)) throw CLI::ValidationError("--duration", "must be longer than 0");
    options.bench.duration = std::chrono::duration_cast<std::chrono::milliseconds>(value);
  });
  bench.add_option("--callers", options.bench.concurrency, "Number of concurrent callers")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  bench.add_flag("--one-key", options.bench.one_key,
                 "All callers compete for one lock instead of one lock each");

  CLI::App& debug = line.AddWithoutKey(
      "debug", "Write a file for a bug report: versions, settings, nodes, metrics; no secrets",
      &Commands::Debug);
  debug.add_option("--file", options.debug.file,
                   "The file to create, or - for standard output [redlock-debug-TIME.json]");
  debug.add_flag("--redact-keys", options.debug.redact_keys,
                 "Replace the names of keys by hashes: key- and 16 digits of their SHA-256");
  debug
      .add_option("--metrics", options.debug.metrics,
                  "The --metrics-listen addresses of the daemons, separated by commas [as the "
                  "daemons say]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("HOST:PORT");

  line.Add("inspect", "Show who holds a lock", &Commands::Inspect);
  line.Add("observe", "Show who holds a lock, and every change, until interrupted",
           &Commands::Observe)
      .add_flag("--once", options.once, "End after the first decided state: held or free");
  line.Add("who", "Ask all daemons who holds a lock and who waits for it", &Commands::Who);
}

// Whether the command line names a command that runs another one while it holds a lock.
bool RunsCommand(const CLI::App& app) {
  return app.got_subcommand("run") || app.got_subcommand("elect");
}

// `run` and `elect` need either a command or a text for the shell.
void CheckCommand(const Options& options) {
  if (options.command.empty() && !options.shell_command) {
    throw CLI::RequiredError("COMMAND or -c");
  }
  if (!options.command.empty() && options.shell_command) {
    throw CLI::ExcludesError("COMMAND", "-c");
  }
}

// The daemon would name the fields of its request.
void CheckKeys(const Options& options) {
  if (options.max_holders != 0 && options.keys.size() > 1) {
    throw CLI::ValidationError("--max-holders", "a semaphore has a single KEY, not " +
                                                    std::to_string(options.keys.size()));
  }
}

// protobuf would write an error of its own to standard error, in other words.
void CheckUtf8(const std::string& name, const std::string& text) {
  if (redlock::client::CutToUtf8(text, text.size()) != text) {
    throw CLI::ValidationError(name, "is not valid UTF-8");
  }
}

void CheckTexts(const Options& options) {
  CheckUtf8("KEY", options.key);
  for (const std::string& key : options.keys) CheckUtf8("KEY", key);
  CheckUtf8("--owner", options.owner);
  CheckUtf8("--value", options.value);
  CheckUtf8("--why", options.why);
}

// A descriptor that is closed would be that of the next socket, to which the output would go.
void OpenStandardDescriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) == -1) (void)open("/dev/null", O_RDWR);
  }
}

}  // namespace

int main(int argc, char** argv) {
  OpenStandardDescriptors();
  // OpenSSL must not free its state at exit: threads of gRPC may still begin a TLS handshake then.
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
  // gRPC's log repeats in other words what redlockctl reports.
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
  // Commands that handle signals wait for them synchronously, some in a separate thread.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGUSR1);

  CLI::App app("redlockctl - acquire and inspect the locks of redlockd from the shell",
               "redlockctl");
  app.set_version_flag("--version", "redlockctl " REDLOCKD_VERSION);
  app.set_help_all_flag("--help-all", "Print this help and that of every subcommand");
  app.require_subcommand(1);
  app.get_formatter()->column_width(38);  // help2man finds the descriptions by their column
  app.footer(Footer());
  Options options;
  std::string output = "text";
  app.add_option(
         "--server", options.servers,
         "The daemon: host:port or unix:/path. Several daemons, separated by commas, are "
         "tried in order; `run`, `elect` and `observe` continue with the next one if a daemon "
         "goes away")
      ->delimiter(',')
      ->allow_extra_args(false)  // the command must not be parsed as another server
      ->check([](const std::string& server) {
        if (server.find(':') == std::string::npos || server.starts_with("http://") ||
            server.starts_with("https://")) {
          return "expected host:port or unix:/path, not " +
                 (server.empty() ? "an empty text" : redlockctl::Shown(server));
        }
        const auto error = redlock::client::CheckEndpoint(server);
        return error ? error->message : std::string();
      })
      ->envname("REDLOCK_SERVER")
      ->capture_default_str();
  app.add_option("--tls-ca", options.tls_ca,
                 "PEM file of the CA that signed the daemon's certificate; turns on TLS")
      ->envname("REDLOCK_TLS_CA")
      ->check(CLI::ExistingFile);
  CLI::Option* const cert =
      app.add_option("--tls-cert", options.tls_cert, "PEM file of a client certificate")
          ->envname("REDLOCK_TLS_CERT")
          ->check(CLI::ExistingFile);
  CLI::Option* const key =
      app.add_option("--tls-key", options.tls_key, "PEM file of the client certificate's key")
          ->envname("REDLOCK_TLS_KEY")
          ->check(CLI::ExistingFile)
          ->needs(cert);
  cert->needs(key);
  app.add_option("--auth-token-file", options.auth_token_file,
                 "File with the bearer token that identifies the caller to the daemon")
      ->envname("REDLOCK_AUTH_TOKEN_FILE")
      ->check(CLI::ExistingFile);
  app.add_option("--output", output, "Output format: text or json [text]")
      ->check(CLI::IsMember({"text", "json"}));
  AddDuration(app, "--connect-timeout",
              "How long connecting to an address may take, including the TLS handshake [2s]",
              [&options](Millis value) { options.connect_timeout = value; });
  AddDuration(app, "--timeout", "Give up after this time",
              [&options](Millis value) { options.timeout = value; });
  CommandLine line(app, options);
  DeclareCommands(line, options);
  app.failure_message([](const CLI::App* failed, const CLI::Error& error) {
    const std::vector<std::string> unknown = failed->remaining(true);
    // CLI11 says only that a subcommand is required.
    if (std::string_view(error.what()).starts_with("A subcommand is required") &&
        !unknown.empty()) {
      const std::string kind = unknown.front().starts_with('-') ? "option" : "subcommand";
      return "redlockctl: there is no " + kind + " " + redlockctl::Shown(unknown.front()) +
             "\nRun with --help or --help-all for more information.\n";
    }
    return "redlockctl: " + CLI::FailureMessage::simple(failed, error);
  });
  redlockctl::Arguments arguments = redlockctl::Separate(app, argc, argv);
  options.command = std::move(arguments.command);
  try {
    std::reverse(arguments.own.begin(), arguments.own.end());  // as CLI11 expects them
    app.parse(std::move(arguments.own));
    if (RunsCommand(app)) CheckCommand(options);
    if (!arguments.keys.empty()) options.keys = std::move(arguments.keys);
    CheckKeys(options);
    CheckTexts(options);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? redlockctl::kExitOk : redlockctl::kExitUsage;
  }
  // `run` and `elect` block and pass on more signals.
  if (!RunsCommand(app)) pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  try {
    Commands commands(options, redlockctl::Printer(output == "json"));
    const ExitStatus status = line.Run(commands);
    // Without its output, such as the token of a lock, a command has not succeeded.
    errno = 0;
    if (std::fflush(stdout) != 0) {
      throw std::runtime_error("cannot write to standard output: " +
                               std::generic_category().message(errno));
    }
    return status;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "redlockctl: %s\n", error.what());
    return redlockctl::kExitUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "redlockctl: %s\n", error.what());
    return RunsCommand(app) ? int{redlockctl::kRunFailed} : int{redlockctl::kExitFailed};
  }
}
