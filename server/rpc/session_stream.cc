#include "server/rpc/session_stream.h"

#include <algorithm>
#include <utility>

#include "server/rpc/events.h"
#include "server/rpc/message.h"
#include "server/rpc/status.h"

namespace redlock::rpc {
namespace {

// So many operations above the bound are refused one by one; a client that sends more without
// reading the refusals is closed.
constexpr std::size_t kMaxRefused = 1'000;
// So many operations of a message are taken in, or ended, before others have their turn.
constexpr int kPortion = 64;

Violations Prefixed(Violations violations, const std::string& prefix) {
  for (Violation& violation : violations) violation.field = prefix + violation.field;
  return violations;
}

const Key& KeyOf(const HoldCommand& command) { return command.acquire.key; }
const Key& KeyOf(const auto& command) { return command.key; }

v1::SessionResult& AddResult(v1::SessionResponse& response, std::uint64_t id) {
  v1::SessionResult& result = *response.add_results();
  result.set_id(id);
  return result;
}

}  // namespace

SessionStream::SessionStream(std::unique_ptr<AcceptedCall> accepted, const ServiceContext& service)
    : StreamCall(std::move(accepted)), service_(service), parts_(service.shards.shards().size()) {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    parts_[i].thread = service.shards.shards()[i].get();
  }
}

std::shared_ptr<SessionStream> SessionStream::Self() {
  return std::static_pointer_cast<SessionStream>(shared_from_this());
}

void SessionStream::Begin() {
  caller_ = Caller::Of(service_.access, context());
  if (!caller_) {
    Close(ToStatus(Refusal::kUnauthenticated));
    return;
  }
  registered_ = service_.streams.Add(Self(), service_.max_streams);
  if (registered_) {
    StartRead();
  } else {
    Close(ToStatus(
        {.reason = Reason::kOverloaded, .message = "the daemon's bound on open streams is reached"},
        {}, service_.names));
  }
}

void SessionStream::OnRead(const grpc::ByteBuffer& message) {
  if (Violations faults = ParseMessage(message, request_); !faults.empty()) {
    End(Ending::kRelease);
    Close(ToStatus(faults));
    return;
  }
  taken_in_ = 0;
  TakeInPortion();
}

// The session is over.
void SessionStream::OnReadsEnded() {
  End(draining_told_ ? Ending::kLetGo : Ending::kRelease);
  Close(grpc::Status::OK);
}

void SessionStream::TakeInPortion() {
  std::vector<Work> work(parts_.size());
  v1::SessionResponse answered;  // at once
  const int end = std::min(taken_in_ + kPortion, request_.operations_size());
  for (; taken_in_ < end; ++taken_in_) {
    const v1::SessionOperation& operation = request_.operations(taken_in_);
    if (operation.has_cancel()) {
      for (Work& each : work) each.push_back({operation.id(), GiveUpCommand{}});
      continue;
    }
    if (!Admit(operation.id(), answered)) continue;
    const auto sort_in = [&](auto checked, access::Verb verb, const std::string& prefix) {
      if (auto* faults = std::get_if<Violations>(&checked)) {
        Fill(*AddResult(answered, operation.id()).mutable_status(),
             Prefixed(std::move(*faults), prefix));
        return;
      }
      auto command = std::get<0>(std::move(checked));
      const Key& key = KeyOf(command);
      if (!caller_->May(verb, key.value())) {
        Fill(*AddResult(answered, operation.id()).mutable_status(), Refusal::kPermissionDenied);
        return;
      }
      const std::size_t part = service_.shards.IndexFor(key);
      work[part].push_back({operation.id(), std::move(command)});
    };
    switch (operation.operation_case()) {
      case v1::SessionOperation::kAcquire:
        sort_in(CheckHold(operation.acquire(), service_.rules), access::Verb::kAcquire, "acquire.");
        break;
      case v1::SessionOperation::kExtend:
        sort_in(Check(operation.extend(), service_.rules), access::Verb::kExtend, "extend.");
        break;
      case v1::SessionOperation::kRelease:
        sort_in(Check(operation.release(), service_.rules), access::Verb::kRelease, "release.");
        break;
      case v1::SessionOperation::kPing:
        AddResult(answered, operation.id());
        break;
      case v1::SessionOperation::kCancel:
      case v1::SessionOperation::OPERATION_NOT_SET:
        Fill(*AddResult(answered, operation.id()).mutable_status(),
             Violations{{"operation", "must be acquire, extend, release, cancel or ping"}});
        break;
    }
  }
  if (answered.results_size() > 0) Send(std::move(answered));
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (work[i].empty()) continue;
    parts_[i].thread->Do([self = Self(), i, mine = std::move(work[i])](Shard& shard) mutable {
      if (self->ended_) return;
      for (Operation& operation : mine) self->Do(self->parts_[i], shard, std::move(operation));
    });
  }
  if (end < request_.operations_size()) {
    Later([this] { TakeInPortion(); });
  } else {
    request_ = {};  // Clear() would keep the memory of the largest message for ever
    StartRead();    // after the end too: the client may be held up in writing
  }
}

