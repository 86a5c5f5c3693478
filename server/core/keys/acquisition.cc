#include "server/core/keys/acquisition.h"

#include <algorithm>
#include <utility>

#include "server/core/keys/keys.h"

namespace redlock {

std::shared_ptr<Acquisition> Acquisition::Start(const Environment& env, Keys& keys,
                                                AcquireCommand command, AcquireDone done,
                                                std::optional<Error> refusal) {
  auto self = std::make_shared<Acquisition>(Passkey<Acquisition>(), env, keys, std::move(command),
                                            std::move(done));
  env.operations.Add(self);
  self->Begin(std::move(refusal));
  return self;
}

Acquisition::Acquisition(Passkey<Acquisition> /*key*/, const Environment& env, Keys& keys,
                         AcquireCommand command, AcquireDone done)
    : env_(env),
      keys_(keys),
      command_(std::move(command)),
      done_(std::move(done)),
      started_(env.scheduler.Now()),
      retries_left_(command_.retry.max_retries) {}

void Acquisition::Begin(std::optional<Error> refusal) {
  if (refusal) {
    FailSoon(std::move(*refusal));
    return;
  }
  if (command_.deadline) {
    deadline_timer_ =
        env_.scheduler.At(*command_.deadline, [this] { Cancel(Reason::kDeadlineExceeded); });
  }
  // A new acquisition does not overtake waiters, unless its token may hold the key already.
  const Contention* others_first = nullptr;
  command_.key.ForEachKey([&](const Key& key) {
    const Contention* const contention = keys_.Find(key);
    if (contention == nullptr || others_first != nullptr) return;
    if (!contention->IsUsedAlike(command_.key)) return;  // the nodes tell how the key is in use
    const bool yields = retries_left_ != 0 && contention->yielding();
    if (yields || !contention->queue().empty()) others_first = contention;
  });
  if (others_first == nullptr || command_.extend_if_held) {
    Try(Attempt::Order::kAllAtOnce);
    return;
  }
  if (retries_left_ == 0) {
    AttemptResult last = others_first->WhyWaiting();
    votes_ = std::move(last.votes);
    FailSoon(std::move(last.error));
    return;
  }
  Queue(nullptr);
}

std::shared_ptr<const AcquireCommand> Acquisition::SharedCommand() {
  return {shared_from_this(), &command_};
}

void Acquisition::Try(Attempt::Order order) {
  ++attempts_;
  takes_over_ = false;
  attempt_ = Attempt::Start(env_, SharedCommand(), order,
                            [this](AttemptResult result) { OnAttempt(std::move(result)); });
}

void Acquisition::TakeOver(std::shared_ptr<HandOver> releaser) {
  ++attempts_;
  takes_over_ = true;
  attempt_ = Attempt::TakeOver(env_, SharedCommand(), std::move(releaser),
                               [this](AttemptResult result) { OnAttempt(std::move(result)); });
}

void Acquisition::OnAttempt(AttemptResult result) {
  const auto self = shared_from_this();
  attempt_.reset();
  votes_ = std::move(result.votes);
  if (result.lease) {
    for (Contention* const contention : std::exchange(contentions_, {})) {
      contention->LeaveAsHolder(*this);
    }
    Finish({.lease = std::move(result.lease),
            .error = {},
            .votes = std::move(votes_),
            .attempts = attempts_,
            .waited = env_.scheduler.Now() - started_,
            .extended = result.extended});
    return;
  }
  const bool gives_up = retries_left_ == 0 || result.error.reason == Reason::kKindMismatch;
  if (gives_up && contentions_.empty()) {
    Fail(std::move(result.error));
    return;
  }
  result.votes = votes_;
  if (contentions_.empty()) {
    Queue(&result);
    return;
  }
  // Also if it gives up: those behind it go on with what it has found.
  for (Contention* const contention : contentions_) contention->OnLost(*this, result);
  if (gives_up) Fail(std::move(result.error));
}

void Acquisition::Queue(const AttemptResult* lost) {
  if (env_.operations.size() > env_.options.max_operations) {
    FailSoon({.reason = Reason::kOverloaded,
              .message = "too many operations in progress at this daemon: retry later"});
    return;
  }
  std::vector<Contention*> contentions;
  command_.key.ForEachKey([&](const Key& key) { contentions.push_back(&keys_.Get(key)); });
  if (std::ranges::any_of(contentions, [this](const Contention* contention) {
        return contention->queue().size() >= env_.options.max_waiters_per_key;
      })) {
    FailSoon({.reason = Reason::kOverloaded,
              .message = "too many acquisitions wait for this key at this daemon: retry later"});
    return;
  }
  contentions_ = std::move(contentions);
  SetRetryTimer();
  for (Contention* const contention : contentions_) contention->Join(*this, lost);
  if (lost != nullptr) Intend();
  if (IsReady()) contentions_.front()->OnReady(lost);
  TellPosition(contentions_.front()->queue().size() - 1);
}

bool Acquisition::IsReady() const {
  return !contentions_.empty() &&
         std::ranges::all_of(contentions_, [this](const Contention* contention) {
           return contention->queue().IsHead(*this);
         });
}

void Acquisition::OnHead() {
  if (contentions_.size() > 1 && IsReady()) contentions_.front()->Wake();
}

void Acquisition::Intend() const {
  for (Contention* const contention : contentions_) contention->Intend();
}

void Acquisition::TellPosition(std::size_t position) const {
  if (!command_.queued) return;
  if (contentions_.size() > 1) {
    position = 0;
    for (const Contention* const contention : contentions_) {
      position = std::max(position, contention->queue().PositionOf(*this));
    }
  }
  command_.queued(position);
}

const Contention& Acquisition::HeldUpBy() const {
  for (const Contention* const contention : contentions_) {
    if (!contention->queue().IsHead(*this)) return *contention;
  }
  return *contentions_.front();
}

// A policy with a retry limit gives up after its own delays, whether this acquisition is the head
// or not.
void Acquisition::SetRetryTimer() {
  if (retries_left_ < 0) return;
  const Duration delay = NextRetryDelay(command_.retry, env_.random);
  retry_timer_ = env_.scheduler.After(delay, [this] { OnRetryTimer(); });
}

void Acquisition::OnRetryTimer() {
  const auto self = shared_from_this();
  --retries_left_;
  if (trying()) {  // just woken; the result ends it if this was the last retry
    if (retries_left_ > 0) SetRetryTimer();
    return;
  }
  if (retries_left_ > 0) SetRetryTimer();
  if (IsReady()) {
    contentions_.front()->TryHead();
  } else if (retries_left_ == 0) {
    ++attempts_;  // the head's result stands for this attempt
    Fail(*WhyWaiting());
  }
}

std::optional<Error> Acquisition::WhyWaiting() {
  if (contentions_.empty()) return env_.outage();
  AttemptResult last = HeldUpBy().WhyWaiting();
  votes_ = std::move(last.votes);
  return std::move(last.error);
}

void Acquisition::Cancel(Reason why) {
  if (!done_) return;
  Error error{.reason = why, .message = "the acquisition ended before it got the lock"};
  if (why == Reason::kCancelled || why == Reason::kDeadlineExceeded) {
    error.message = why == Reason::kCancelled ? "not acquired before it was cancelled"
                                              : "not acquired before the deadline";
    if (auto last = WhyWaiting()) {
      error.message += ": " + last->message;
      error.owner = std::move(last->owner);
      error.holders = last->holders;
      error.last_reason = last->reason;
    }
  }
  Fail(std::move(error));
}

void Acquisition::Fail(Error error) {
  if (error.reason == Reason::kLockAlreadyHeld && command_.retry.max_retries > 0) {
    error.reason = Reason::kMaxRetriesExceeded;
    error.message = "the retries are used up: " + error.message;
  }
  Finish({.lease = std::nullopt,
          .error = std::move(error),
          .votes = std::move(votes_),
          .attempts = attempts_,
          .waited = env_.scheduler.Now() - started_});
}

void Acquisition::FailSoon(Error error) {
  retry_timer_ = env_.scheduler.After({}, [this, error = std::move(error)] { Fail(error); });
}

void Acquisition::Finish(AcquireResult result) {
  const auto self = shared_from_this();
  const auto done = std::exchange(done_, nullptr);
  REDLOCK_CHECK(done != nullptr);
  deadline_timer_.Cancel();
  retry_timer_.Cancel();
  const bool was_trying = trying();
  if (was_trying) std::exchange(attempt_, nullptr)->Cancel();
  for (Contention* const contention : std::exchange(contentions_, {})) {
    contention->Leave(*this, was_trying);
  }
  command_.queued = nullptr;  // it may hold a reference to this
  env_.operations.Remove(*this);
  env_.statistics.acquisitions.Add(result.lease ? std::nullopt
                                                : std::optional(result.error.reason));
  if (result.lease) {
    env_.statistics.acquisition_times.Add(result.waited);
    env_.statistics.groups[env_.options.key_groups.Of(command_.key)].waits.Add(result.waited);
  }
  done(std::move(result));
}

}  // namespace redlock
