#include "client/cpp/src/core.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "client/cpp/src/operation.h"
#include "client/cpp/src/wire.h"

namespace redlock::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr Duration kTakeAlongAgain = milliseconds(100);
// The daemon answers a cancellation at once; this is for one that does not.
constexpr Duration kCancelPatience = seconds(1);
constexpr Duration kReleasePatience = seconds(10);
constexpr Duration kClosePatience = seconds(2);
// A message stays far below the daemon's --max-message-bytes.
constexpr std::size_t kMostInMessage = 500;

}  // namespace

// --- Life

std::shared_ptr<Core> Core::Start(const Options& options) {
  std::shared_ptr<Core> core(new Core(options));
  core->keeper_ = std::thread([raw = core.get()] { raw->Keep(); });
  return core;
}

Core::Core(const Options& options)
    : connect_timeout_(options.connect_timeout), daemons_(std::in_place, options) {}

void Core::Close() {
  {
    Section section(*this);
    closing_ = true;
    const Error closed{Reason::kCancelled, "the client was destroyed"};
    FailAll(section, closed, false);
    for (const auto& lease : std::exchange(leases_, {})) {
      lease.second->state = HeldLease::State::kLost;
      lease.second->loss = closed;
      section.Then([held = lease.second] { held->lost.request_stop(); });
    }
    if (connection_) CloseStream(section, connection_);
    wake_.notify_all();
  }
  keeper_.join();
  // The end of the stream releases all locks; it is worth waiting for.
  const auto all_gone = [this] { return streaming_.empty(); };
  std::unique_lock lock(mutex_);
  if (!gone_.wait_for(lock, kClosePatience, all_gone)) {
    std::vector<std::shared_ptr<Stream>> late;
    for (const auto& connection : streaming_) {
      if (connection->stream) late.push_back(connection->stream);
    }
    lock.unlock();
    for (const auto& stream : late) stream->Cancel();
    late.clear();
    lock.lock();
    gone_.wait(lock, all_gone);
  }
  daemons_.reset();
}

// --- Operations

void Core::Acquire(const std::string& key, AcquireOptions options, LeaseDone done) {
  Operation operation;
  operation.single_try = options.wait && *options.wait <= Duration::zero();
  if (options.wait && !operation.single_try) operation.deadline = Clock::now() + *options.wait;
  v1::AcquireRequest& request = *operation.message.mutable_acquire();
  request.set_key(key);
  if (!options.token.empty()) request.set_token(options.token);
  request.set_owner(options.owner);
  Set(*request.mutable_ttl(), options.ttl);
  if (operation.single_try) request.mutable_retry()->set_max_retries(0);
  operation.queued = std::move(options.queued);
  operation.answered = [this, margin = MarginOf(options), ttl = options.ttl, owner = options.owner,
                        done = std::move(done)](Section& section, Operation& answered,
                                                const v1::SessionResult* result, TimePoint made,
                                                const Error& error) {
    if (result == nullptr || !result->has_lease()) {
      section.Then([done, error] { done(error); });
      return;
    }
    const v1::Lease& granted = result->lease();
    const auto lease = std::make_shared<HeldLease>(
        HeldLease{granted.key(), granted.token(), granted.fencing_token(), owner, ttl, margin});
    lease->valid_until = made + ToDuration(granted.validity());
    const bool late = lease->ends() <= Clock::now();
    if (late || answered.given_up == Reason::kCancelled || closing_) {
      ReleaseInBackground(section, lease->key, lease->token);
      const Error why =
          late ? Error{Reason::kValidityExpired, "the answer came too late to be of use"}
               : Error{Reason::kCancelled, "given up while waiting for the lock"};
      section.Then([done, why] { done(why); });
      return;
    }
    lease->watched = connection_ != nullptr && answered.sent_over == connection_.get();
    leases_[lease->key] = lease;
    WakeBy(lease->watched ? lease->ends() : Clock::now());
    section.Then([done, lease] { done(lease); });
  };
  std::uint64_t id = 0;
  {
    Section section(*this);
    id = Begin(section, std::move(operation));
  }
  if (!options.stop.stop_possible()) return;
  // Made outside the mutex, since it may call at once, and destroyed outside for the same reason.
  const auto self = shared_from_this();
  std::shared_ptr<void> callback =
      std::make_shared<std::stop_callback<std::function<void()>>>(options.stop, [self, id] {
        Section section(*self);
        self->GiveUp(section, id, Reason::kCancelled);
      });
  Section section(*this);
  const auto found = operations_.find(id);
  if (found != operations_.end()) found->second.stop_callback = callback;
  section.Then([callback = std::move(callback)]() mutable { callback.reset(); });
}

