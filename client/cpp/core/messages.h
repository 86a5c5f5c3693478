// The messages of a Session, independent of Protocol Buffers. proto/redlock/v1/lock_service.proto
// documents them. The key of a request that extends or adopts a slot of a semaphore has the slot.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "client/cpp/core/time.h"
#include "redlock/options.h"

namespace redlock::client {

struct AcquireRequest {
  std::string key, token, owner;
  Duration ttl{};
  std::optional<RetryPolicy> retry;
  bool extend_if_held = false;
  std::string value;
  Duration lock_delay{};
};
struct ExtendRequest {
  std::string key, token;
  Duration ttl{};
  std::optional<RetryPolicy> retry;
  std::uint64_t downgrade_from = 0;
};
struct ReleaseRequest {
  std::string key, token;
  std::optional<Duration> keep_for;
};
struct ProclaimRequest {  // never in a Session
  std::string key, token, value;
};
struct AdoptRequest {
  std::string key, token;
  Duration ttl{};
  std::uint64_t sequence = 0;
  std::uint64_t downgrade_from = 0;
};
struct GiveUpRequest {
  std::string key, token;
};
struct CancelRequest {};  // cancels the acquire that has the same id
struct PingRequest {};
struct CloseRequest {};

using OperationBody = std::variant<AcquireRequest, ExtendRequest, ReleaseRequest, AdoptRequest,
                                   GiveUpRequest, CancelRequest, PingRequest, CloseRequest>;
struct OperationMessage {
  std::uint64_t id = 0;
  OperationBody body;
};

struct Request {
  std::vector<OperationMessage> operations;
  std::optional<Duration> disconnect_grace;  // only in the first message of a Session
};

struct Grant {
  std::string token;
  std::uint64_t fencing_token = 0;
  Duration validity{};  // counts from Response::clock
  Duration waited{};    // from a call: from its arrival at the daemon to the grant
  int slot = 0;         // of a semaphore
};

// An answer with neither a grant nor an error means success.
struct Answer {
  std::uint64_t id = 0;
  std::optional<Grant> grant;
  std::optional<Error> error;
  // For an acquire that was cancelled: why its last attempt on the key failed.
  std::optional<Reason> last_reason;
};

enum class EventType { kExtended, kExtendFailed, kLost, kDraining };

struct Event {
  EventType type = EventType::kExtended;
  std::string key;             // empty for kDraining
  std::optional<Grant> grant;  // for kExtended; for kLost, only if the daemon names the token
  Error error;                 // for kLost and kExtendFailed
};

struct QueuePosition {
  std::uint64_t id = 0;
  int position = 0;
};

struct Response {
  std::vector<Answer> answers;
  std::vector<Event> events;
  std::vector<QueuePosition> positions;
  Duration clock{};
};

}  // namespace redlock::client
