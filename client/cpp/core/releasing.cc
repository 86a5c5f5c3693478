// Machine: releases of single locks, and the close of the client.
#include <algorithm>
#include <utility>

#include "client/cpp/core/check.h"
#include "client/cpp/core/machine.h"
#include "client/cpp/core/refusal.h"

namespace redlock::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How long a caller waits.
constexpr Duration kReleasePatience = seconds(2);
constexpr Duration kClosePatience = seconds(2);
// A daemon has ended a cancelled call by then.
constexpr Duration kReleaseAgain = seconds(1);

}  // namespace

CallId Machine::Release(const LeaseRef& lease, std::optional<Duration> keep_for) {
  Begin();
  const OperationNumber number = ++last_number_;
  const LeasePtr known = Find(lease);
  if (const auto error = CheckKeepFor(keep_for)) {
    Report(Failed{number, *error});
  } else if (known && known->held()) {
    PendingRelease release = ReleaseOf(*known);
    release.request.keep_for = keep_for;
    release.awaited = true;
    known->Release(keep_for);
    EndOperationsOf(*known, NotHeld(*known));
    Forget(known);
    Insert(number, {.what = std::move(release), .due = now_ + kReleasePatience});
    Enqueue(number);
  } else if (lease->state() == KeptLease::State::kReleased) {
    Report(Done{number});
  } else {
    if (known) {  // the work stopped before the trust ended
      known->EndTrust();
      GiveBackLost(*known);
      Forget(known);
    }
    Report(Failed{number, NotHeld(*lease)});
  }
  Finish();
  return number;
}

PendingRelease Machine::ReleaseOf(const KeptLease& lease) const {
  PendingRelease release = ReleaseOf(lease.key(), lease.token(), lease.lasts());
  release.lost = !lease.held();
  return release;
}

PendingRelease Machine::ReleaseOf(const std::string& key, const std::string& token,
                                  Duration lasts) const {
  // An abandoned daemon notices this after `grace`, and extends the leases until then.
  return {.request = {key, token, {}}, .expires = After(After(now_, lasts), options_.grace)};
}

void Machine::AddRelease(PendingRelease release) {
  const TimePoint expires = release.expires;
  Enqueue(Add({.what = std::move(release), .due = expires}));
}

void Machine::ReleaseInBackground(const std::string& key, const std::string& token,
                                  Duration lasts) {
  AddRelease(ReleaseOf(key, token, lasts));
}

void Machine::GiveBack(const Unwanted& lock) {
  if (!lock.callers_token) {
    PendingRelease release = ReleaseOf(lock.key, lock.token, lock.lasts);
    release.request.keep_for = lock.keep_for;
    AddRelease(std::move(release));
    return;
  }
  if (!ready()) return;  // the end of the Session gives the lease up
  PendingRelease release = ReleaseOf(lock.key, lock.token, lock.lasts);
  release.gives_up = true;
  Duration delay{};
  if (InUse(lock.key, lock.token)) delay = kGiveUpAgain;
  if (lock.spared_until > now_) delay = std::max(delay, lock.spared_until - now_);
  release.lost = delay > Duration::zero();  // Close() does not wait for it
  // Until the Session ends, however long that takes: it keeps the lease alive.
  SendAgain(Add({.what = std::move(release)}), delay);
}

// Once the trust in a lost lease has ended. A release would end its delay.
void Machine::GiveBackLost(const KeptLease& lease) {
  if (lease.lock_delay() > Duration::zero()) return;
  if (lease.callers_token()) {
    GiveBack({lease.key(), lease.token(), lease.ttl(), true});
  } else {
    AddRelease(ReleaseOf(lease));
  }
}

void Machine::ReleaseToken(const std::string& key, const std::string& token, Duration lasts) {
  if (finished_) return;
  Begin();
  ReleaseInBackground(key, token, lasts);
  PendingRelease again = ReleaseOf(key, token, lasts);
  again.lost = true;  // Close() does not wait for it
  const TimePoint expires = again.expires;
  SendAgain(Add({.what = std::move(again), .due = expires}), kReleaseAgain);
  Finish();
}

void Machine::OnAnswer(OperationNumber number, PendingRelease& release, const Answer& answer) {
  const bool again = operations_.at(number).sendings > 1;
  if (answer.error && answer.error->reason == Reason::kOverloaded) {
    SendAgain(number, std::max(answer.error->retry_after, kShortestRetry));
    return;
  }
  if (answer.error && answer.error->reason == Reason::kInvalidArgument &&
      release.request.keep_for) {
    // It exceeds the daemon's --max-ttl. The Session would keep the lock alive.
    AddRelease(
        {.request = {release.request.key, release.request.token, {}}, .expires = release.expires});
  }
  if (release.awaited) {
    // An earlier copy may have released the lock.
    const bool done = !answer.error || (again && answer.error->reason == Reason::kLockNotHeld);
    if (done && release.unanswered && !IsMadeToken(release.request.token)) {
      // A daemon may still carry out an earlier copy, which would end a later hold of the same
      // token.
      Report(Failed{number,
                    {Reason::kUnreachable,
                     "the lock is released, but an earlier daemon has not answered and may still "
                     "carry out the release; the token must not be used again"}});
    } else if (done) {
      Report(Done{number});
    } else {
      Report(Failed{number, *answer.error});
    }
  }
  EraseRelease(number);
}

