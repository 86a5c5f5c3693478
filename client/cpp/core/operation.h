// The pending operations of the client. An operation outlives the Session on which it was sent: if
// it was not answered there, it is sent again on the next Session, with a new id.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "client/cpp/core/effects.h"
#include "client/cpp/core/token.h"
#include "client/cpp/core/validation.h"

namespace redlock::client {

// The delay between two attempts to adopt a lease.
inline constexpr Duration kAdoptAgain = std::chrono::milliseconds(100);
// The delay before a lease is given up that a later call may get.
inline constexpr Duration kGiveUpAgain = std::chrono::seconds(1);

struct Acquisition {
  AcquireCommand command;
  // That of the command, or a new one for each sending.
  std::string token;
  bool callers_token = false;
  // The acquire was sent with the caller's token on a Session that was abandoned, so the daemon may
  // have granted it.
  bool may_be_held = false;
  // The token may hold a lock that this call has not acquired: extend it.
  bool takes = false;
  // kAcquireOrExtend found a lock that lasts until then.
  TimePoint spared_until;
  int named_slot = 0;  // by the caller; 0: whichever the token has
  int slot = 0;        // that the token has, as far as is known
  // The token holds the lock. The grant counts once the current Session has adopted the lease.
  bool adopting = false;
  std::uint64_t sequence = 0;       // of the last adoption
  std::uint64_t sequence_step = 1;  // doubled each time the nodes have seen a higher sequence
  // The fencing token of the exclusive lease that this call makes a share; 0: it does not.
  std::uint64_t downgrade_from = 0;
  Duration longest{};  // as in that lease
  // Why the caller no longer waits. The client has sent a cancellation to the daemon.
  std::optional<Reason> given_up;
  // Why the daemon could not decide last time; the client tries again.
  std::optional<Error> last_failure;

  // How long a lock that the call acquires or extends may last by itself.
  [[nodiscard]] Duration lasts() const {
    return std::max(command.ttl, longest) + command.lock_delay;
  }
  [[nodiscard]] bool single_try() const {
    return command.wait && *command.wait <= Duration::zero();
  }
  // The token held the lock before this call. Its caller may still trust that lock, so a call that
  // fails does not end it.
  [[nodiscard]] bool spares() const { return takes && command.way == Way::kAcquireOrExtend; }
};

// A lock that no caller gets or keeps.
struct Unwanted {
  std::string key, token;
  Duration lasts{};                       // by itself
  bool callers_token = false;             // which the caller may use again
  TimePoint spared_until = {};            // as in Acquisition
  std::optional<Duration> keep_for = {};  // as in the release that may have been carried out
};

// An acquire or adopt that was sent, but whose lock is no longer wanted.
struct Discarded {
  Unwanted lock;
  std::shared_ptr<const KeptLease> lease;  // for the adopt of a held lease only
};

struct Extension {
  std::shared_ptr<KeptLease> lease;
  Duration ttl{};
  std::optional<RetryPolicy> retry;
  // The call was an acquire_or_extend or an adopt, which gets the lease.
  bool gives_lease = false;
};

struct Adoption {
  std::shared_ptr<KeptLease> lease;
};

struct PendingRelease {
  ReleaseRequest request;
  bool awaited = false;  // a caller waits for it
  // A daemon has not answered a copy, which it may still carry out.
  bool unanswered = false;
  bool lost = false;  // the lease was lost before: Close() does not wait for this release
  // The caller may use the token again, so only what the current Session has is released, by
  // give_up. A release that a silent daemon carries out late would end a later lock of the token.
  bool gives_up = false;
  TimePoint expires;  // the lock has expired by then in any case
};

struct Cancellation {
  std::uint64_t id = 0;  // the id of the acquire
};

struct Ping {};

struct PendingClose {
  std::vector<PendingRelease> covers;  // the leases that the close releases
};

struct Operation {
  std::variant<Acquisition, Extension, Adoption, PendingRelease, Cancellation, Ping, PendingClose>
      what;
  std::uint64_t sent_as = 0;  // its id on the current Session; 0: not sent there
  int sendings = 0;
  std::optional<TimePoint> send_at;  // when to send it again
  TimePoint due = kNever;            // when Machine::OnDue() must handle it
};

// The error of calls after the client was closed.
[[nodiscard]] Error ClientClosed();
// The error of calls on a lease that is no longer held.
[[nodiscard]] Error NotHeld(const KeptLease& lease);

}  // namespace redlock::client