void Core::Extend(const std::shared_ptr<HeldLease>& lease, Duration ttl, Done done) {
  Operation operation;
  operation.kind = Operation::Kind::kExtend;
  v1::ExtendRequest& request = *operation.message.mutable_extend();
  request.set_key(lease->key);
  request.set_token(lease->token);
  Set(*request.mutable_ttl(), ttl);
  operation.answered = [this, lease, done](Section& section, Operation& /*answered*/,
                                           const v1::SessionResult* result, TimePoint made,
                                           const Error& error) {
    if (result == nullptr || !result->has_lease()) {
      if (error.reason == Reason::kLockNotHeld) Lose(section, lease, error);
      section.Then([done, error] { done(error); });
      return;
    }
    lease->valid_until =
        std::max(lease->valid_until, made + ToDuration(result->lease().validity()));
    section.Then([done] { done({}); });
  };
  Section section(*this);
  if (lease->state != HeldLease::State::kHeld) {
    const Error gone =
        lease->loss.value_or(Error{Reason::kLockNotHeld, "the lock has been released"});
    section.Then([done, gone] { done(gone); });
    return;
  }
  operation.deadline = lease->valid_until;
  Begin(section, std::move(operation));
}

void Core::Release(const std::shared_ptr<HeldLease>& lease, Done done) {
  Section section(*this);
  if (lease->state != HeldLease::State::kHeld) {
    Error gone = lease->loss.value_or(Error{Reason::kLockNotHeld, "the lock has been released"});
    gone.reason = Reason::kLockNotHeld;
    section.Then([done, gone] { done(gone); });
    return;
  }
  lease->state = HeldLease::State::kReleased;
  const auto found = leases_.find(lease->key);
  if (found != leases_.end() && found->second == lease) leases_.erase(found);
  Operation operation;
  operation.kind = Operation::Kind::kRelease;
  operation.message.mutable_release()->set_key(lease->key);
  operation.message.mutable_release()->set_token(lease->token);
  operation.deadline = std::min(lease->valid_until, Clock::now() + kReleasePatience);
  operation.answered = [done](Section& inside, Operation& answered, const v1::SessionResult* result,
                              TimePoint /*made*/, const Error& error) {
    // Sent twice, the first one may have done it.
    const bool done_before = answered.sendings > 1 && error.reason == Reason::kLockNotHeld;
    const bool released = result != nullptr && (!result->has_status() || done_before);
    inside.Then([done, released, error] { done(released ? Result<void>() : Result<void>(error)); });
  };
  Begin(section, std::move(operation));
}

std::uint64_t Core::Begin(Section& section, Operation operation) {
  const std::uint64_t id = ++last_id_;
  if (closing_) {
    operation.answered(section, operation, nullptr, {},
                       {Reason::kCancelled, "the client was destroyed"});
    return id;
  }
  operation.message.set_id(id);
  if (operation.deadline) WakeBy(*operation.deadline);
  Operation& added = operations_.emplace(id, std::move(operation)).first->second;
  if (connection_ && connection_->ready) Send(id, added);
  return id;
}

void Core::Send(std::uint64_t id, Operation& operation) {
  operation.sent_over = connection_.get();
  operation.sent = Clock::now();
  ++operation.sendings;
  operation.message.set_id(id);
  connection_->outgoing.push_back(operation.message);
}

void Core::SendAll(Section& section) {
  std::vector<std::uint64_t> given_up;
  for (auto& [id, operation] : operations_) {
    if (operation.given_up) {
      given_up.push_back(id);
    } else if (operation.sent_over != connection_.get() && operation.send_at <= Clock::now()) {
      Send(id, operation);
    }
  }
  for (const std::uint64_t id : given_up) {
    Fail(section, id, {*operations_.at(id).given_up, "given up while waiting for the lock"});
  }
}

