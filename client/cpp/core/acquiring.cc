// Machine: acquisitions, until they have a lease or have failed.
#include <algorithm>
#include <utility>

#include "client/cpp/core/keys.h"
#include "client/cpp/core/machine.h"
#include "client/cpp/core/refusal.h"

namespace redlock::client {
namespace {

using std::chrono::milliseconds;

// How long the client waits for the answer to an acquire that it has cancelled. A daemon answers at
// once. The end of a wait is the caller's limit, so that the client does not wait long after it.
constexpr Duration kCancelPatience = std::chrono::seconds(1);
constexpr Duration kWaitOverPatience = milliseconds(250);
// Sequences stay far below 2^53, the highest that a daemon accepts.
constexpr std::uint64_t kLargestSequenceStep = std::uint64_t{1} << 40U;

Unwanted UnwantedOf(const Acquisition& acquisition) {
  // A later exclusive hold of the token would not be safe from a downgrade that is not decided, so
  // that it is released, and the caller may not use it again.
  const bool used_again = acquisition.callers_token && acquisition.downgrade_from == 0;
  return {acquisition.command.key, acquisition.token, acquisition.lasts(), used_again,
          acquisition.spared_until};
}

}  // namespace

CallId Machine::Acquire(AcquireCommand command) {
  Begin();
  const OperationNumber number = ++last_number_;
  if (close_by_) {
    Report(Failed{number, ClientClosed()});
  } else if (const auto error = Check(command, options_.grace)) {
    Report(Failed{number, *error});
  } else if (!command.token.empty() && Uses(command.key, command.token, By::kDowngrade)) {
    Report(
        Failed{number,
               {Reason::kInvalidArgument,
                "token: this client is downgrading " + InWords(command.key) +
                    " with this token; wait until the downgrade has ended, or use another token"}});
  } else if (command.token.empty() || !UseHeld(number, command)) {
    Acquisition acquisition{.command = std::move(command)};
    acquisition.slot = acquisition.named_slot = SlotOf(acquisition.command.key);
    acquisition.command.key = AnySlot(acquisition.command.key);
    acquisition.callers_token = !acquisition.command.token.empty();
    Start(number, std::move(acquisition));
  }
  Finish();
  return number;
}

CallId Machine::Downgrade(const LeaseRef& lease) {
  Begin();
  const OperationNumber number = ++last_number_;
  const LeasePtr held = Find(lease);
  if (IsShared(lease->key()) || IsSemaphore(lease->key())) {
    Report(Failed{number,
                  {Reason::kInvalidArgument,
                   InWords(lease->key()) + ": only an exclusive lock can be downgraded"}});
  } else if (!held || !held->held()) {
    Report(Failed{number, NotHeld(*lease)});
  } else if (Uses(held->key(), held->token(), By::kAny)) {
    Report(Failed{number,
                  {Reason::kInvalidArgument, "token: this client is requesting " +
                                                 InWords(held->key()) + " with this token"}});
  } else {
    Acquisition acquisition{.command = {.key = shared(held->key()),
                                        .ttl = held->ttl(),
                                        .wait = held->TrustedUntil() - now_,
                                        .token = held->token(),
                                        .margin = held->margin(),
                                        .way = Way::kAdopt,
                                        .lock_delay = held->lock_delay(),
                                        .keep_for = held->keep_for()}};
    acquisition.callers_token = held->callers_token();
    acquisition.sequence = held->sequence();
    acquisition.downgrade_from = held->fencing_token();
    acquisition.longest = held->longest();
    held->Release();
    EndOperationsOf(*held, NotHeld(*held));
    // A lease that a late adoption brings belongs to the share.
    std::erase_if(discarded_, [&](const auto& entry) { return entry.second.lease == held; });
    Forget(held);
    Start(number, std::move(acquisition));
  }
  Finish();
  return number;
}

void Machine::Start(OperationNumber number, Acquisition acquisition) {
  acquisition.token = acquisition.command.token;
  acquisition.takes = acquisition.command.way != Way::kAcquire;
  Operation operation;
  if (acquisition.command.wait && !acquisition.single_try()) {
    operation.due = After(now_, *acquisition.command.wait);
  }
  operation.what = std::move(acquisition);
  Insert(number, std::move(operation));
  Enqueue(number);
}

void Machine::GiveUp(CallId acquisition) {
  Begin();
  const auto found = operations_.find(acquisition);
  if (found != operations_.end()) {
    if (std::holds_alternative<Acquisition>(found->second.what)) {
      GiveUp(acquisition, Reason::kCancelled);
    } else if (const auto* const extension = std::get_if<Extension>(&found->second.what)) {
      Report(Failed{acquisition, {Reason::kCancelled, "the caller gave up waiting for the lock"}});
      DropOf(*extension->lease, acquisition);
    }
  }
  Finish();
}

// Whether a call with this token may get the keys, in whatever mode. The token must not hold the
// keys exclusively until a downgrade is decided.
bool Machine::Uses(const std::string& key, const std::string& token, By by) const {
  return std::any_of(operations_.begin(), operations_.end(), [&](const auto& entry) {
    const auto* const acquisition = std::get_if<Acquisition>(&entry.second.what);
    return acquisition != nullptr && (!acquisition->given_up || acquisition->takes) &&
           (by == By::kAny || acquisition->downgrade_from != 0) && acquisition->token == token &&
           NamesOf(acquisition->command.key) == NamesOf(key);
  });
}

Machine::LeasePtr Machine::HeldBy(const std::string& key, const std::string& token) const {
  const auto [begin, end] = leases_.equal_range(AnySlot(key));
  const auto found = std::find_if(begin, end, [&token](const auto& entry) {
    return entry.second->held() && entry.second->token() == token;
  });
  return found == end ? nullptr : found->second;
}

bool Machine::UseHeld(OperationNumber number, const AcquireCommand& command) {
  const LeasePtr lease = HeldBy(command.key, command.token);
  if (!lease) return false;
  if (command.way == Way::kAcquire) {
    Report(Failed{number,
                  {Reason::kLockAlreadyHeld,
                   InWords(command.key) + ": this client holds the lock with the same token"}});
    return true;
  }
  lease->AskedFor(command.ttl);
  const int slot = SlotOf(command.key);
  if (slot != 0 && slot != lease->slot()) {
    Report(Failed{
        number, {Reason::kLockNotHeld, "this token has another slot of " + InWords(command.key)}});
    return true;
  }
  const bool single_try = command.wait && *command.wait <= Duration::zero();
  Operation operation{.what =
                          Extension{lease, command.ttl, RetryOf(single_try, command.retry), true}};
  if (command.wait && !single_try) operation.due = After(now_, *command.wait);
  Insert(number, std::move(operation));
  operations_of_.emplace(lease.get(), number);
  if (lease->kept()) Enqueue(number);
  return true;
}

OperationBody Machine::MessageOf(Acquisition& acquisition) {
  const AcquireCommand& command = acquisition.command;
  if (acquisition.adopting) {
    return AdoptRequest{WithSlot(command.key, acquisition.slot), acquisition.token, command.ttl,
                        ++acquisition.sequence, acquisition.downgrade_from};
  }
  const auto retry = RetryOf(acquisition.single_try(), command.retry);
  // Returns the fencing token, without which the client cannot choose a sequence. A single round:
  // the client itself tries again.
  if (acquisition.takes) {
    return ExtendRequest{WithSlot(command.key, acquisition.slot), acquisition.token, command.ttl,
                         RetryOf(true, command.retry), acquisition.downgrade_from};
  }
  acquisition.last_failure.reset();  // from now on, the daemon knows why the lock is not acquired
  if (command.token.empty()) acquisition.token = MakeToken(random_);
  return AcquireRequest{.key = command.key,
                        .token = acquisition.token,
                        .owner = command.owner,
                        .ttl = command.ttl,
                        .retry = retry,
                        .extend_if_held = acquisition.may_be_held,
                        .value = command.value,
                        .lock_delay = command.lock_delay};
}

void Machine::OnAnswer(OperationNumber number, Acquisition& acquisition, const Answer& answer,
                       TimePoint made) {
  // A grant that crosses giving up counts if the token may have held the lock before.
  if (acquisition.given_up && !(acquisition.takes && answer.grant)) {
    acquisition.may_be_held |= answer.grant.has_value();
    FailAcquisition(number, GivenUp(acquisition, &answer));
  } else if (answer.grant && (acquisition.may_be_held || acquisition.takes) &&
             !acquisition.adopting) {
    acquisition.adopting = true;
    if (acquisition.spares()) {
      acquisition.spared_until = After(made, answer.grant->validity);
    }
    RaiseSequence(number, acquisition, *answer.grant);
    acquisition.slot = answer.grant->slot;
    SendAgain(number, {});
  } else if (answer.grant) {
    OnGranted(number, acquisition, *answer.grant, made);
  } else {
    OnRefused(
        number, acquisition,
        answer.error.value_or(Error{Reason::kInternal, "the daemon's answer contains no lease"}));
  }
}

// Each copy that was sent with extend_if_held may have moved the lease to another stream.
void Machine::RaiseSequence(OperationNumber number, Acquisition& acquisition, const Grant& grant) {
  const auto sendings = static_cast<std::uint64_t>(operations_.at(number).sendings);
  acquisition.sequence = std::max(acquisition.sequence, grant.fencing_token + sendings);
}

void Machine::OnRefused(OperationNumber number, Acquisition& acquisition, const Error& error) {
  const bool undecided = error.reason == Reason::kOverloaded ||
                         error.reason == Reason::kQuorumUnavailable ||
                         error.reason == Reason::kNodeSetMismatch;
  if (acquisition.spares() && !acquisition.adopting && error.reason == Reason::kLockNotHeld) {
    // Whatever the token holds from now on, this call has acquired.
    acquisition.takes = false;
    acquisition.spared_until = {};
    SendAgain(number, {});
  } else if (acquisition.adopting && error.reason == Reason::kLockNotHeld) {
    // The lease has ended, or another client has adopted it with a higher sequence. The next answer
    // tells: it starts from the beginning.
    acquisition.adopting = false;
    acquisition.slot = acquisition.named_slot;
    acquisition.sequence += acquisition.sequence_step;
    acquisition.sequence_step = std::min(acquisition.sequence_step * 2, kLargestSequenceStep);
    SendAgain(number, {});
  } else if (!(acquisition.takes && acquisition.single_try()) &&
             (acquisition.adopting || (acquisition.takes && undecided))) {
    acquisition.last_failure = error;
    SendAgain(number, kAdoptAgain);
  } else if (error.reason == Reason::kOverloaded && !acquisition.single_try()) {
    acquisition.last_failure = error;
    SendAgain(number, std::max(error.retry_after, kShortestRetry));
  } else {
    FailAcquisition(number, Refused(acquisition.command.key, error));
  }
}

void Machine::OnGranted(OperationNumber number, Acquisition& acquisition, const Grant& grant,
                        TimePoint made) {
  const AcquireCommand& command = acquisition.command;
  RaiseSequence(number, acquisition, grant);
  const auto lease = std::make_shared<KeptLease>(
      command.key, grant.slot, acquisition.token, acquisition.callers_token, command.ttl,
      MarginOf(command, options_.grace), session_->trust(), After(made, grant.validity),
      grant.fencing_token, acquisition.sequence, command.lock_delay, command.keep_for);
  if (lease->SignalAt() <= now_) {
    const Unwanted lock = UnwantedOf(acquisition);
    FailAcquisition(number,
                    {Reason::kValidityExpired,
                     "the lock was granted, but its validity had ended when the answer was read"});
    GiveBack(lock);
    return;
  }
  if (const LeasePtr same = HeldBy(command.key, acquisition.token)) {
    // Another call has got the lock meanwhile. Each release ends it for both.
    if (!same->kept()) {
      SendAgain(number, kAdoptAgain);
      return;
    }
    same->Extended(After(made, grant.validity), grant.fencing_token);
    same->PassSequence(acquisition.sequence);
    same->AskedFor(command.ttl);
    Report(Acquired{number, same});
    operations_.erase(number);
    return;
  }
  lease->AskedFor(acquisition.longest);
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
  acquisition.given_up = why;
  if (operation.sent_as == 0 || (acquisition.adopting && !acquisition.takes)) {
    FailAcquisition(number, GivenUp(acquisition, nullptr));
    return;
  }
  operation.due =
      After(now_, why == Reason::kDeadlineExceeded ? kWaitOverPatience : kCancelPatience);
  WakeFor(operation.due);
  if (acquisition.adopting || acquisition.takes) return;  // not cancellable
  Operation cancellation{.what = Cancellation{operation.sent_as}};
  Insert(++last_number_, std::move(cancellation));
  Enqueue(last_number_);
}

// `answer`: that of the daemon to the acquire that was given up; null if there is none.
Error Machine::GivenUp(const Acquisition& acquisition, const Answer* answer) const {
  if (*acquisition.given_up != Reason::kDeadlineExceeded) {
    return {*acquisition.given_up, "the caller gave up waiting for the lock"};
  }
  const AcquireCommand& command = acquisition.command;
  if (!ready()) return NoDaemonWithin(*command.wait, Failures());
  // Another reason: the daemon had decided before it heard of the cancellation.
  const bool decided = answer != nullptr && answer->error &&
                       answer->error->reason != Reason::kCancelled &&
                       answer->error->reason != Reason::kDeadlineExceeded;
  if (decided) return Refused(command.key, *answer->error);
  return WaitOver(command.key, *command.wait, answer, acquisition.last_failure);
}

void Machine::OnDue(OperationNumber number, Acquisition& acquisition) {
  if (acquisition.given_up) {  // no answer
    acquisition.may_be_held = true;
    FailAcquisition(number, GivenUp(acquisition, nullptr));
  } else {
    GiveUp(number, Reason::kDeadlineExceeded);
  }
}

void Machine::OnAbandoned(OperationNumber number, Acquisition& acquisition, bool unanswered) {
  if (acquisition.command.token.empty()) {
    if (unanswered) {
      ReleaseInBackground(acquisition.command.key, acquisition.token, acquisition.lasts());
    }
  } else {
    acquisition.may_be_held |= unanswered;
    acquisition.adopting = false;
  }
  if (acquisition.given_up) FailAcquisition(number, GivenUp(acquisition, nullptr));
}

// Fails the call and leaves no lock behind, unless the token may have held it before. An extension
// leaves nothing that is kept alive, except that a Session keeps the lock of a downgrade alive.
void Machine::FailAcquisition(OperationNumber number, Error error) {
  const auto& acquisition = std::get<Acquisition>(operations_.at(number).what);
  const Unwanted lock = UnwantedOf(acquisition);
  const bool downgrades = acquisition.downgrade_from != 0 && error.reason != Reason::kLockNotHeld;
  const bool may_be_held = downgrades || (acquisition.may_be_held && !acquisition.takes);
  if (operations_.at(number).sent_as != 0 && (acquisition.adopting || !acquisition.takes)) {
    discarded_[number] = {lock, nullptr};
  }
  if (downgrades) {
    error.message += "; the lock is being released";
    if (acquisition.callers_token) error.message += ", and its token must not be used again";
  }
  Report(Failed{number, std::move(error)});
  operations_.erase(number);
  if (may_be_held) GiveBack(lock);
}

// Gives back the lease that a late answer grants. The daemon keeps the lease alive, so it cannot be
// left to expire. Exceptions: while the work under a lost lock may still be stopping, the lock is
// not given back yet; it will be. A client that closes has already requested the release of
// everything.
void Machine::OnLateAnswer(OperationNumber number, const Answer& answer) {
  const auto found = discarded_.extract(number);
  if (!found || !answer.grant || close_by_) return;
  const auto& lease = found.mapped().lease;
  if (lease && lease->lock_delay() > Duration::zero()) {
    leave_session_ = true;
    return;
  }
  if (lease && lease->TrustedUntil() > now_) return;
  GiveBack(found.mapped().lock);
}

bool Machine::InUse(const std::string& key, const std::string& token) const {
  const auto [begin, end] = leases_.equal_range(key);
  return std::any_of(begin, end,
                     [&](const auto& entry) {
                       return entry.second->held() && entry.second->token() == token;
                     }) ||
         std::any_of(operations_.begin(), operations_.end(), [&](const auto& entry) {
           const auto* const acquisition = std::get_if<Acquisition>(&entry.second.what);
           return acquisition != nullptr && acquisition->command.key == key &&
                  acquisition->token == token;
         });
}

}  // namespace redlock::client
