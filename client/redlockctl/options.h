// The options of the command line.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/redlockctl/bench_command.h"
#include "client/redlockctl/node_set_change.h"

namespace redlockctl {

using Millis = std::chrono::duration<double, std::milli>;

struct DebugOptions {
  std::string file;  // to write; empty: a name with the time; "-": standard output
  bool redact_keys = false;
  std::vector<std::string> metrics;  // addresses of status pages; empty: those of the daemons
};

struct Options {
  std::vector<std::string> servers = {"127.0.0.1:50051"};
  std::string tls_ca;  // PEM file; empty: no TLS
  std::string tls_cert, tls_key;
  std::string auth_token_file;    // identifies the caller; empty: no credentials
  std::string identity;           // of the caller that a bearer token is made for
  std::string why;                // the reason for a forced release
  std::string level;              // of the daemon's log
  std::string key;                // of commands that take one
  std::vector<std::string> keys;  // of commands that take several, to lock together
  std::string token;              // of the lock to acquire; empty: a random one
  std::string held_token;         // of the lock that is held
  std::string owner;
  std::string value;                 // that the lock publishes
  std::optional<Millis> lock_delay;  // of a lock that is lost
  std::optional<Millis> keep_for;    // from the acquisition: how long a released key stays taken
  bool once = false;                 // `observe` ends after the first decided state
  Millis ttl = std::chrono::seconds(30);
  Millis connect_timeout = std::chrono::seconds(2);
  std::optional<Millis> timeout;   // of the call
  std::optional<Millis> wait;      // for the lock
  std::optional<Millis> interval;  // between extensions
  std::optional<Millis> max_lifetime;
  Millis grace = std::chrono::seconds(5);    // between SIGTERM and SIGKILL if the lock is lost
  std::vector<std::string> command;          // of `run` and `elect`
  std::optional<std::string> shell_command;  // the same as one text for sh
  std::optional<int> conflict_exit_code;     // of them, if the lock is not acquired
  BenchOptions bench;
  DebugOptions debug;
  NodeSetChange change;
  bool single_try = false;
  std::optional<int> max_retries;  // unset, also below: the daemon's defaults
  std::optional<Millis> min_delay;
  std::optional<Millis> max_jitter;
  bool extend_if_held = false;
  bool shared = false;               // the lock is shared with others
  int max_holders = 0;               // the key is a semaphore with this limit; 0: it is a lock
  std::uint64_t downgrade_from = 0;  // the fencing token of the exclusive lock; 0: no downgrade
  bool keep_watching = false;
};

}  // namespace redlockctl