bool SessionStream::Admit(std::uint64_t id, v1::SessionResponse& refused) {
  bool too_many = false;
  {
    const std::lock_guard lock(mutex_);
    if (under_way_.contains(id)) {
      Fill(*AddResult(refused, id).mutable_status(),
           Violations{{"id", "is that of an operation under way"}});
      return false;
    }
    if (under_way_.size() < service_.max_session_operations) {
      under_way_.insert(id);
      return true;
    }
    too_many = ++refused_ > kMaxRefused;
  }
  const Error overloaded{.reason = Reason::kOverloaded,
                         .message = "the daemon's bound on operations of one session is reached"};
  Fill(*AddResult(refused, id).mutable_status(), overloaded, {}, service_.names);
  if (too_many) {
    End(Ending::kRelease);
    Close(ToStatus(overloaded, {}, service_.names));
  }
  return false;
}

void SessionStream::Do(Part& part, Shard& shard, Operation operation) {
  if (auto* hold = std::get_if<HoldCommand>(&operation.command)) {
    Acquire(part, shard, operation.id, std::move(*hold));
  } else if (auto* extend = std::get_if<ExtendCommand>(&operation.command)) {
    Extend(part, shard, operation.id, std::move(*extend));
  } else if (auto* release = std::get_if<ReleaseCommand>(&operation.command)) {
    Release(part, shard, operation.id, std::move(*release));
  } else {
    GiveUp(part, operation.id);
  }
}

// Where the shard has an acquire of that id.
void SessionStream::GiveUp(Part& part, std::uint64_t id) {
  auto waiting = part.waiting.extract(id);
  if (!waiting) return;
  waiting.mapped()->Cancel(Reason::kCancelled);
  Fill(*AddResult(part.results, id).mutable_status(),
       Error{.reason = Reason::kCancelled, .message = "the client gave up waiting"}, {},
       service_.names);
  FlushSoon(part);
}

void SessionStream::Acquire(Part& part, Shard& shard, std::uint64_t id, HoldCommand command) {
  if (command.acquire.token.empty()) command.acquire.token = shard.NewToken();
  const LeaseName name{command.acquire.key, command.acquire.token};
  command.acquire.queued = [self = Self(), &part, id](std::size_t position) {
    v1::QueuePosition& out = *part.results.add_positions();
    out.set_id(id);
    out.set_position(static_cast<std::int32_t>(position));
    self->FlushSoon(part);
  };
  auto hold = shard.Hold(
      std::move(command),
      {.decided = [self = Self(), &part,
                   id](const AcquireResult& result) { self->OnAcquired(part, id, result); },
       .watched = [self = Self(), &part,
                   name](const WatchEvent& event) { self->OnEvent(part, name, event); }});
  if (hold) part.waiting.emplace(id, std::move(hold));
}

void SessionStream::OnAcquired(Part& part, std::uint64_t id, const AcquireResult& result) {
  v1::SessionResult& out = AddResult(part.results, id);
  auto waited = part.waiting.extract(id);
  if (result.lease) {
    Fill(*out.mutable_lease(), *result.lease);
    Fill(*out.mutable_votes(), result.votes, service_.names);
    // Adopted from this very session: one watchdog is enough.
    std::shared_ptr<Watchdog>& held = part.held[{result.lease->key, result.lease->token}];
    if (held) held->LetGo();
    held = waited.mapped()->TakeWatchdog();
  } else {
    Fill(*out.mutable_votes(), result.votes, service_.names);
    Fill(*out.mutable_status(), result.error, result.votes, service_.names);
  }
  FlushSoon(part);
}

void SessionStream::OnEvent(Part& part, const LeaseName& name, const WatchEvent& event) {
  *part.results.add_events() = ToResponse<v1::WatchResponse>(name.key, event, service_.names);
  if (event.type == WatchEvent::Type::kLost) {
    log().Lost(context(), name.key.value(), event.error.message);
  }
  if (!event.goes_on) part.held.erase(name);
  FlushSoon(part);
}

void SessionStream::Extend(Part& part, Shard& shard, std::uint64_t id, ExtendCommand command) {
  const LeaseName name{command.key, command.token};
  shard.Extend(std::move(command), [self = Self(), &part, id, name](const ExtendResult& result) {
    v1::SessionResult& out = AddResult(part.results, id);
    Fill(*out.mutable_votes(), result.votes, self->service_.names);
    if (result.lease) {
      Fill(*out.mutable_lease(), *result.lease);
      const auto held = part.held.find(name);
      if (held != part.held.end()) held->second->Confirmed(*result.lease);
    } else {
      Fill(*out.mutable_status(), result.error, result.votes, self->service_.names);
    }
    self->FlushSoon(part);
  });
}