void Core::GiveUp(Section& section, std::uint64_t id, Reason why) {
  const auto found = operations_.find(id);
  if (found == operations_.end() || found->second.given_up) return;
  Operation& operation = found->second;
  if (connection_ == nullptr || operation.sent_over != connection_.get()) {
    const bool unreachable = why == Reason::kDeadlineExceeded && !connection_;
    Fail(section, id,
         unreachable
             ? Error{Reason::kUnreachable, "no daemon answers (" + last_failure_.message + ")"}
             : Error{why, "given up while waiting for the lock"});
    return;
  }
  operation.given_up = why;
  v1::SessionOperation cancel;
  cancel.set_id(id);
  cancel.mutable_cancel();
  connection_->outgoing.push_back(std::move(cancel));
  operation.deadline = Clock::now() + kCancelPatience;
  WakeBy(*operation.deadline);
}

void Core::Fail(Section& section, std::uint64_t id, const Error& error) {
  auto found = operations_.extract(id);
  if (!found) return;
  const auto operation = std::make_shared<Operation>(std::move(found.mapped()));
  operation->answered(section, *operation, nullptr, {}, error);
  section.Then([operation] { operation->stop_callback.reset(); });
}

void Core::FailAll(Section& section, const Error& error, bool tries_only) {
  std::vector<std::uint64_t> failing;
  for (const auto& [id, operation] : operations_) {
    const bool waits = operation.kind == Operation::Kind::kAcquire && !operation.single_try;
    if (!tries_only || (!waits && operation.kind != Operation::Kind::kTakeAlong)) {
      failing.push_back(id);
    }
  }
  for (const std::uint64_t id : failing) Fail(section, id, error);
}

// --- Leases

Duration Core::Validity(const HeldLease& lease) {
  const std::lock_guard lock(mutex_);
  if (lease.state != HeldLease::State::kHeld) return {};
  return std::max(Duration{}, Duration(lease.valid_until - Clock::now()));
}

std::optional<Error> Core::Loss(const HeldLease& lease) {
  const std::lock_guard lock(mutex_);
  return lease.loss;
}

// To the daemon of the present connection: it extends the lease if nobody else had the lock since,
// which the fencing token tells.
void Core::TakeAlong(Section& section, const std::shared_ptr<HeldLease>& lease) {
  Operation operation;
  operation.kind = Operation::Kind::kTakeAlong;
  v1::AcquireRequest& request = *operation.message.mutable_acquire();
  request.set_key(lease->key);
  request.set_token(lease->token);
  request.set_owner(lease->owner);
  request.set_extend_if_held(true);
  request.mutable_retry()->set_max_retries(0);
  Set(*request.mutable_ttl(), lease->ttl);
  operation.answered = [this, lease](Section& inside, Operation& /*answered*/,
                                     const v1::SessionResult* result, TimePoint made,
                                     const Error& /*error*/) {
    if (result != nullptr) OnTakenAlong(inside, lease, *result, made);
  };
  lease->take_along_at = TimePoint::max();  // under way
  Begin(section, std::move(operation));
}

void Core::OnTakenAlong(Section& section, const std::shared_ptr<HeldLease>& lease,
                        const v1::SessionResult& result, TimePoint made) {
  const bool held = lease->state == HeldLease::State::kHeld;
  if (result.has_lease()) {
    if (held && result.lease().fencing_token() == lease->fencing_token) {
      lease->watched = true;
      lease->valid_until =
          std::max(lease->valid_until, made + ToDuration(result.lease().validity()));
      return;
    }
    if (lease->state == HeldLease::State::kReleased) return;  // its release follows
    Lose(section, lease,
         {Reason::kLockNotHeld, "it was let go before another daemon took it over"});
    ReleaseInBackground(section, lease->key, lease->token);
    return;
  }
  if (!held) return;
  const Error error = ToError(result.status());
  if (error.reason == Reason::kLockAlreadyHeld || error.reason == Reason::kLockNotHeld) {
    Lose(section, lease, {Reason::kLockNotHeld, "another holder has the lock: " + error.message});
    return;
  }
  lease->take_along_at = Clock::now() + kTakeAlongAgain;
  WakeBy(lease->take_along_at);
}

void Core::Lose(Section& section, const std::shared_ptr<HeldLease>& lease, Error why) {
  if (lease->state != HeldLease::State::kHeld) return;
  lease->state = HeldLease::State::kLost;
  lease->loss = std::move(why);
  const auto found = leases_.find(lease->key);
  if (found != leases_.end() && found->second == lease) leases_.erase(found);
  section.Then([lease] { lease->lost.request_stop(); });
}

