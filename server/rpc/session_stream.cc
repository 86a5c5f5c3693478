#include "server/rpc/session_stream.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "server/rpc/events.h"
#include "server/rpc/message.h"
#include "server/rpc/status.h"

namespace redlock::rpc {
namespace {

// How many operations of a message are a portion (see Poller::Do).
constexpr int kPortion = 64;

Violations Prefixed(Violations violations, const std::string& prefix) {
  for (Violation& violation : violations) violation.field = prefix + violation.field;
  return violations;
}

const Key& KeyOf(const HoldCommand& command) { return command.acquire.key; }
const Key& KeyOf(const auto& command) { return command.key; }

SessionOutbox::Load LoadOf(const v1::SessionOperation& operation) {
  switch (operation.operation_case()) {
    case v1::SessionOperation::kExtend:
    case v1::SessionOperation::kRelease:
    case v1::SessionOperation::kAdopt:
    case v1::SessionOperation::kGiveUp:
    case v1::SessionOperation::kPing:
      return SessionOutbox::Load::kNeverRefused;
    case v1::SessionOperation::kAcquire:
    case v1::SessionOperation::kCancel:
    case v1::SessionOperation::kClose:
    case v1::SessionOperation::OPERATION_NOT_SET:
      return SessionOutbox::Load::kLimited;
  }
  return SessionOutbox::Load::kLimited;
}

Error TooManyOperations() {
  return {.reason = Reason::kOverloaded,
          .message =
              "too many operations of the Session are under way "
              "(--max-session-operations), or too many answers wait to be read: "
              "read the answers, and retry later"};
}

v1::SessionResult& AddResult(v1::SessionResponse& response, std::uint64_t id) {
  v1::SessionResult& result = *response.add_results();
  result.set_id(id);
  return result;
}

}  // namespace

// --- From the shards

template <typename Result>
void SessionStream::Part::AddDecision(std::uint64_t id, const Result& result) {
  v1::SessionResult& out = AddResult(results_, id);
  Fill(*out.mutable_votes(), result.votes, stream_.service_.names);
  if (result.lease) {
    FillUntil(*out.mutable_lease(), *result.lease);
  } else {
    Fill(*out.mutable_status(), result.error, result.votes, stream_.service_.names);
  }
  FlushSoon();
}

void SessionStream::Part::OnAcquired(std::uint64_t id, const AcquireResult& result) {
  AddDecision(id, result);
}

void SessionStream::Part::OnQueued(std::uint64_t id, std::size_t position) {
  v1::QueuePosition& out = *results_.add_positions();
  out.set_id(id);
  out.set_position(static_cast<std::int32_t>(position));
  FlushSoon();
}

void SessionStream::Part::OnExtended(std::uint64_t id, const ExtendResult& result) {
  AddDecision(id, result);
}

void SessionStream::Part::OnReleased(std::uint64_t id, const ReleaseResult& result) {
  v1::SessionResult& out = AddResult(results_, id);
  Fill(*out.mutable_votes(), result.votes, stream_.service_.names);
  if (result.error) {
    Fill(*out.mutable_status(), *result.error, result.votes, stream_.service_.names);
  }
  FlushSoon();
}

void SessionStream::Part::OnEvent(const Key& key, const WatchEvent& event) {
  *results_.add_events() = ToResponse<v1::WatchResponse>(key, event, stream_.service_.names);
  if (IsLoss(event)) {
    stream_.log().Lost(stream_.context(), key, event.error.message);
  }
  FlushSoon();
}

bool SessionStream::Part::MayKeep(const Key& key, LeaseOrigin origin) const {
  const auto action =
      origin == LeaseOrigin::kAcquired ? access::Action::kAcquire : access::Action::kExtend;
  return stream_.caller().May(action, key);
}

// Everything that a shard answers in one iteration of its loop is sent together.
void SessionStream::Part::FlushSoon() {
  if (std::exchange(flush_posted_, true)) return;
  thread_.loop().Post([this, stream = stream_.Self()] {
    flush_posted_ = false;
    stream->Add(std::exchange(results_, {}));
  });
}

// --- The stream

SessionStream::SessionStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service)
    : LockStream(std::move(accepted), service, SessionOutbox(service.max_session_operations)),
      leases_(std::make_shared<SessionLeases>(service.shards, loop(), service.streams)) {
  for (const auto& thread : service.shards.shards()) {
    parts_.push_back(std::make_unique<Part>(*this, *thread));
  }
}

std::shared_ptr<SessionStream> SessionStream::Self() {
  return std::static_pointer_cast<SessionStream>(shared_from_this());
}