void SessionStream::Release(Part& part, Shard& shard, std::uint64_t id, ReleaseCommand command) {
  if (auto held = part.held.extract(LeaseName{command.key, command.token})) held.mapped()->LetGo();
  shard.Release(std::move(command.key), std::move(command.token),
                [self = Self(), &part, id](const ReleaseResult& result) {
                  v1::SessionResult& out = AddResult(part.results, id);
                  Fill(*out.mutable_votes(), result.votes, self->service_.names);
                  if (result.error) {
                    Fill(*out.mutable_status(), *result.error, result.votes, self->service_.names);
                  }
                  self->FlushSoon(part);
                });
}

// What a shard answers in one turn of its loop leaves together.
void SessionStream::FlushSoon(Part& part) {
  if (std::exchange(part.flush_posted, true)) return;
  part.thread->Do([self = Self(), &part](Shard&) {
    part.flush_posted = false;
    self->Send(std::exchange(part.results, {}));
  });
}

void SessionStream::Send(v1::SessionResponse response) {
  bool overloaded = false;
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || finished_) return;
    if (!pending_.has_clock()) {
      Fill(*pending_.mutable_clock(), std::chrono::steady_clock::now().time_since_epoch());
    }
    for (v1::SessionResult& result : *response.mutable_results()) {
      pending_.mutable_results()->Add(std::move(result));
    }
    for (v1::WatchResponse& event : *response.mutable_events()) {
      // A client that lags behind needs the newest extension of a lease only.
      const auto last = last_extended_.find(event.key());
      const bool extended = event.type() == v1::EVENT_TYPE_EXTENDED;
      if (extended && last != last_extended_.end()) {
        *pending_.mutable_events(last->second) = std::move(event);
        continue;
      }
      if (extended) {
        last_extended_.emplace(event.key(), pending_.events_size());
      } else if (last != last_extended_.end()) {
        last_extended_.erase(last);
      }
      pending_.mutable_events()->Add(std::move(event));
    }
    for (v1::QueuePosition& position : *response.mutable_positions()) {
      pending_.mutable_positions()->Add(std::move(position));
    }
    if (!writing_) {
      WriteNext();
      return;
    }
    // Results are bounded by what was admitted; this bounds the events.
    const auto events =
        static_cast<std::size_t>(pending_.events_size() + pending_.positions_size());
    overloaded = events > 4 * service_.max_session_operations;
    if (overloaded) pending_.Clear();
  }
  if (!overloaded) return;
  Close(ToStatus({.reason = Reason::kOverloaded, .message = "the client does not read its events"},
                 {}, service_.names));
  End(Ending::kRelease);
}

void SessionStream::WriteNext() {
  writing_ = true;
  StartWrite(Serialize(pending_));
  for (const v1::SessionResult& result : pending_.results()) under_way_.erase(result.id());
  pending_ = {};  // likewise
  last_extended_.clear();
  refused_ = 0;
}

void SessionStream::OnWritten(bool ok) {
  std::optional<grpc::Status> status;
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) pending_.Clear();
    if (pending_.results_size() > 0 || pending_.events_size() > 0 ||
        pending_.positions_size() > 0) {
      WriteNext();
      return;
    }
    if (!closing_ || finished_) return;
    finished_ = true;
    status = closing_;
  }
  Finish(*status);
}

void SessionStream::TellDraining() {
  draining_told_ = true;
  v1::SessionResponse response;
  *response.add_events() = DrainingResponse<v1::WatchResponse>();
  Send(std::move(response));
}

void SessionStream::Expel() {
  End(Ending::kRelease);
  Close(ToStatus({.reason = Reason::kDraining, .message = "the daemon has shut down"}, {},
                 service_.names));
}

void SessionStream::OnCancelled() {
  End(draining_told_ ? Ending::kLetGo : Ending::kRelease);
  Close(grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED: the client has gone"));
}

void SessionStream::End(Ending ending) {
  ended_ = true;  // before the work is posted: what is still on its way to a shard looks at it
  for (Part& part : parts_) {
    part.thread->Do([self = Self(), &part, ending](Shard&) { self->EndPortion(part, ending); });
  }
}

// There may be thousands, and others' answers to be read meanwhile.
void SessionStream::EndPortion(Part& part, Ending ending) {
  for (int i = 0; i < kPortion; ++i) {
    if (!part.waiting.empty()) {
      part.waiting.extract(part.waiting.begin()).mapped()->Cancel(Reason::kCancelled);
    } else if (!part.held.empty()) {
      EndLease(*part.held.extract(part.held.begin()).mapped(), ending);
    } else {
      return;
    }
  }
  part.thread->loop().Post([self = Self(), &part, ending] { self->EndPortion(part, ending); });
}

void SessionStream::Close(const grpc::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || finished_) return;
    closing_ = status;
    if (writing_) return;  // OnWritten finishes
    finished_ = true;
  }
  Finish(status);
}

void SessionStream::OnEnded() {
  if (registered_) service_.streams.Remove(this);
}

}  // namespace redlock::rpc
