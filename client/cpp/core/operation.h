// What the client has under way. An operation survives the Session over which it was sent: unless
// it was answered there, it is sent again over the next one, under a new id.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "client/cpp/core/effects.h"
#include "client/cpp/core/validation.h"

namespace redlock::client {

// Between two attempts to adopt a lease.
inline constexpr Duration kAdoptAgain = std::chrono::milliseconds(100);

struct Acquisition {
  AcquireCommand command;
  // Made anew for each sending unless the caller gave it.
  std::string token;
  // The caller's token was sent over a Session that was abandoned: the daemon may have granted it.
  bool may_be_held = false;
  // Granted after that. It counts once the present Session has adopted it.
  bool adopting = false;
  std::uint64_t sequence = 0;  // of the adoption
  // The daemon has been asked to cancel it.
  std::optional<Reason> given_up;

  [[nodiscard]] bool single_try() const {
    return command.wait && *command.wait <= Duration::zero();
  }
};

// An acquire or an adopt that was sent, and whose lock nobody wants any more.
struct Discarded {
  std::string key, token;
  Duration ttl{};
  std::shared_ptr<const Lease> lease;  // of an adopt
};

struct Extension {
  std::shared_ptr<Lease> lease;
  Duration ttl{};
};

struct Adoption {
  std::shared_ptr<Lease> lease;
};

// Whether the client, or a daemon, made the token: it is never used again after its release.
[[nodiscard]] inline bool IsMadeToken(const std::string& token) { return token.starts_with("rl-"); }

struct PendingRelease {
  ReleaseRequest request;
  bool awaited = false;  // by a caller
  bool lost = false;     // trust had ended before: the end of the client does not wait for it
  TimePoint expires;     // the lock is gone by then in any case
};

struct Cancellation {
  std::uint64_t id = 0;  // under which the acquire was sent
};

struct Ping {};

struct PendingClose {
  std::vector<PendingRelease> covers;  // what it releases
};

struct Operation {
  std::variant<Acquisition, Extension, Adoption, PendingRelease, Cancellation, Ping, PendingClose>
      what;
  std::uint64_t sent_as = 0;  // its id in the present Session; 0: not sent there
  int sendings = 0;
  std::optional<TimePoint> send_at;  // not before
  TimePoint due = kNever;            // when a bound is reached: see Machine::OnDue()
};

// Of what a caller asked for once the client had been closed.
[[nodiscard]] Error ClientClosed();
// Of what a caller asked for a lease that is not held any more.
[[nodiscard]] Error NotHeld(const Lease& lease);

}  // namespace redlock::client