void SessionStream::Add(v1::SessionResponse response) {
  bool room = false;
  Send([&](SessionOutbox& outbox) {
    const bool was_full = outbox.IsFull();
    const bool added = outbox.Add(std::move(response));
    room = was_full && !outbox.IsFull();
    return added;
  });
  if (room) loop().Post([self = Self()] { self->OnRoom(); });
}

void SessionStream::EndLeases(StreamEnd end) {
  if (!ended_.exchange(true)) loop().Post([self = Self()] { self->OnRoom(); });
  if (end == StreamEnd::kBroken) {
    leases_->Break(Self());
  } else {
    leases_->End(end, [self = Self()] {});
  }
}

void SessionStream::OnReadsEnded() {
  EndLeases(StreamEnd::kBroken);
  Close(grpc::Status::OK);
}

void SessionStream::OnRead(const grpc::ByteBuffer& message) {
  leases_->OnRead();
  Violations faults = ParseMessage(message, request_);
  if (faults.empty() && !TakeInGrace()) return;
  if (!faults.empty()) {
    EndLeases(StreamEnd::kRefused);
    Close(ToStatus(faults));
    return;
  }
  taken_in_ = 0;
  TakeInPortion();
}

// False if the stream is closing.
bool SessionStream::TakeInGrace() {
  const bool first = std::exchange(first_message_, false);
  if (first) Prove();
  if (!request_.has_disconnect_grace()) return true;
  Checked<Duration> checked = CheckGrace(request_.disconnect_grace(), service_.rules());
  if (!first) checked = Violations{{"disconnect_grace", "must be in the first message only"}};
  if (const auto* faults = std::get_if<Violations>(&checked)) {
    EndLeases(StreamEnd::kRefused);
    Close(ToStatus(*faults));
    return false;
  }
  leases_->SetGrace(std::get<Duration>(checked), [weak = std::weak_ptr<SessionStream>(Self())] {
    const auto self = weak.lock();
    if (!self) return;
    self->Close(ToStatus({.reason = Reason::kDeadlineExceeded,
                          .message = "no message was read from the client within its "
                                     "disconnect_grace; its leases are released"},
                         {}, self->service_.names));
  });
  return true;
}

void SessionStream::TakeInPortion() {
  std::vector<Work> work(parts_.size());
  v1::SessionResponse answered;  // what is answered at once
  std::optional<std::uint64_t> close;
  const int end = std::min(taken_in_ + kPortion, request_.operations_size());
  CountOperations(end - taken_in_);
  for (; taken_in_ < end && !close; ++taken_in_) {
    const v1::SessionOperation& operation = request_.operations(taken_in_);
    if (operation.has_close()) {
      close = operation.id();
    } else {
      TakeIn(operation, work, answered);
    }
  }
  if (answered.results_size() > 0) Add(std::move(answered));
  Dispatch(std::move(work));
  if (close) {
    request_ = {};
    CloseLeases(*close);
  } else {
    TakeInNext();
  }
}

void SessionStream::TakeInNext() {
  const bool full = WithOutbox([](SessionOutbox& outbox) { return outbox.IsFull(); });
  held_back_ = full && !ended_;  // at the end, the client may be blocked in a write
  if (held_back_) return;
  if (taken_in_ < request_.operations_size()) {
    Later([this] { TakeInPortion(); });
  } else {
    request_ = {};  // Clear() would never free the memory of the largest message
    StartRead();
  }
}

void SessionStream::OnRoom() {
  if (held_back_) TakeInNext();
}

void SessionStream::TakeIn(const v1::SessionOperation& operation, std::vector<Work>& work,
                           v1::SessionResponse& answered) {
  const std::uint64_t id = operation.id();
  if (operation.has_cancel()) {
    for (Work& each : work) each.push_back({id, CancelCommand{}});
    return;
  }
  if (!AdmitOperation(operation, answered)) return;
  switch (operation.operation_case()) {
    case v1::SessionOperation::kAcquire:
      SortIn(id, CheckHold(operation.acquire(), service_.rules()), access::Action::kAcquire,
             "acquire.", work, answered);
      return;
    case v1::SessionOperation::kExtend:
      SortIn(id, Check(operation.extend(), service_.rules()), access::Action::kExtend, "extend.",
             work, answered);
      return;
    case v1::SessionOperation::kRelease:
      SortIn(id, Check(operation.release(), service_.rules()), access::Action::kRelease, "release.",
             work, answered);
      return;
    case v1::SessionOperation::kAdopt:
      SortIn(id, Check(operation.adopt(), service_.rules()), access::Action::kExtend, "adopt.",
             work, answered);
      return;
    case v1::SessionOperation::kGiveUp:
      SortIn(id, Check(operation.give_up(), service_.rules()), access::Action::kRelease, "give_up.",
             work, answered);
      return;
    case v1::SessionOperation::kPing:
      AddResult(answered, id);
      return;
    case v1::SessionOperation::kCancel:
    case v1::SessionOperation::kClose:
    case v1::SessionOperation::OPERATION_NOT_SET:
      Fill(*AddResult(answered, id).mutable_status(),
           Violations{{"operation",
                       "must be acquire, extend, release, adopt, give_up, cancel, ping or close"}});
      return;
  }
}

