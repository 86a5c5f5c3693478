// The core's connection: opening one, what comes over it, and leaving it for the next.
#include <algorithm>
#include <utility>

#include "client/cpp/src/operation.h"
#include "client/cpp/src/wire.h"

namespace redlock::client {
namespace {

using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr Duration kFirstBackoff = std::chrono::milliseconds(50);
constexpr Duration kLongestBackoff = seconds(1);
constexpr Duration kLeastWait = std::chrono::milliseconds(50);

}  // namespace

TimePoint Core::DoDueOfConnection(Section& section, TimePoint now) {
  if (!connection_) {
    if (connect_at_ > now) return connect_at_;
    Connect(section);
  }
  if (connection_->ready) return TimePoint::max();
  const TimePoint patience = connection_->opened + connect_timeout_;
  if (patience > now) return patience;
  // Its end follows, and with it the next attempt.
  if (connection_->stream) {
    section.Then([stream = connection_->stream] { stream->Cancel(); });
  }
  return now + connect_timeout_;
}

void Core::Connect(Section& section) {
  const auto connection = std::make_shared<Connection>();
  connection->endpoint = daemons_->endpoint();
  connection->opened = Clock::now();
  connection->ping = ++last_id_;
  v1::SessionOperation ping;
  ping.set_id(connection->ping);
  ping.mutable_ping();
  connection->outgoing.push_back(std::move(ping));
  connection_ = connection;
  streaming_.insert(connection);
  std::string bearer_token;
  try {
    bearer_token = daemons_->bearer_token();
  } catch (const std::invalid_argument& error) {
    last_failure_ = {Reason::kUnauthenticated, error.what()};  // the daemon will say so too
  }
  section.Then([self = shared_from_this(), connection, bearer_token, &stub = daemons_->stub()] {
    auto stream = Stream::Open(
        stub, bearer_token,
        {.message =
             [self, connection](const v1::SessionResponse& message) {
               self->OnMessage(connection, message);
             },
         .written = [self, connection] { self->OnWritten(connection); },
         .ended = [self,
                   connection](const grpc::Status& status) { self->OnEnded(connection, status); },
         .gone = [self, connection] { self->OnGone(connection); }});
    Section inside(*self);
    if (connection->ended) return;
    connection->stream = std::move(stream);
    if (self->closing_) {  // the client was destroyed meanwhile
      inside.Then([opened = connection->stream] { opened->Cancel(); });
    } else if (connection->closing) {  // or the daemon said that it shuts down
      inside.Then([opened = connection->stream] { opened->Close(); });
    }
  });
}

void Core::OnMessage(const std::shared_ptr<Connection>& connection,
                     const v1::SessionResponse& message) {
  Section section(*this);
  const TimePoint now = Clock::now();
  const Duration daemon = ToDuration(message.clock());
  connection->clock.OnMessage(daemon, now);
  // Round trips first: the age of this message is told by them.
  for (const v1::SessionResult& result : message.results()) {
    if (result.id() == connection->ping) {
      connection->clock.OnRoundTrip(now - connection->opened);
    } else if (const auto found = operations_.find(result.id());
               found != operations_.end() && found->second.sent_over == connection.get()) {
      connection->clock.OnRoundTrip(now - found->second.sent);
    }
  }
  const TimePoint made = connection->clock.MadeAt(daemon);
  for (const v1::SessionResult& result : message.results()) {
    OnResult(section, connection, result, made);
  }
  for (const v1::QueuePosition& position : message.positions()) {
    const auto found = operations_.find(position.id());
    if (found == operations_.end() || !found->second.queued) continue;
    section.Then([queued = found->second.queued, at = position.position()] { queued(at); });
  }
  for (const v1::WatchResponse& event : message.events()) {
    OnEvent(section, connection, event, made);
  }
}

void Core::OnReady(Section& section, const std::shared_ptr<Connection>& connection) {
  if (connection != connection_ || connection->ready) return;
  connection->ready = true;
  connection->ready_since = Clock::now();
  was_ready_ = true;
  std::vector<std::shared_ptr<HeldLease>> leases;
  for (const auto& [key, lease] : leases_) leases.push_back(lease);
  for (const auto& lease : leases) TakeAlong(section, lease);
  SendAll(section);
}

void Core::OnResult(Section& section, const std::shared_ptr<Connection>& connection,
                    const v1::SessionResult& result, TimePoint made) {
  if (result.id() == connection->ping) {
    OnReady(section, connection);
    return;
  }
  const auto found = operations_.find(result.id());
  if (found == operations_.end()) {
    // Sent over two connections and answered over both, or given up for good.
    if (result.has_lease()) {
      ReleaseInBackground(section, result.lease().key(), result.lease().token());
    }
    return;
  }
  Operation& operation = found->second;
  Error error;
  if (result.has_status()) {
    const bool asked_elsewhere =
        operation.sent_over != nullptr && operation.sent_over != connection.get();
    if (asked_elsewhere) return;  // whose answer counts
    error = ToError(result.status());
    if (operation.given_up) error.reason = *operation.given_up;
    if (error.reason == Reason::kDraining) {  // to be asked of the next daemon
      operation.sent_over = nullptr;
      Leave(section, connection);
      return;
    }
    const bool waits = operation.kind == Operation::Kind::kAcquire && !operation.single_try;
    if (waits && error.reason == Reason::kOverloaded) {
      operation.sent_over = nullptr;
      operation.send_at = Clock::now() + std::max(error.retry_after, kLeastWait);
      WakeBy(operation.send_at);
      return;
    }
  }
  operation.sent_over = connection.get();  // a lock that another connection brought is not watched
  const auto answered = std::make_shared<Operation>(std::move(operation));
  operations_.erase(found);
  answered->answered(section, *answered, &result, made, error);
  section.Then([answered] { answered->stop_callback.reset(); });
}

void Core::OnEvent(Section& section, const std::shared_ptr<Connection>& connection,
                   const v1::WatchResponse& event, TimePoint made) {
  if (event.type() == v1::EVENT_TYPE_DRAINING) {
    Leave(section, connection);
    return;
  }
  const auto found = leases_.find(event.key());
  if (found == leases_.end() || connection != connection_) return;
  const auto lease = found->second;
  if (event.type() == v1::EVENT_TYPE_EXTENDED) {
    // One that has ended stays ended, whatever was on its way.
    if (event.lease().token() != lease->token || lease->ends() <= Clock::now()) return;
    lease->valid_until = std::max(lease->valid_until, made + ToDuration(event.lease().validity()));
  } else if (event.type() == v1::EVENT_TYPE_LOST && lease->watched) {
    Lose(section, lease, ToError(event));
  }
}

void Core::OnWritten(const std::shared_ptr<Connection>& connection) {
  Section section(*this);
  connection->writing = false;
  if (connection->closing) {
    section.Then([stream = connection->stream] { stream->Close(); });
  }
}

// The stream is closed in an orderly way, which after DRAINING leaves the locks to the next daemon.
void Core::CloseStream(Section& section, const std::shared_ptr<Connection>& connection) {
  if (std::exchange(connection->closing, true) || connection->writing || connection->ended ||
      !connection->stream) {
    return;
  }
  section.Then([stream = connection->stream] { stream->Close(); });
}

void Core::Leave(Section& section, const std::shared_ptr<Connection>& connection) {
  CloseStream(section, connection);
  if (connection != connection_) return;
  Abandon();
  (void)daemons_->Next();
  // Where there is no other one, the same may be back in a moment.
  connect_at_ = Clock::now() + (connection->ready ? Duration{} : kLeastWait);
  WakeBy(connect_at_);
}

// Everything has to be taken to the next connection.
void Core::Abandon() {
  connection_.reset();
  std::erase_if(operations_,
                [](const auto& entry) { return entry.second.kind == Operation::Kind::kTakeAlong; });
  for (auto& [id, operation] : operations_) operation.sent_over = nullptr;
  for (const auto& [key, lease] : leases_) {
    lease->watched = false;
    lease->take_along_at = {};
  }
}

void Core::OnEnded(const std::shared_ptr<Connection>& connection, const grpc::Status& status) {
  Section section(*this);
  connection->ended = true;
  section.Then([stream = std::exchange(connection->stream, nullptr)] {});
  if (connection != connection_ || closing_) return;
  last_failure_ = ToError(status, connection->endpoint);
  const TimePoint now = Clock::now();
  const bool lasted = connection->ready && now - connection->ready_since > seconds(1);
  Abandon();
  const bool all_tried = daemons_->Next();
  backoff_ = lasted ? kFirstBackoff : std::max(backoff_, kFirstBackoff);
  connect_at_ = now;
  if (!lasted && all_tried) {
    connect_at_ += backoff_ / 2 + backoff_ * static_cast<int>(random_() % 512) / 1024;
    backoff_ = std::min(backoff_ * 2, kLongestBackoff);
  }
  WakeBy(connect_at_);
  if (last_failure_.reason != Reason::kUnreachable) {  // the next attempt will be no better
    FailAll(section, last_failure_, false);
  } else if (all_tried && !lasted) {
    // Those that wait do so through an outage; but not for a daemon that never was there.
    FailAll(section, last_failure_, was_ready_);
  }
}

void Core::OnGone(const std::shared_ptr<Connection>& connection) {
  const std::lock_guard lock(mutex_);
  streaming_.erase(connection);
  gone_.notify_all();
}

}  // namespace redlock::client
