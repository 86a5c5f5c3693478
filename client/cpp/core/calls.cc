#include "client/cpp/core/calls.h"

#include <algorithm>
#include <utility>

#include "client/cpp/core/keys.h"
#include "client/cpp/core/operation.h"
#include "client/cpp/core/refusal.h"

namespace redlock::client {
namespace {

using Kind = UnaryCommand::Kind;

constexpr Duration kShortestTimeout = std::chrono::milliseconds(10);
constexpr Duration kShortestAttempt = std::chrono::seconds(1);
// Beyond that, a call has no deadline: sums of times would overflow.
constexpr Duration kLongestTimeout = std::chrono::hours(24 * 365);
// The limit of a single try, for daemons that accept a connection and do not answer.
constexpr Duration kSingleTryTimeout = std::chrono::seconds(5);
// The delay before a proclamation is repeated that the nodes could not decide.
constexpr Duration kProclaimAgain = std::chrono::milliseconds(100);
// The ids of unary calls and of the calls of Machine differ.
constexpr CallId kFirstCall = CallId{1} << 63U;

std::optional<Error> Check(const UnaryCommand& command) {
  const bool acquires = command.kind == Kind::kAcquire;
  if (auto error = CheckKey(command.key)) return error;
  if (auto error = CheckToken(command.token, !acquires)) return error;
  if (auto error = CheckOwner(command.owner)) return error;
  if (auto error = CheckRetry(command.retry)) return error;
  if (auto error = CheckValue(command.value)) return error;
  if (auto error = CheckLockDelay(command.lock_delay)) return error;
  if (auto error = CheckKeepFor(command.keep_for)) return error;
  if (acquires || command.kind == Kind::kExtend) {
    if (auto error = CheckTtl(command.ttl)) return error;
  }
  if (acquires) return CheckWait(command.wait);
  if (command.wait && *command.wait >= kShortestTimeout) return std::nullopt;
  return Error{Reason::kInvalidArgument, "timeout: must be at least 10 ms"};
}

bool IsUndecided(Reason reason) {
  return reason == Reason::kQuorumUnavailable || reason == Reason::kNodeSetMismatch;
}

// What is unknown after a call without an answer.
std::string Unknown(Kind kind) {
  switch (kind) {
    case Kind::kAcquire:
      return "the lock may or may not be acquired";
    case Kind::kExtend:
      return "the lock may or may not be extended";
    case Kind::kRelease:
      return "the lock may or may not be released";
    case Kind::kProclaim:
      return "the value may or may not be published";
  }
  return "";
}

}  // namespace

bool Calls::Call::single_try() const { return command.wait && *command.wait == Duration{}; }

Calls::Calls(std::vector<std::string> endpoints, Clock& clock, Random& random)
    : endpoints_(std::move(endpoints)),
      clock_(clock),
      random_(random),
      now_(clock.Now()),
      last_call_(kFirstCall) {}

CallId Calls::Start(UnaryCommand command) {
  now_ = clock_.Now();
  const CallId id = ++last_call_;
  std::optional<Error> error = Check(command);
  if (closed_) error = ClientClosed();
  if (error) {
    effects_.emplace_back(Failed{id, *error});
    return id;
  }
  if (command.token.empty()) command.token = MakeToken(random_);
  Call call{.command = std::move(command),
            .route = Connector(endpoints_.size(), {}, {}, random_),
            .failures = std::vector<std::string>(endpoints_.size())};
  if (call.command.wait) {
    call.over = After(now_, call.single_try() ? kSingleTryTimeout : *call.command.wait);
  }
  Send(id, started_.emplace(id, std::move(call)).first->second);
  return id;
}

CallId Calls::Proclaim(const LeaseRef& lease, std::string value) {
  now_ = clock_.Now();
  const TimePoint until = lease->TrustedUntil();
  if (!lease->held() || until <= now_) {
    effects_.emplace_back(Failed{++last_call_, NotHeld(*lease)});
    return last_call_;
  }
  return Start({.kind = Kind::kProclaim,
                .key = lease->key(),
                .token = lease->token(),
                .wait = std::max(until - now_, kShortestTimeout),
                .value = std::move(value),
                .lease = lease});
}

void Calls::Send(CallId id, Call& call) {
  const UnaryCommand& command = call.command;
  call.sent_at = now_;
  call.attempt = ++last_attempt_;
  call.last_failure.reset();
  SendCall effect{.call = id, .attempt = call.attempt, .endpoint = call.route.endpoint()};
  Duration time = call.over - now_;
  if (command.kind != Kind::kAcquire) {
    // Such a call takes a daemon one round. A silent daemon must leave time for the next one.
    time = std::min(
        time, std::max(*command.wait / static_cast<int>(endpoints_.size()), kShortestAttempt));
  }
  if (time < kLongestTimeout) effect.timeout = time;
  switch (command.kind) {
    case Kind::kAcquire:
      effect.request = AcquireRequest{.key = command.key,
                                      .token = command.token,
                                      .owner = command.owner,
                                      .ttl = command.ttl,
                                      .retry = RetryOf(call.single_try(), command.retry),
                                      .extend_if_held = call.may_be_done,
                                      .value = command.value,
                                      .lock_delay = command.lock_delay};
      break;
    case Kind::kExtend:
      effect.request = ExtendRequest{command.key, command.token, command.ttl, command.retry};
      break;
    case Kind::kRelease:
      effect.request = ReleaseRequest{command.key, command.token, command.keep_for};
      break;
    case Kind::kProclaim:
      effect.request = ProclaimRequest{command.key, command.token, command.value};
      break;
  }
  effects_.emplace_back(std::move(effect));
}

void Calls::OnAnswer(CallId id, std::uint64_t attempt, const UnaryAnswer& answer) {
  now_ = clock_.Now();
  const auto found = started_.find(id);
  if (found == started_.end() || found->second.attempt != attempt) return;
  Call& call = found->second;
  const auto sent_at = std::exchange(call.sent_at, std::nullopt);
  if (!sent_at) return;
  if (answer.delivery == UnaryAnswer::Delivery::kAnswered) {
    if (answer.answer.error) {
      OnRefused(found, answer.answer);
    } else if (answer.answer.grant) {
      OnGrant(found, *answer.answer.grant, *sent_at);
    } else {
      effects_.emplace_back(Done{id});
      started_.erase(found);
    }
    return;
  }
  call.may_be_done |= answer.delivery == UnaryAnswer::Delivery::kUnknown;
  // A daemon that is connected and has not answered in time may still be waiting for the lock.
  if (now_ >= call.over && answer.connected) {
    Fail(found, TimeOver(call, &answer.answer));
  } else {
    TryElsewhere(found, *answer.answer.error, {});
  }
}

void Calls::OnRefused(Started::iterator found, const Answer& answer) {
  Call& call = found->second;
  const Error& error = *answer.error;
  const Kind kind = call.command.kind;
  const bool attempt_over =
      error.reason == Reason::kDeadlineExceeded && kind != Kind::kAcquire && now_ < call.over;
  if (error.reason == Reason::kDraining || attempt_over) {
    TryElsewhere(found, error, {});
  } else if (error.reason == Reason::kOverloaded && !call.single_try()) {
    call.last_failure = error;
    TryElsewhere(found, error, std::max(error.retry_after, kShortestRetry));
  } else if (IsUndecided(error.reason) && kind == Kind::kProclaim) {
    call.last_failure = error;
    TryElsewhere(found, error, kProclaimAgain);
  } else if (error.reason == Reason::kDeadlineExceeded) {
    Fail(found, TimeOver(call, &answer));
  } else if (kind == Kind::kRelease && error.reason == Reason::kLockNotHeld && call.may_be_done) {
    effects_.emplace_back(Done{found->first});
    started_.erase(found);
  } else {
    Fail(found, Refused(call.command.key, error));
  }
}

// The daemon granted the lock no earlier than after it had waited for it. The validity counts from
// then.
void Calls::OnGrant(Started::iterator found, const Grant& grant, TimePoint sent_at) {
  const Call& call = found->second;
  const TimePoint granted_at = After(sent_at, grant.waited - DriftOf(grant.waited));
  const TimePoint valid_until = After(granted_at, grant.validity);
  if (valid_until <= now_ && call.command.kind == Kind::kAcquire) {
    found->second.may_be_done = true;
    Fail(found, {Reason::kValidityExpired,
                 "the lock was granted, but its validity had ended when the answer was read"});
    return;
  }
  effects_.emplace_back(Leased{found->first,
                               {.key = WithSlot(call.command.key, grant.slot),
                                .token = call.command.token,
                                .fencing_token = grant.fencing_token,
                                .valid_until = valid_until.time_since_epoch()}});
  started_.erase(found);
}

void Calls::TryElsewhere(Started::iterator found, const Error& why, Duration delay) {
  Call& call = found->second;
  call.failures[call.route.endpoint()] = why.message;
  const bool all_tried = call.route.OnFailed(now_);
  call.send_at = std::max(call.route.connect_at(), After(now_, delay));
  const bool may_help = why.reason == Reason::kUnreachable || why.reason == Reason::kDraining ||
                        why.reason == Reason::kOverloaded || IsUndecided(why.reason) ||
                        why.reason == Reason::kDeadlineExceeded;
  if (call.command.lease && !call.command.lease->held()) {
    Fail(found, NotHeld(*call.command.lease));
  } else if (!may_help) {
    Fail(found, why);
  } else if (call.single_try() && all_tried) {
    Fail(found, {Reason::kUnreachable, Failures(call)});
  } else if (call.over <= now_) {
    Fail(found, TimeOver(call, nullptr));
  } else if (call.send_at <= now_) {
    Send(found->first, call);
  } else {
    look_at_ = std::min({look_at_, call.send_at, call.over});
  }
}

void Calls::GiveUp(CallId id) {
  now_ = clock_.Now();
  const auto found = started_.find(id);
  if (found == started_.end()) return;
  Fail(found, {Reason::kCancelled, "the caller gave up waiting for the lock"});
}

void Calls::Close() {
  now_ = clock_.Now();
  closed_ = true;
  while (!started_.empty()) Fail(started_.begin(), ClientClosed());
}

void Calls::Fail(Started::iterator found, Error error) {
  const auto& [id, call] = *found;
  const UnaryCommand& command = call.command;
  const bool under_way = call.sent_at.has_value();
  if (under_way) effects_.emplace_back(CancelCall{id});
  if (command.kind == Kind::kAcquire && (call.may_be_done || under_way)) {
    leftovers_.push_back({command.key, command.token, command.ttl + command.lock_delay});
  }
  effects_.emplace_back(Failed{id, std::move(error)});
  started_.erase(found);
}

Error Calls::TimeOver(const Call& call, const Answer* answer) const {
  const UnaryCommand& command = call.command;
  const Duration time = call.single_try() ? kSingleTryTimeout : *command.wait;
  if (answer == nullptr && !call.last_failure) return NoDaemonWithin(time, Failures(call));
  if (command.kind == Kind::kAcquire) {
    return WaitOver(command.key, time, answer, call.last_failure);
  }
  if (call.last_failure) return *call.last_failure;
  return {Reason::kDeadlineExceeded, InWords(command.key) + ": no answer within " + InWords(time) +
                                         "; " + Unknown(command.kind)};
}

std::string Calls::Failures(const Call& call) const {
  std::string text;
  for (const std::string& failure : call.failures) {
    if (!text.empty() && !failure.empty()) text += "; ";
    text += failure;
  }
  return text;
}

void Calls::Tick() {
  now_ = clock_.Now();
  if (now_ < look_at_) return;
  look_at_ = kNever;
  std::vector<CallId> due;
  for (const auto& [id, call] : started_) {
    if (call.sent_at) continue;
    const TimePoint at = std::min(call.send_at, call.over);
    if (at <= now_) {
      due.push_back(id);
    } else {
      look_at_ = std::min(look_at_, at);
    }
  }
  for (const CallId id : due) {
    const auto found = started_.find(id);
    if (found->second.over <= now_) {
      Fail(found, TimeOver(found->second, nullptr));
    } else {
      Send(id, found->second);
    }
  }
}

std::vector<Effect> Calls::TakeEffects() { return std::exchange(effects_, {}); }

std::vector<Calls::Leftover> Calls::TakeLeftovers() { return std::exchange(leftovers_, {}); }

}  // namespace redlock::client
