// The outputs of the state machine. The driver takes them after each call and carries them out in
// order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>

#include "client/cpp/core/lease.h"
#include "client/cpp/core/session.h"

namespace redlock::client {

// Identifies a caller's request: an acquisition, an extension or a release. Never used twice.
using CallId = std::uint64_t;
using LeaseRef = std::shared_ptr<const Lease>;

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

// Effects on the caller. Each call ends with one of Acquired, Done and Failed.
struct Acquired {
  CallId call = 0;
  LeaseRef lease;
};
struct Done {  // extended or released
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
// Sent once for each lost lease: the work that it protects must stop before TrustedUntil().
struct Lost {
  LeaseRef lease;
};
// The end of Machine::Close(). No effect follows.
struct Closed {};

using Effect = std::variant<OpenStream, WriteMessage, CancelStream, Acquired, Done, Failed, Queued,
                            Lost, Closed>;

}  // namespace redlock::client
