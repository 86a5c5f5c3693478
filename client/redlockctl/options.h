// What the command line says.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "client/redlockctl/bench_command.h"

namespace redlockctl {

using Millis = std::chrono::duration<double, std::milli>;

struct Options {
  std::vector<std::string> servers = {"127.0.0.1:50051"};
  std::string tls_ca;  // PEM files; empty: no TLS
  std::string tls_cert, tls_key;
  std::string auth_token_file;
  std::string auth_token;  // says who the caller is; empty: nobody
  std::string identity;    // that a token is made for
  std::string why;         // of a forced release
  std::string level;       // of the daemon's log
  std::string key;
  std::string token;
  std::string owner;
  Millis ttl = std::chrono::seconds(30);
  std::optional<Millis> timeout;   // of the call
  std::optional<Millis> wait;      // for the lock
  std::optional<Millis> interval;  // of a watch
  std::optional<Millis> max_lifetime;
  Millis grace = std::chrono::seconds(5);  // of a command whose lock was lost
  std::vector<std::string> command;
  BenchOptions bench;
  bool single_try = false;
  std::optional<int> max_retries;  // of a request; the daemon's defaults where none is set
  std::optional<Millis> min_delay;
  std::optional<Millis> max_jitter;
  bool extend_if_held = false;
  bool keep_watching = false;
};

}  // namespace redlockctl
