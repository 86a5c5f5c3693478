// Machine: held leases. Adopts and extends them, and detects their loss.
#include <algorithm>
#include <utility>

#include "client/cpp/core/keys.h"
#include "client/cpp/core/machine.h"

namespace redlock::client {

CallId Machine::Extend(const LeaseRef& lease, Duration ttl, std::optional<RetryPolicy> retry) {
  Begin();
  const OperationNumber number = ++last_number_;
  const LeasePtr held = Find(lease);
  if (!held || !held->held()) {
    Report(Failed{number, NotHeld(*lease)});
  } else if (const auto error = CheckTtl(ttl)) {
    Report(Failed{number, *error});
  } else {
    held->AskedFor(ttl);
    Insert(number, {.what = Extension{held, ttl, retry}});
    operations_of_.emplace(held.get(), number);
    if (held->kept()) Enqueue(number);
  }
  Finish();
  return number;
}

std::vector<LeaseRef> Machine::Leases() const {
  std::vector<LeaseRef> leases;
  for (const auto& [key, lease] : leases_) leases.push_back(lease);
  return leases;
}

bool Machine::Trusts(const std::string& key, TimePoint now) const {
  return std::any_of(leases_.begin(), leases_.end(), [&](const auto& entry) {
    const std::vector<std::string> names = NamesOf(entry.first);
    return entry.second->TrustedUntil() > now && IsShared(entry.first) == IsShared(key) &&
           LimitOf(entry.first) == LimitOf(key) && entry.second->slot() == SlotOf(key) &&
           std::find(names.begin(), names.end(), NamesOf(key).front()) != names.end();
  });
}

Machine::LeasePtr Machine::Find(const LeaseRef& lease) const {
  const auto [begin, end] = leases_.equal_range(lease->key());
  const auto found =
      std::find_if(begin, end, [&lease](const auto& entry) { return entry.second == lease; });
  return found == end ? nullptr : found->second;
}

void Machine::Adopt(const LeasePtr& lease) {
  const OperationNumber number = Add({.what = Adoption{lease}});
  operations_of_.emplace(lease.get(), number);
  Enqueue(number);
}

void Machine::OnAnswer(OperationNumber number, Adoption& adoption, const Answer& answer,
                       TimePoint made) {
  const LeasePtr lease = adoption.lease;
  if (answer.grant) {
    lease->Adopted(session_->trust(), After(made, answer.grant->validity),
                   answer.grant->fencing_token);
    DropOf(*lease, number);
    const auto [begin, end] = operations_of_.equal_range(lease.get());
    for (auto waiting = begin; waiting != end; ++waiting) Enqueue(waiting->second);
  } else if (answer.error && answer.error->reason == Reason::kLockNotHeld) {
    LoseAtOnce(lease, *answer.error);
  } else {
    SendAgain(number, kAdoptAgain);
  }
}

void Machine::OnAnswer(OperationNumber number, Extension& extension, const Answer& answer,
                       TimePoint made) {
  const LeasePtr lease = extension.lease;
  if (answer.grant) {
    lease->Extended(After(made, answer.grant->validity), answer.grant->fencing_token);
    if (extension.gives_lease) {
      Report(Acquired{number, lease});
    } else {
      Report(Done{number});
    }
    DropOf(*lease, number);
  } else if (answer.error && answer.error->reason == Reason::kLockNotHeld) {
    LoseAtOnce(lease, *answer.error);
  } else {
    Report(Failed{number, answer.error.value_or(
                              Error{Reason::kInternal, "the daemon's answer contains no lease"})});
    DropOf(*lease, number);
  }
}

// The wait of an acquire_or_extend or an adopt is over.
void Machine::OnDue(OperationNumber number, Extension& extension) {
  const LeasePtr lease = extension.lease;
  Report(Failed{number, ready() ? Error{Reason::kDeadlineExceeded,
                                        InWords(lease->key()) + ": not extended within the wait"}
                                : Error{Reason::kUnreachable,
                                        InWords(lease->key()) + ": not extended within the wait (" +
                                            Failures() + ")"}});
  DropOf(*lease, number);
}

void Machine::OnEvent(const Event& event, std::optional<TimePoint> made) {
  if (event.type == EventType::kDraining) draining_ = true;
  const bool extended = event.type == EventType::kExtended && event.grant && made;
  const bool failed = event.type == EventType::kExtendFailed;
  if (!extended && !failed && event.type != EventType::kLost) return;
  std::vector<LeasePtr> leases;
  const auto [begin, end] = leases_.equal_range(AnySlot(event.key));
  for (auto each = begin; each != end; ++each) leases.push_back(each->second);
  for (const LeasePtr& lease : leases) {
    if (event.grant && event.grant->token != lease->token()) continue;
    const int slot = SlotOf(event.key);
    if (slot != 0 && slot != lease->slot()) continue;  // one that the token had before
    if (extended) {
      if (lease->kept()) {
        lease->Extended(After(*made, event.grant->validity), event.grant->fencing_token);
      }
    } else if (failed) {
      lease->NotExtended(event.error.message);
    } else if (lease->kept()) {
      LoseAtOnce(lease, event.error);
    } else if (!lease->held()) {
      lease->EndTrust();
      look_at_leases_ = now_;
    }
  }
}

// Trust only grows, except when it ends at once. So no lease is due before the time that the
// previous check found.
void Machine::CheckTrust(Losses losses) {
  if (now_ < look_at_leases_) return;
  TimePoint next = kNever;
  std::vector<LeasePtr> losing;
  std::vector<LeasePtr> over;
  for (const auto& [key, lease] : leases_) {
    const TimePoint at =
        lease->held() && losses == Losses::kAll ? lease->SignalAt() : lease->TrustedUntil();
    if (at > now_) {
      next = std::min(next, at);
      continue;
    }
    if (lease->held()) losing.push_back(lease);
    if (lease->TrustedUntil() <= now_) {
      over.push_back(lease);
    } else {
      next = std::min(next, lease->TrustedUntil());
    }
  }
  for (const LeasePtr& lease : losing) {
    leave_session_ |= lease->lock_delay() > Duration::zero() && MayKeep(*lease);
    const std::string why = ready() ? lease->obstacle() : Failures();
    Lose(lease, {Reason::kValidityExpired,
                 "no daemon extended it in time" + (why.empty() ? "" : " (" + why + ")")});
  }
  for (const LeasePtr& lease : over) {
    GiveBackLost(*lease);
    Forget(lease);
  }
  if (losses == Losses::kAll) look_at_leases_ = next;
}

// Whether the Session keeps the lease alive, or may do so: the adoption was sent.
bool Machine::MayKeep(const KeptLease& lease) const {
  const auto [begin, end] = operations_of_.equal_range(&lease);
  return lease.kept() || std::any_of(begin, end, [this](const auto& each) {
           const Operation& operation = operations_.at(each.second);
           return std::holds_alternative<Adoption>(operation.what) && operation.sent_as != 0;
         });
}

void Machine::Lose(const LeasePtr& lease, const Error& why) {
  lease->Lose(why);
  EndOperationsOf(*lease, why);
  Report(Lost{lease});
  if (!close_by_)
    Log(LogLevel::kWarning, InWords(lease->key()) + ": the lock is lost: " + why.message);
}

void Machine::LoseAtOnce(const LeasePtr& lease, const Error& why) {
  Lose(lease, why);
  lease->EndTrust();
  Forget(lease);
}

void Machine::EndOperationsOf(const KeptLease& lease, const Error& why) {
  std::vector<OperationNumber> numbers;
  const auto [begin, end] = operations_of_.equal_range(&lease);
  for (auto each = begin; each != end; ++each) numbers.push_back(each->second);
  operations_of_.erase(begin, end);
  for (const OperationNumber number : numbers) {
    const Operation& operation = operations_.at(number);
    if (std::holds_alternative<Extension>(operation.what)) {
      Report(Failed{number, why});
    } else if (operation.sent_as != 0) {
      const LeasePtr held = std::get<Adoption>(operation.what).lease;
      discarded_[number] = {{held->key(), held->token(), held->lasts(), held->callers_token()},
                            held};
      if (held->state() == KeptLease::State::kReleased) {
        discarded_[number].lock.keep_for = held->keep_for();
      }
    }
    operations_.erase(number);
  }
}

void Machine::DropOf(const KeptLease& lease, OperationNumber number) {
  const auto [begin, end] = operations_of_.equal_range(&lease);
  operations_of_.erase(
      std::find_if(begin, end, [number](const auto& entry) { return entry.second == number; }));
  operations_.erase(number);
}

void Machine::Forget(const LeasePtr& lease) {
  const auto [begin, end] = leases_.equal_range(lease->key());
  leases_.erase(
      std::find_if(begin, end, [&lease](const auto& entry) { return entry.second == lease; }));
}

}  // namespace redlock::client
