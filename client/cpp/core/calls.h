// The unary calls of a client: acquiring detached locks, extending and releasing locks by key and
// token, and proclaiming values. Each call tries the endpoints in turn, within its own time.
//
// Like Machine: no threads, no clock and no transport of its own; not thread-safe; a driver calls
// it for every event and then carries out the effects.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/core/connector.h"
#include "client/cpp/core/effects.h"

namespace redlock::client {

struct UnaryCommand {
  enum class Kind { kAcquire, kExtend, kRelease, kProclaim };

  Kind kind = Kind::kAcquire;
  std::string key, token, owner;  // an acquire without a token gets one
  Duration ttl{};
  // How long the call may take. Unset: without a limit; zero: an acquire is tried once.
  std::optional<Duration> wait;
  std::optional<RetryPolicy> retry;
  std::string value;                 // of an acquire or a proclaim
  Duration lock_delay{};             // of an acquire
  std::optional<Duration> keep_for;  // of a release
  LeaseRef lease = nullptr;          // that must be held, if it is one of this client
};

// The end of one attempt.
struct UnaryAnswer {
  enum class Delivery {
    kAnswered,  // by the daemon
    kNotSent,   // no connection
    kUnknown,   // the daemon may have carried it out
  };

  Delivery delivery = Delivery::kAnswered;
  Answer answer;           // an error says why there is no answer
  bool connected = false;  // there is a connection to the daemon
};

class Calls {
 public:
  // A lock that a failed acquire may have left behind.
  struct Leftover {
    std::string key, token;
    Duration lasts{};  // by itself
  };

  // `endpoints` are used in messages only.
  Calls(std::vector<std::string> endpoints, Clock& clock, Random& random);

  // Ends with Leased, Done or Failed.
  CallId Start(UnaryCommand command);
  // Replaces the value of a lease. Ends with Done, or with Failed at the latest when the lease
  // could no longer be trusted if it were not extended any more.
  CallId Proclaim(const LeaseRef& lease, std::string value);
  // Does nothing if the call has ended.
  void GiveUp(CallId call);
  // Fails all calls. Later ones fail too.
  void Close();

  // The attempt with this number has ended. Ignored if it is not the current one.
  void OnAnswer(CallId call, std::uint64_t attempt, const UnaryAnswer& answer);

  void Tick();
  // When Tick() must be called next; kNever: nothing is due.
  [[nodiscard]] TimePoint NextDeadline() const { return look_at_; }

  [[nodiscard]] std::vector<Effect> TakeEffects();
  [[nodiscard]] std::vector<Leftover> TakeLeftovers();

 private:
  struct Call {
    UnaryCommand command;
    Connector route;
    std::vector<std::string> failures;  // the last one at each endpoint; empty: none
    TimePoint over = kNever;            // the end of the time that the call may take
    std::uint64_t attempt = 0;          // the last one
    std::optional<TimePoint> sent_at;   // when it was sent; unset: it has ended
    TimePoint send_at{};                // otherwise: when the next attempt begins
    bool may_be_done = false;           // by an attempt whose answer did not arrive
    std::optional<Error> last_failure;  // why a daemon refused to try

    [[nodiscard]] bool single_try() const;
  };
  using Started = std::map<CallId, Call>;

  void Send(CallId id, Call& call);
  void OnRefused(Started::iterator found, const Answer& answer);
  void OnGrant(Started::iterator found, const Grant& grant, TimePoint sent_at);
  void TryElsewhere(Started::iterator found, const Error& why, Duration delay);
  void Fail(Started::iterator found, Error error);
  [[nodiscard]] std::string Failures(const Call& call) const;
  [[nodiscard]] Error TimeOver(const Call& call, const Answer* answer) const;

  const std::vector<std::string> endpoints_;
  Clock& clock_;
  Random& random_;
  TimePoint now_;
  CallId last_call_;  // differs from those of Machine
  std::uint64_t last_attempt_ = 0;
  Started started_;
  TimePoint look_at_ = kNever;  // no call is due before this
  bool closed_ = false;
  std::vector<Effect> effects_;
  std::vector<Leftover> leftovers_;
};

}  // namespace redlock::client
