// Machine: opens, keeps and abandons Sessions.
#include <algorithm>
#include <utility>

#include "client/cpp/core/machine.h"
#include "client/cpp/core/overloaded.h"

namespace redlock::client {

const std::string& Machine::Endpoint() const { return options_.endpoints[connector_.endpoint()]; }

void Machine::KeepSession() {
  if (!session_) return;
  if (session_->PatienceEnds() <= now_ && !session_->WaitOnceMore(now_)) {
    Abandon(
        {Reason::kUnreachable, Endpoint() + ": no answer within " + InWords(session_->patience())});
    return;
  }
  if (session_->PingAt() <= now_) {
    session_->OnPing(now_);
    outgoing_.push_back(Add({.what = Ping{}}));
  }
}

void Machine::Connect() {
  const bool locks_at_stake = std::any_of(leases_.begin(), leases_.end(),
                                          [](const auto& entry) { return entry.second->held(); });
  session_.emplace(++last_session_, options_.grace, now_, connector_.Patience(locks_at_stake));
  Report(OpenStream{session_->id(), connector_.endpoint()});
  outgoing_.push_back(Add({.what = Ping{}}));
}

void Machine::OnPong(OperationNumber ping) {
  operations_.erase(ping);
  session_->OnPong();
  if (!session_->ready()) OnReady();
}

// Sends releases first, then adoptions of held leases, then acquisitions. Extensions follow the
// adoption of their lease.
void Machine::OnReady() {
  session_->OnReady(now_);
  was_ready_ = true;
  outage_ = false;
  Log(LogLevel::kInfo, "connected to " + Endpoint());
  failures_.assign(failures_.size(), {});
  for (const auto& [number, operation] : operations_) {
    if (std::holds_alternative<PendingRelease>(operation.what)) Enqueue(number);
  }
  for (const auto& [key, lease] : leases_) {
    if (lease->held()) Adopt(lease);
  }
  for (const auto& [number, operation] : operations_) {
    if (std::holds_alternative<Acquisition>(operation.what)) Enqueue(number);
  }
}

// Abandons the Session: everything that still arrives on it is ignored.
void Machine::Abandon(const Error& why) {
  Report(CancelStream{session_->id()});
  failures_[connector_.endpoint()] = why.message;
  outgoing_.clear();
  discarded_.clear();
  for (const auto& [key, lease] : leases_) lease->Freeze();
  const bool was_ready = session_->ready();
  const Duration lasted = was_ready ? now_ - session_->ready_since() : Duration{};
  session_.reset();
  std::vector<OperationNumber> numbers;
  for (const auto& [number, operation] : operations_) numbers.push_back(number);
  for (const OperationNumber number : numbers) OnAbandoned(number);
  bool all_tried = false;
  if (was_ready) {
    Log(LogLevel::kWarning, "moving to another daemon: " + why.message);
    connector_.OnLost(now_, lasted);
  } else {
    all_tried = connector_.OnFailed(now_);
  }
  if (why.reason != Reason::kUnreachable) {  // a retry cannot help
    Log(LogLevel::kWarning, why.message);
    FailAll(why, false);
  } else if (all_tried) {
    if (!std::exchange(outage_, true)) {
      Log(LogLevel::kWarning, "no daemon can be reached: " + Failures());
    }
    // Waiters wait through an outage.
    FailAll({Reason::kUnreachable, Failures()}, was_ready_ || options_.wait_for_daemon);
  }
}

std::string Machine::Failures() const {
  std::string text;
  for (const std::string& failure : failures_) {
    if (!text.empty() && !failure.empty()) text += "; ";
    text += failure;
  }
  return text.empty() ? Endpoint() + ": no answer yet" : text;
}

void Machine::OnAbandoned(OperationNumber number) {
  Operation& operation = operations_.at(number);
  const bool unanswered = std::exchange(operation.sent_as, 0) != 0;
  operation.send_at.reset();
  std::visit(Overloaded{
                 [&](Acquisition& it) { OnAbandoned(number, it, unanswered); },
                 [&](Extension&) {},
                 [&](Adoption& it) { DropOf(*LeasePtr(it.lease), number); },
                 [&](PendingRelease& it) {
                   it.unanswered |= unanswered;
                   // The end of the Session gives the lease up.
                   if (it.gives_up) operations_.erase(number);
                 },
                 [&](Cancellation&) { operations_.erase(number); },
                 [&](Ping&) { operations_.erase(number); },
                 [&](PendingClose& it) {
                   // The daemon may not have carried it out.
                   for (PendingRelease& release : std::exchange(it.covers, {})) {
                     AddRelease(std::move(release));
                   }
                   operations_.erase(number);
                 },
             },
             operation.what);
}

void Machine::FailAll(const Error& error, bool waiters_stay) {
  std::vector<OperationNumber> failing;
  for (const auto& [number, operation] : operations_) {
    const auto* const acquisition = std::get_if<Acquisition>(&operation.what);
    const bool waits = acquisition != nullptr && !acquisition->single_try();
    const bool extension = std::holds_alternative<Extension>(operation.what);
    if (extension || (acquisition != nullptr && !(waits && waiters_stay))) {
      failing.push_back(number);
    }
  }
  for (const OperationNumber number : failing) {
    const Operation& operation = operations_.at(number);
    if (const auto* const extension = std::get_if<Extension>(&operation.what)) {
      Report(Failed{number, error});
      DropOf(*LeasePtr(extension->lease), number);
    } else {
      FailAcquisition(number, error);
    }
  }
}

}  // namespace redlock::client
