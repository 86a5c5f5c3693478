// The options of a client and of its calls. Duration counts nanoseconds: any std::chrono duration
// that is not finer converts to it.
#pragma once

#include <redlock/result.h>

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace redlock::client {

// How much an operator should care.
enum class LogLevel {
  kInfo,     // the client works as it should
  kWarning,  // a lock was lost, a daemon went away, or no daemon can be reached
};

struct Options {
  // "host:port" or "unix:/path", tried in turn. DNS may resolve a host to several addresses.
  std::vector<std::string> endpoints = {"127.0.0.1:50051"};
  // The client connects directly: it ignores http_proxy and similar variables of the environment.
  std::string ca_file;                     // PEM; enables TLS with these CAs
  bool tls = false;                        // enables TLS with the system's CAs
  std::string certificate_file, key_file;  // PEM; the client certificate, if the daemon needs one
  // Contains a bearer token. Read for each connection; if the file has become unusable, the client
  // continues to use the token that it read last.
  std::string token_file;
  // How long connecting to an address may take, including the TLS handshake; from 10 ms to 24 h. If
  // an endpoint is a name, the client moves on after twice this time, so that a second address of
  // the name can be tried. It moves on at once if the connection is refused, and sooner if locks
  // would be lost otherwise.
  Duration connect_timeout = std::chrono::seconds(2);
  // If the daemon has read nothing from the client for this long, it releases the client's locks,
  // for example after a crash of the client. The client sends pings to prevent this. It trusts its
  // locks for at most this time after the last message that the daemon has answered. From 100 ms to
  // the daemon's --max-ttl (at most 24 h).
  Duration grace = std::chrono::seconds(5);
  // gRPC sends a keepalive ping on a connection that is silent for keepalive_time, and closes the
  // connection if no reply arrives within keepalive_timeout.
  Duration keepalive_time = std::chrono::seconds(3);
  Duration keepalive_timeout = std::chrono::seconds(2);  // both from 10 ms to 24 h
  // The label of locks whose AcquireOptions::owner is empty. Unset: "HOST/PID/PROGRAM" of this
  // process, cut to 128 bytes. Empty: no label.
  std::optional<std::string> owner;
  // Called with what an operator wants to know: connections, moves between daemons, outages, lost
  // locks. Called on the library's threads, one call at a time; must neither block nor call this
  // library. The library itself writes nothing to standard error, and no token to the log. gRPC has
  // a log of its own, which the environment variable GRPC_VERBOSITY controls.
  std::function<void(LogLevel level, const std::string& text)> log;
  // Whether an acquire waits for its daemons if none of them has answered yet. If false, it fails
  // with kUnreachable once every endpoint has failed; an outage later on is always waited out.
  bool wait_for_daemon = true;
};

// How the daemon retries. It waits in a queue and hears of releases, so that few callers need it.
struct RetryPolicy {
  int max_retries = -1;               // after the first attempt; -1: no limit, 0: a single attempt
  std::optional<Duration> min_delay;  // between two attempts, from 0 to 24 h. Unset: 0
  // The upper bound of a random time that is added to min_delay, from 0 to 24 h. Unset: 300 ms.
  std::optional<Duration> max_jitter;
};

// How a lock is released.
struct ReleaseOptions {
  // Keeps the key taken until this long after the acquisition, although nobody holds it. A job
  // that several machines start at the same time runs only once, even if their clocks differ. From
  // 1 ms to the daemon's --max-ttl; if the daemon refuses a longer time, the lock is released
  // anyway, and the key is free at once. Unset: the key is free at once.
  std::optional<Duration> keep_for;
};

struct AcquireOptions {
  Duration ttl = std::chrono::seconds(30);  // from 10 ms to the daemon's --max-ttl (at most 24 h)
  // How long to wait for the lock, connecting included. Unset or Duration::max(): without a limit;
  // zero: a single try.
  std::optional<Duration> wait;
  std::stop_token stop;  // a stop request gives up waiting; no lock is left behind
  // The owner token, the secret that proves ownership; at most 128 bytes. Empty: the client makes
  // one. A token of your own may be used again after a call that failed, after a release() that
  // succeeded, and after a loss once the work under the lock has stopped. After a release() that
  // failed, use another token.
  std::string token;
  // A label for humans, at most 128 bytes; redlockctl inspect shows it. Empty: Options::owner.
  std::string owner;
  // lost() fires when at most this much of the validity is left, so that there is time to stop.
  // From 0 to a third of the TTL or of Options::grace, whichever is less. Unset: a tenth of the TTL
  // or of Options::grace, whichever is less, and at most 500 ms.
  std::optional<Duration> margin;
  // Called with the number of waiters ahead in the daemon's wait queue when waiting begins, and
  // whenever the number changes.
  std::function<void(int position)> queued;
  // Unset: the daemon retries without a limit. Once the retries are used up, the acquire fails with
  // kMaxRetriesExceeded.
  std::optional<RetryPolicy> retry;
  // What the lock publishes, such as an address: at most 4096 bytes of UTF-8. Not secret. Observers
  // see it, and Lock::proclaim() replaces it.
  std::string value;
  // If the lock is lost rather than released, nobody else gets the key for this long after its TTL.
  // This protects storage that checks no fencing tokens: operations which the holder has begun can
  // finish. 0 means none; `ttl` and `lock_delay` together must not exceed the daemon's --max-ttl.
  Duration lock_delay{};
  // ReleaseOptions::keep_for of a release by the destructor of the lock, by with_lock(), and by
  // Mutex::unlock(). Lock::release() takes its own value.
  std::optional<Duration> keep_for;
};

// For Client::acquire_detached(); the fields are those of AcquireOptions.
struct DetachedOptions {
  Duration ttl = std::chrono::seconds(30);
  std::optional<Duration> wait;
  std::stop_token stop;
  std::string token;  // not to be used again after a call that failed
  std::string owner;
  std::optional<RetryPolicy> retry;
  std::string value;
  Duration lock_delay{};
};

// For Client::adopt(); the fields are those of AcquireOptions.
struct AdoptOptions {
  Duration ttl = std::chrono::seconds(30);
  std::optional<Duration> wait;
  std::stop_token stop;
  std::optional<Duration> margin;
};

}  // namespace redlock::client
