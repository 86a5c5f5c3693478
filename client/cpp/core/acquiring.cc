// Machine: acquisitions, until they have a lease or have failed.
#include <algorithm>
#include <string_view>
#include <utility>

#include "client/cpp/core/machine.h"

namespace redlock::client {
namespace {

using std::chrono::milliseconds;

constexpr Duration kShortestRetry = milliseconds(50);
// How long the client waits for the answer to an acquire that it has cancelled. A daemon answers at
// once.
constexpr Duration kCancelPatience = std::chrono::seconds(1);

}  // namespace

CallId Machine::Acquire(AcquireCommand command) {
  Begin();
  const OperationNumber number = ++last_number_;
  if (close_by_) {
    Report(Failed{number, ClientClosed()});
  } else if (const auto error = Check(command, options_.grace)) {
    Report(Failed{number, *error});
  } else {
    Acquisition acquisition{.command = std::move(command)};
    acquisition.token = acquisition.command.token;
    Operation operation;
    if (acquisition.command.wait && !acquisition.single_try()) {
      operation.due = After(now_, *acquisition.command.wait);
    }
    operation.what = std::move(acquisition);
    Insert(number, std::move(operation));
    Enqueue(number);
  }
  Finish();
  return number;
}

void Machine::GiveUp(CallId acquisition) {
  Begin();
  const auto found = operations_.find(acquisition);
  if (found != operations_.end() && std::holds_alternative<Acquisition>(found->second.what)) {
    GiveUp(acquisition, Reason::kCancelled);
  }
  Finish();
}

OperationBody Machine::MessageOf(Acquisition& acquisition) {
  const AcquireCommand& command = acquisition.command;
  if (acquisition.adopting) {
    return AdoptRequest{command.key, acquisition.token, command.ttl, ++acquisition.sequence};
  }
  if (command.token.empty()) acquisition.token = MakeToken();
  return AcquireRequest{.key = command.key,
                        .token = acquisition.token,
                        .owner = command.owner,
                        .ttl = command.ttl,
                        .single_try = acquisition.single_try(),
                        .extend_if_held = acquisition.may_be_held};
}

std::string Machine::MakeToken() {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string token = "rl-";
  for (int word = 0; word < 2; ++word) {
    std::uint64_t bits = random_.Bits();
    for (int digit = 0; digit < 16; ++digit, bits >>= 4U) token += kDigits[bits & 15U];
  }
  return token;
}

void Machine::OnAnswer(OperationNumber number, Acquisition& acquisition, const Answer& answer,
                       TimePoint made) {
  const Error error =
      answer.error.value_or(Error{Reason::kInternal, "the daemon's answer contains no lease"});
  if (acquisition.given_up) {
    acquisition.may_be_held |= answer.grant.has_value();
    FailAcquisition(number, GivenUp(*acquisition.given_up));
  } else if (answer.grant && acquisition.may_be_held && !acquisition.adopting) {
    acquisition.adopting = true;
    // Each copy that was sent with extend_if_held may have moved the lease to another stream.
    const auto sendings = static_cast<std::uint64_t>(operations_.at(number).sendings);
    acquisition.sequence = std::max(acquisition.sequence, answer.grant->fencing_token + sendings);
    SendAgain(number, {});
  } else if (answer.grant) {
    OnGranted(number, acquisition, *answer.grant, made);
  } else if (acquisition.adopting) {
    // The lease that an abandoned daemon granted is no longer held, or the daemon could not find
    // out.
    acquisition.adopting = error.reason != Reason::kLockNotHeld;
    SendAgain(number, acquisition.adopting ? kAdoptAgain : Duration{});
  } else if (error.reason == Reason::kOverloaded && !acquisition.single_try()) {
    SendAgain(number, std::max(error.retry_after, kShortestRetry));
  } else {
    FailAcquisition(number, error);
  }
}

void Machine::OnGranted(OperationNumber number, Acquisition& acquisition, const Grant& grant,
                        TimePoint made) {
  const AcquireCommand& command = acquisition.command;
  const auto lease = std::make_shared<Lease>(
      command.key, acquisition.token, command.ttl, MarginOf(command, options_.grace),
      session_->trust(), After(made, grant.validity), grant.fencing_token,
      static_cast<std::uint64_t>(operations_.at(number).sendings));
  if (lease->SignalAt() <= now_) {
    acquisition.may_be_held = true;
    FailAcquisition(number,
                    {Reason::kValidityExpired,
                     "the lock was granted, but its validity had ended when the answer was read"});
    return;
  }
  leases_.emplace(lease->key(), lease);
  look_at_leases_ = std::min(look_at_leases_, lease->SignalAt());
  Report(Acquired{number, lease});
  operations_.erase(number);
}

// If the acquire was sent, waits for its answer: the daemon may already have granted the lock.
void Machine::GiveUp(OperationNumber number, Reason why) {
  Operation& operation = operations_.at(number);
  auto& acquisition = std::get<Acquisition>(operation.what);
  if (acquisition.given_up) return;
  if (operation.sent_as == 0 || acquisition.adopting) {
    FailAcquisition(number, GivenUp(why));
    return;
  }
  acquisition.given_up = why;
  operation.due = now_ + kCancelPatience;
  WakeFor(operation.due);
  Operation cancellation{.what = Cancellation{operation.sent_as}};
  Insert(++last_number_, std::move(cancellation));
  Enqueue(last_number_);
}

Error Machine::GivenUp(Reason why) const {
  if (why != Reason::kDeadlineExceeded) return {why, "the caller gave up waiting for the lock"};
  if (ready()) return {why, "the lock was not acquired within the time to wait"};
  return {Reason::kUnreachable,
          "no daemon answered within the time to wait (" + last_failure_.message + ")"};
}

void Machine::OnDue(OperationNumber number, Acquisition& acquisition) {
  if (acquisition.given_up) {  // no answer
    acquisition.may_be_held = true;
    FailAcquisition(number, GivenUp(*acquisition.given_up));
  } else {
    GiveUp(number, Reason::kDeadlineExceeded);
  }
}

void Machine::OnAbandoned(OperationNumber number, Acquisition& acquisition, bool unanswered) {
  if (acquisition.command.token.empty()) {
    if (unanswered) {
      ReleaseInBackground(acquisition.command.key, acquisition.token, acquisition.command.ttl);
    }
  } else {
    acquisition.may_be_held |= unanswered;
    acquisition.adopting = false;
  }
  if (acquisition.given_up) FailAcquisition(number, GivenUp(*acquisition.given_up));
}

// Fails the call and leaves no lock behind.
void Machine::FailAcquisition(OperationNumber number, Error error) {
  const auto& acquisition = std::get<Acquisition>(operations_.at(number).what);
  if (acquisition.may_be_held) {
    ReleaseInBackground(acquisition.command.key, acquisition.token, acquisition.command.ttl);
  }
  if (operations_.at(number).sent_as != 0) {
    discarded_[number] = {acquisition.command.key, acquisition.token, acquisition.command.ttl, {}};
  }
  Report(Failed{number, std::move(error)});
  operations_.erase(number);
}

// Releases the lease that a late answer grants. Exceptions: while the work under a lost lock may
// still be stopping, the lock is not released yet; its release follows. If the caller has released
// a lock with its own token, it may have used the token for a new lock since then. A client that
// closes has already requested the release of everything.
void Machine::OnLateAnswer(OperationNumber number, const Answer& answer) {
  const auto found = discarded_.extract(number);
  if (!found || !answer.grant || close_by_) return;
  const Discarded& discarded = found.mapped();
  if (discarded.lease) {
    if (discarded.lease->TrustedUntil() > now_) return;
    const bool released = discarded.lease->state() == Lease::State::kReleased;
    if (released && !IsMadeToken(discarded.token)) return;
  }
  ReleaseInBackground(discarded.key, discarded.token, discarded.ttl);
}

}  // namespace redlock::client
