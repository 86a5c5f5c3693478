// The outputs of the state machine. The driver takes them after each call and carries them out in
// order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "client/cpp/core/kept_lease.h"
#include "client/cpp/core/messages.h"
#include "client/cpp/core/session.h"
#include "redlock/lease.h"
#include "redlock/watch.h"

namespace redlock::client {

// Identifies a caller's request: an acquisition, an extension or a release. Never used twice.
using CallId = std::uint64_t;
// Identifies a watch. Never used twice.
using WatchId = std::uint64_t;
// Identifies an observer. Never used twice.
using ObserverId = std::uint64_t;
using LeaseRef = std::shared_ptr<const KeptLease>;

// Effects on the transport.
struct OpenStream {
  SessionId session = 0;
  std::size_t endpoint = 0;
};
// Comes after OpenStream, and after OnWritten() for the previous message.
struct WriteMessage {
  SessionId session = 0;
  Request request;
};
// The stream is no longer used. It may have ended already; the driver need not report its end.
struct CancelStream {
  SessionId session = 0;
};

// Makes a unary call. `extend_if_held`: an earlier attempt may have acquired the lock.
struct SendCall {
  CallId call = 0;
  std::uint64_t attempt = 0;
  std::size_t endpoint = 0;
  std::variant<AcquireRequest, ExtendRequest, ReleaseRequest, ProclaimRequest> request;
  std::optional<Duration> timeout;  // unset: no limit
};
// The attempt is no longer of interest. It may have ended already.
struct CancelCall {
  CallId call = 0;
};
// Opens a Watch.
struct OpenWatch {
  WatchId watch = 0;
  std::uint64_t attempt = 0;
  std::size_t endpoint = 0;
  std::vector<WatchItem> items;
  bool keep_watching_after_loss = true;
};
struct CancelWatch {
  WatchId watch = 0;
};
// Opens an Observe.
struct OpenObserve {
  ObserverId observer = 0;
  std::uint64_t attempt = 0;
  std::size_t endpoint = 0;
  std::string key;
};
struct CancelObserve {
  ObserverId observer = 0;
};

// Effects on the caller. Each call ends with one of Acquired, Leased, Done and
// Failed.
struct Acquired {
  CallId call = 0;
  LeaseRef lease;
};
struct Leased {  // by a unary call
  CallId call = 0;
  Lease lease;
};
struct Done {  // extended, released or proclaimed
  CallId call = 0;
};
struct Failed {
  CallId call = 0;
  Error error;
};
struct Queued {
  CallId call = 0;
  int position = 0;
};
// The last event of a watch is kEnded.
struct Watched {
  WatchId watch = 0;
  WatchEvent event;
};
// The observer has something for its reader: see Observers::Take().
struct Observed {
  ObserverId observer = 0;
};
// Sent once for each lost lease: the work that it protects must stop before TrustedUntil().
struct Lost {
  LeaseRef lease;
};
// A line for the user's log.
struct Logged {
  LogLevel level = LogLevel::kInfo;
  std::string text;
};
// The caller of Machine::Close() need not wait any longer. Nothing that concerns callers follows.
struct Closed {};
// The end of a closed machine. No effect follows.
struct Finished {};

using Effect = std::variant<OpenStream, WriteMessage, CancelStream, SendCall, CancelCall, OpenWatch,
                            CancelWatch, OpenObserve, CancelObserve, Acquired, Leased, Done, Failed,
                            Queued, Watched, Observed, Lost, Logged, Closed, Finished>;

}  // namespace redlock::client