// In no mode: a release ends a lock of the keys in any mode.
Machine::TokenHold Machine::HoldOf(const std::string& key, const std::string& token) {
  return {token, NamesOf(key)};
}

// If the operation requests a lock whose token is being released, notes that it waits. A release
// that is sent again would end the new lock.
bool Machine::Waits(OperationNumber number, const Operation& operation) {
  const auto* const acquisition = std::get_if<Acquisition>(&operation.what);
  if (acquisition == nullptr || !acquisition->callers_token || releasing_.empty()) return false;
  const TokenHold hold = HoldOf(acquisition->command.key, acquisition->token);
  if (!releasing_.contains(hold)) return false;
  waiting_.emplace(hold, number);
  return true;
}

void Machine::EraseRelease(OperationNumber number) {
  const auto& release = std::get<PendingRelease>(operations_.at(number).what);
  const bool counted = !release.gives_up;
  const TokenHold hold = HoldOf(release.request.key, release.request.token);
  operations_.erase(number);
  if (!counted) return;
  releasing_.erase(releasing_.find(hold));
  const auto [begin, end] = waiting_.equal_range(hold);
  for (auto each = begin; each != end; ++each) {
    const auto found = operations_.find(each->second);
    if (found != operations_.end() && !found->second.send_at) Enqueue(each->second);
  }
  waiting_.erase(begin, end);
}

void Machine::OnDue(OperationNumber number, PendingRelease& release) {
  if (release.awaited) {
    release.awaited = false;
    Report(Failed{number,
                  {Reason::kUnreachable,
                   "the lock was not released within 2 s; the release continues in the background" +
                       (ready() ? std::string() : " (" + Failures() + ")")}});
  }
  if (release.expires <= now_) {
    EraseRelease(number);
    return;
  }
  operations_.at(number).due = release.expires;
  WakeFor(release.expires);
}

void Machine::Close() {
  if (close_by_) return;
  Begin();
  close_by_ = now_ + kClosePatience;
  PendingClose close;
  for (const auto& [key, lease] : std::exchange(leases_, {})) {
    if (lease->kept()) {
      close.covers.push_back(ReleaseOf(*lease));
    } else if (lease->held() || lease->lock_delay() == Duration::zero()) {
      AddRelease(ReleaseOf(*lease));
    }
    if (lease->held()) Lose(lease, ClientClosed());
    lease->EndTrust();
  }
  EndAcquisitions(close);
  // The close releases the leases that the Session keeps, after the releases queued before it.
  if (!close.covers.empty()) Enqueue(Add({.what = std::move(close)}));
  Finish();
}

// Fails all acquisitions. On the daemon, `close` cancels the acquires that were sent, and releases
// those that it has granted in the meantime.
void Machine::EndAcquisitions(PendingClose& close) {
  std::vector<OperationNumber> numbers;
  for (const auto& [number, operation] : operations_) {
    const auto* const acquisition = std::get_if<Acquisition>(&operation.what);
    if (acquisition == nullptr) continue;
    numbers.push_back(number);
    if (operation.sent_as == 0 || acquisition->may_be_held || acquisition->takes) continue;
    close.covers.push_back(
        ReleaseOf(acquisition->command.key, acquisition->token, acquisition->lasts()));
  }
  for (const OperationNumber number : numbers) FailAcquisition(number, ClientClosed());
}

void Machine::FinishClosing() {
  if (!close_by_ || finished_) return;
  const bool pending = std::any_of(operations_.begin(), operations_.end(), [](const auto& entry) {
    const auto* const release = std::get_if<PendingRelease>(&entry.second.what);
    return std::holds_alternative<PendingClose>(entry.second.what) ||
           (release != nullptr && !release->lost);
  });
  if (pending && now_ < *close_by_) return;
  if (!std::exchange(left_, true)) {
    for (auto& [number, operation] : operations_) {
      auto* const release = std::get_if<PendingRelease>(&operation.what);
      if (release == nullptr || !std::exchange(release->awaited, false)) continue;
      Report(Failed{number, ClientClosed()});
      operation.due = release->expires;
      WakeFor(operation.due);
    }
    Report(Closed{});
  }
  if (!pending) EndAll();
}

void Machine::EndAll() {
  operations_.clear();
  outgoing_.clear();
  discarded_.clear();
  if (session_) Report(CancelStream{session_->id()});
  session_.reset();
  finished_ = true;
  Report(Finished{});
}

void Machine::Quit() {
  REDLOCK_CHECK(left_);
  if (!finished_) EndAll();
}

}  // namespace redlock::client