template <typename Command>
void SessionStream::SortIn(std::uint64_t id, Checked<Command> checked, access::Action action,
                           const std::string& prefix, std::vector<Work>& work,
                           v1::SessionResponse& answered) {
  if (auto* faults = std::get_if<Violations>(&checked)) {
    Fill(*AddResult(answered, id).mutable_status(), Prefixed(std::move(*faults), prefix));
    return;
  }
  auto command = std::get<Command>(std::move(checked));
  if constexpr (std::is_same_v<Command, HoldCommand>) command.acquire.owner.origin = origin();
  const Key& key = KeyOf(command);
  if (!caller().May(action, key)) {
    log().Denied(context(), prefix.substr(0, prefix.size() - 1), key);
    Fill(*AddResult(answered, id).mutable_status(), Refusal::kPermissionDenied);
    return;
  }
  const std::size_t shard = service_.shards.IndexFor(key);
  work[shard].push_back({id, std::move(command)});
}

bool SessionStream::AdmitOperation(const v1::SessionOperation& operation,
                                   v1::SessionResponse& refused) {
  const std::uint64_t id = operation.id();
  const SessionOutbox::Load load = LoadOf(operation);
  const auto admission =
      WithOutbox([id, load](SessionOutbox& outbox) { return outbox.Admit(id, load); });
  switch (admission) {
    case SessionOutbox::Admission::kYes:
      return true;
    case SessionOutbox::Admission::kIdInUse:
      Fill(*AddResult(refused, id).mutable_status(),
           Violations{{"id", "is already used by an operation under way"}});
      return false;
    case SessionOutbox::Admission::kFarTooMany:
      EndLeases(StreamEnd::kRefused);
      Close(ToStatus(TooManyOperations(), {}, service_.names));
      return false;
    case SessionOutbox::Admission::kTooMany:
      Fill(*AddResult(refused, id).mutable_status(), TooManyOperations(), {}, service_.names);
      return false;
  }
  return false;
}

void SessionStream::Dispatch(std::vector<Work> work) {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (work[i].empty()) continue;
    leases_->Do(i, *parts_[i], caller().source(), recorder_,
                [self = Self(), mine = std::move(work[i])](LeaseSet& leases) mutable {
                  for (Operation& operation : mine) Do(leases, std::move(operation));
                });
  }
}

void SessionStream::Do(LeaseSet& leases, Operation operation) {
  const std::uint64_t id = operation.id;
  if (auto* hold = std::get_if<HoldCommand>(&operation.command)) {
    leases.Acquire(id, std::move(*hold));
  } else if (auto* extend = std::get_if<ExtendCommand>(&operation.command)) {
    leases.Extend(id, std::move(*extend));
  } else if (auto* release = std::get_if<ReleaseCommand>(&operation.command)) {
    leases.Release(id, release->key, release->token, release->keep_for);
  } else if (auto* adopt = std::get_if<AdoptCommand>(&operation.command)) {
    leases.Adopt(id, std::move(*adopt));
  } else if (const auto* give_up = std::get_if<GiveUpCommand>(&operation.command)) {
    leases.GiveUp(id, *give_up);
  } else {
    leases.Cancel(id);
  }
}

// Nothing more is read. Earlier operations are answered first.
void SessionStream::CloseLeases(std::uint64_t id) {
  leases_->End(StreamEnd::kClosed, [self = Self(), id] {
    // The deleter runs when every shard has dropped `all`, after the answers that the shard had to
    // add.
    const auto all = std::shared_ptr<void>(nullptr, [self, id](void*) {
      v1::SessionResponse response;
      AddResult(response, id);
      self->Add(std::move(response));
      self->Close(grpc::Status::OK);
    });
    for (const auto& thread : self->service_.shards.shards()) thread->loop().Post([all] {});
  });
}

}  // namespace redlock::rpc
