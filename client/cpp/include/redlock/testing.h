// The test kit: a lock service of its own for each test, on which faults can be inflicted.
//
//   redlock::testing::Server server;
//   redlock::client::Client client({.endpoints = {server.address()}});
//   auto lock = client.acquire("reports");
//   server.lose("reports");                       // lock->lost() fires within milliseconds
//
// Starts real daemons with private Redis nodes, so it needs redlockd and redis-server. Uses no
// fixed ports: tests may run in parallel. To link: find_package(redlockd), redlock::testing.
#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace redlock::testing {

struct ServerOptions {
  // The daemon's program. Empty: the environment variable REDLOCKD, or else redlockd in PATH.
  std::string redlockd;
};

// A daemon, a proxy before it, and three nodes that outlive the daemon's restarts. All end with
// this object, and with the process. Thread-safe.
class Server {
 public:
  // Returns when the daemon serves. Throws std::runtime_error that says what is missing.
  explicit Server(const ServerOptions& options = {});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // For Options::endpoints: the proxy, "127.0.0.1:PORT".
  [[nodiscard]] const std::string& address() const;

  // Takes the lock from its holder, who hears LOST. Of several keys that are locked together, `key`
  // is one. `why`: for the daemon's log; 1 to 200 bytes. Returns false if no client held the lock.
  bool lose(const std::string& key, const std::string& why = "a test");

  // Ends the daemon, with SIGTERM, or as a crash with SIGKILL, and starts it again. Locks survive.
  // Returns when the daemon serves.
  void restart();
  void crash();

  // From now on, the proxy holds back all bytes by `delay`, in both directions.
  void delay(std::chrono::nanoseconds delay);
  // Nothing passes the proxy any more, in either direction. Connections stay open, and new ones are
  // accepted.
  void cut();
  // Ends delay() and cut(). What was held back passes.
  void mend();
  // Closes all connections by RST.
  void reset();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace redlock::testing