void Core::ReleaseInBackground(Section& section, const std::string& key, const std::string& token) {
  Operation operation;
  operation.kind = Operation::Kind::kRelease;
  operation.message.mutable_release()->set_key(key);
  operation.message.mutable_release()->set_token(token);
  operation.deadline = Clock::now() + kReleasePatience;
  operation.answered = [](Section&, Operation&, const v1::SessionResult*, TimePoint, const Error&) {
  };
  Begin(section, std::move(operation));
}

// --- The keeper

void Core::WakeBy(TimePoint when) {
  if (when >= wake_at_) return;
  wake_at_ = when;
  wake_.notify_one();
}

void Core::Keep() {
  while (true) {
    {
      Section section(*this);
      if (closing_) return;
      wake_at_ = TimePoint::max();
      const TimePoint next = DoDue(section, Clock::now());
      wake_at_ = std::min(wake_at_, next);
    }
    std::unique_lock lock(mutex_);
    // Whatever became due since then has moved wake_at_.
    while (!closing_ && Clock::now() < wake_at_) wake_.wait_until(lock, wake_at_);
  }
}

TimePoint Core::DoDue(Section& section, TimePoint now) {
  return std::min({DoDueOfConnection(section, now), DoDueOfOperations(section, now),
                   DoDueOfLeases(section, now), now + seconds(3600)});
}

TimePoint Core::DoDueOfOperations(Section& section, TimePoint now) {
  TimePoint next = TimePoint::max();
  std::vector<std::uint64_t> late;
  for (auto& [id, operation] : operations_) {
    if (operation.deadline && *operation.deadline <= now) {
      late.push_back(id);
      continue;
    }
    if (operation.deadline) next = std::min(next, *operation.deadline);
    if (!connection_ || !connection_->ready || operation.sent_over == connection_.get()) continue;
    if (operation.send_at <= now) {
      Send(id, operation);
    } else {
      next = std::min(next, operation.send_at);
    }
  }
  for (const std::uint64_t id : late) {
    const Operation& operation = operations_.at(id);
    if (operation.given_up || operation.kind != Operation::Kind::kAcquire) {
      Fail(section, id,
           {operation.given_up.value_or(Reason::kUnreachable),
            "no answer in time (" + last_failure_.message + ")"});
    } else {
      GiveUp(section, id, Reason::kDeadlineExceeded);
    }
  }
  return next;
}

TimePoint Core::DoDueOfLeases(Section& section, TimePoint now) {
  TimePoint next = TimePoint::max();
  std::vector<std::shared_ptr<HeldLease>> ended;
  std::vector<std::shared_ptr<HeldLease>> to_take;
  for (const auto& [key, lease] : leases_) {
    if (lease->ends() <= now) {
      ended.push_back(lease);
      continue;
    }
    next = std::min(next, lease->ends());
    if (lease->watched || !connection_ || !connection_->ready) continue;
    if (lease->take_along_at <= now) {
      to_take.push_back(lease);
    } else {
      next = std::min(next, lease->take_along_at);
    }
  }
  for (const auto& lease : to_take) TakeAlong(section, lease);
  for (const auto& lease : ended) {
    Lose(section, lease,
         {Reason::kValidityExpired,
          "it could not be extended in time" +
              (connection_ ? std::string() : " (" + last_failure_.message + ")")});
    ReleaseInBackground(section, lease->key, lease->token);
  }
  return next;
}

// Writes what has gathered: all that came while the last message was being written shares one.
void Core::Flush(Section& section) {
  if (!connection_ || !connection_->stream || connection_->writing || connection_->closing ||
      connection_->outgoing.empty()) {
    return;
  }
  Connection& to = *connection_;
  v1::SessionRequest request;
  while (!to.outgoing.empty() && request.operations_size() < static_cast<int>(kMostInMessage)) {
    *request.add_operations() = std::move(to.outgoing.front());
    to.outgoing.pop_front();
  }
  to.writing = true;
  const auto shared = std::make_shared<v1::SessionRequest>(std::move(request));
  section.Then([stream = to.stream, shared] { stream->Write(std::move(*shared)); });
}

}  // namespace redlock::client
