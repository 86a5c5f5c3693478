#include "client/cpp/core/machine.h"

#include <algorithm>
#include <utility>

#include "client/cpp/core/check.h"
#include "client/cpp/core/overloaded.h"

namespace redlock::client {
namespace {

constexpr std::size_t kMostInMessage = 1'000;
// Bytes of all keys and values in a message. An operation has less than 400 other bytes, and the
// default of the daemon's --max-message-bytes is 1 MiB.
constexpr std::size_t kEnoughBytes = std::size_t{1} << 18;

std::size_t LongBytes(const OperationBody& body) {
  return std::visit(
      [](const auto& request) -> std::size_t {
        std::size_t bytes = 0;
        if constexpr (requires { request.key; }) bytes += request.key.size();
        if constexpr (requires { request.value; }) bytes += request.value.size();
        return bytes;
      },
      body);
}

}  // namespace

Machine::Machine(MachineOptions options, Clock& clock, Random& random)
    : options_(std::move(options)),
      clock_(clock),
      random_(random),
      now_(clock.Now()),
      connector_(options_.endpoints.size(), options_.connect_timeout, options_.grace, random),
      failures_(options_.endpoints.size()) {
  REDLOCK_CHECK(!options_.endpoints.empty());
  REDLOCK_CHECK(options_.grace >= std::chrono::milliseconds(100));
}

// --- Inputs

// Checks the clock before any input is processed, so that a message that waited to be read during a
// suspend does not restore a lock whose trust has ended.
void Machine::Begin() {
  now_ = std::max(now_, clock_.Now());
  CheckTrust(Losses::kEnded);
}

void Machine::Finish() {
  CheckTrust(Losses::kAll);
  FinishClosing();
  if (finished_) return;
  if (std::exchange(leave_session_, false) && session_) {
    Abandon({Reason::kUnreachable, Endpoint() + ": the client has left, so that a lost lock is not "
                                                "kept alive any longer"});
  }
  if (!session_ && connector_.connect_at() <= now_) Connect();
  Flush();
}

void Machine::Tick() {
  if (finished_) return;
  Begin();
  CheckTrust(Losses::kAll);
  OnDueOperations();
  KeepSession();
  Finish();
}

TimePoint Machine::NextDeadline() const {
  if (finished_) return kNever;
  TimePoint next = std::min(look_at_leases_, look_at_operations_);
  if (close_by_ && !left_) next = std::min(next, *close_by_);
  if (!session_) return std::min(next, connector_.connect_at());
  return std::min({next, session_->PatienceEnds(), session_->PingAt()});
}

std::vector<Effect> Machine::TakeEffects() { return std::exchange(effects_, {}); }

void Machine::OnMessage(SessionId session, const Response& response) {
  if (finished_ || !session_ || session_->id() != session) return;
  Begin();
  draining_ = false;
  // Processes what the answers prove first, because it dates the whole message.
  std::vector<std::pair<OperationNumber, const Answer*>> answers;
  for (const Answer& answer : response.answers) {
    if (const auto number = session_->OnAnswer(answer.id, response.clock)) {
      answers.emplace_back(*number, &answer);
    }
  }
  const auto made = session_->MadeAt(response.clock);
  for (const auto& [number, answer] : answers) OnAnswer(number, *answer, *made);
  for (const Event& event : response.events) OnEvent(event, made);
  for (const QueuePosition& position : response.positions) OnPosition(position);
  if (draining_) Abandon({Reason::kUnreachable, Endpoint() + ": the daemon is shutting down"});
  Finish();
}

void Machine::OnWritten(SessionId session) {
  if (finished_ || !session_ || session_->id() != session) return;
  Begin();
  session_->OnWritten();
  Finish();
}

void Machine::OnEnded(SessionId session, const Error& why) {
  if (finished_ || !session_ || session_->id() != session) return;
  Begin();
  Abandon(why);
  Finish();
}

// --- Operations

Machine::OperationNumber Machine::Add(Operation operation) {
  Insert(++last_number_, std::move(operation));
  return last_number_;
}

void Machine::Insert(OperationNumber number, Operation operation) {
  WakeFor(operation.due);
  const auto* const release = std::get_if<PendingRelease>(&operation.what);
  if (release != nullptr && !release->gives_up) {
    releasing_.insert(HoldOf(release->request.key, release->request.token));
  }
  operations_.emplace(number, std::move(operation));
}

void Machine::SendAgain(OperationNumber number, Duration delay) {
  if (delay == Duration::zero()) {
    Enqueue(number);
    return;
  }
  Operation& operation = operations_.at(number);
  operation.send_at = After(now_, delay);
  WakeFor(*operation.send_at);
}

void Machine::WakeFor(TimePoint when) { look_at_operations_ = std::min(look_at_operations_, when); }

void Machine::OnDueOperations() {
  if (now_ < look_at_operations_) return;
  look_at_operations_ = kNever;
  std::vector<OperationNumber> due;
  std::vector<OperationNumber> delayed;
  for (auto& [number, operation] : operations_) {
    if (operation.due <= now_) {
      due.push_back(number);
      continue;
    }
    WakeFor(operation.due);
    if (!operation.send_at) continue;
    if (*operation.send_at > now_) {
      WakeFor(*operation.send_at);
    } else {
      operation.send_at.reset();
      delayed.push_back(number);
    }
  }
  for (const OperationNumber number : delayed) SendDelayed(number);
  for (const OperationNumber number : due) OnDue(number);
}

void Machine::SendDelayed(OperationNumber number) {
  auto* const release = std::get_if<PendingRelease>(&operations_.at(number).what);
  if (release != nullptr && release->gives_up &&
      InUse(release->request.key, release->request.token)) {
    release->lost = true;  // Close() does not wait for it
    SendAgain(number, kGiveUpAgain);
  } else {
    Enqueue(number);
  }
}

void Machine::OnDue(OperationNumber number) {
  Operation& operation = operations_.at(number);
  if (auto* const acquisition = std::get_if<Acquisition>(&operation.what)) {
    OnDue(number, *acquisition);
  } else if (auto* const release = std::get_if<PendingRelease>(&operation.what)) {
    OnDue(number, *release);
  } else if (auto* const extension = std::get_if<Extension>(&operation.what)) {
    OnDue(number, *extension);
  }
}

void Machine::OnAnswer(OperationNumber number, const Answer& answer, TimePoint made) {
  const auto found = operations_.find(number);
  if (found == operations_.end()) {
    OnLateAnswer(number, answer);
    return;
  }
  Operation& operation = found->second;
  REDLOCK_CHECK(operation.sent_as == answer.id);
  operation.sent_as = 0;
  if (answer.error && answer.error->reason == Reason::kDraining) {
    draining_ = true;  // refused: the daemon has not carried it out
    return;
  }
  std::visit(Overloaded{
                 [&](Acquisition& it) { OnAnswer(number, it, answer, made); },
                 [&](Extension& it) { OnAnswer(number, it, answer, made); },
                 [&](Adoption& it) { OnAnswer(number, it, answer, made); },
                 [&](PendingRelease& it) { OnAnswer(number, it, answer); },
                 [&](Cancellation&) {},
                 [&](Ping&) { OnPong(number); },
                 [&](PendingClose&) { operations_.erase(number); },
             },
             operation.what);
}

void Machine::OnPosition(const QueuePosition& position) {
  const auto number = session_->Find(position.id);
  const auto found = number ? operations_.find(*number) : operations_.end();
  if (found == operations_.end() || found->second.sent_as != position.id) return;
  const auto* const acquisition = std::get_if<Acquisition>(&found->second.what);
  if (acquisition == nullptr || acquisition->given_up) return;
  Report(Queued{*number, position.position});
}

// --- Sending

void Machine::Enqueue(OperationNumber number) {
  if (ready()) outgoing_.push_back(number);
}

// Operations that were enqueued while the previous message was being written share the next one.
void Machine::Flush() {
  if (!session_ || session_->writing() || outgoing_.empty()) return;
  Request request;
  if (session_->first_message()) request.disconnect_grace = options_.grace;
  std::size_t bytes = 0;
  while (!outgoing_.empty() && request.operations.size() < kMostInMessage && bytes < kEnoughBytes) {
    const OperationNumber number = outgoing_.front();
    outgoing_.pop_front();
    const auto found = operations_.find(number);
    if (found == operations_.end() || found->second.sent_as != 0) continue;
    Operation& operation = found->second;
    if (Waits(number, operation)) continue;  // EraseRelease() queues it again
    if (const auto* const cancellation = std::get_if<Cancellation>(&operation.what)) {
      request.operations.push_back({cancellation->id, CancelRequest{}});
      operations_.erase(found);  // the daemon does not answer it
      continue;
    }
    operation.sent_as = ++last_id_;
    ++operation.sendings;
    request.operations.push_back({operation.sent_as, MessageOf(operation)});
    bytes += LongBytes(request.operations.back().body);
    session_->OnSent(operation.sent_as, number, now_);
  }
  if (request.operations.empty()) return;
  session_->OnWriting();
  Report(WriteMessage{session_->id(), std::move(request)});
}

OperationBody Machine::MessageOf(Operation& operation) {
  return std::visit(
      Overloaded{
          [this](Acquisition& it) { return MessageOf(it); },
          [](Extension& it) -> OperationBody {
            return ExtendRequest{it.lease->claim(), it.lease->token(), it.ttl, it.retry};
          },
          [](Adoption& it) -> OperationBody {
            return AdoptRequest{it.lease->claim(), it.lease->token(), it.lease->ttl(),
                                it.lease->NextSequence()};
          },
          [](PendingRelease& it) -> OperationBody {
            if (it.gives_up) return GiveUpRequest{it.request.key, it.request.token};
            return it.request;
          },
          [](Cancellation&) -> OperationBody { return CancelRequest{}; },
          [](Ping&) -> OperationBody { return PingRequest{}; },
          [](PendingClose&) -> OperationBody { return CloseRequest{}; },
      },
      operation.what);
}

}  // namespace redlock::client
