// What the state machine wants done. The driver takes the effects after each call, in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>

#include "client/cpp/core/lease.h"
#include "client/cpp/core/session.h"

namespace redlock::client {

// A caller's request: an acquisition, an extension or a release. Never used twice.
using CallId = std::uint64_t;
using LeaseRef = std::shared_ptr<const Lease>;

// To the transport.
struct OpenStream {
  SessionId session = 0;
  std::size_t endpoint = 0;
};
// Follows OpenStream, then OnWritten() for the message before.
struct WriteMessage {
  SessionId session = 0;
  Request request;
};
// The stream is of no more use. It may have ended already; nothing has to be reported of it.
struct CancelStream {
  SessionId session = 0;
};

// To the caller. Each call ends with one of the first three.
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
// Once for each lease that is lost: the work that it protects has to stop before TrustedUntil().
struct Lost {
  LeaseRef lease;
};
// After Machine::Close(): nothing follows.
struct Closed {};

using Effect = std::variant<OpenStream, WriteMessage, CancelStream, Acquired, Done, Failed, Queued,
                            Lost, Closed>;

}  // namespace redlock::client
