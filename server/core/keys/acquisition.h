// One acquisition by a caller: attempts, the pauses between them, the position in the wait queue,
// the caller's deadline and cancellation. The registry owns it until it is decided.
// Strand-confined.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "server/core/operation.h"
#include "server/core/passkey.h"
#include "server/core/rounds/attempt.h"

namespace redlock {

class Contention;
class Keys;

struct AcquireResult {
  std::optional<Lease> lease;  // set on success
  Error error;                 // set on failure
  Votes votes;
  int attempts = 0;
  Duration waited{};
  bool extended = false;  // the token held the key before
};
using AcquireDone = std::function<void(AcquireResult)>;

class Acquisition final : public Cancellable, public std::enable_shared_from_this<Acquisition> {
 public:
  // The command must have a token. `refusal` is the error of an acquisition that is refused without
  // an attempt.
  static std::shared_ptr<Acquisition> Start(const Environment& env, Keys& keys,
                                            AcquireCommand command, AcquireDone done,
                                            std::optional<Error> refusal);

  // Gives up: rolls back present and late grants, and calls `done` with `why`.
  void Cancel(Reason why) override;
  void Drain() override { Cancel(Reason::kDraining); }

  // Called by the wait queue: the head tries, or takes the lock over from a holder that releases
  // it.
  void Try(Attempt::Order order);
  void TakeOver(std::shared_ptr<HandOver> releaser);
  [[nodiscard]] bool trying() const { return attempt_ != nullptr; }
  // An acquisition of several keys is in the queue of each. It tries only while it is the head of
  // all of them, so that nobody overtakes it, and one of the keys wakes it.
  [[nodiscard]] bool IsReady() const;
  [[nodiscard]] bool IsWokenBy(const Contention& contention) const {
    return !contentions_.empty() && contentions_.front() == &contention;
  }
  // It has become the head of a queue.
  void OnHead();
  // It is still waiting: renews what it intends for each of its keys.
  void Intend() const;
  // Its position in one of its queues has changed.
  void TellPosition(std::size_t position) const;
  [[nodiscard]] const AcquireCommand& command() const { return command_; }
  [[nodiscard]] Duration waited() const { return env_.scheduler.Now() - started_; }
  // Whether its last attempt was to take the lock over.
  [[nodiscard]] bool takes_over() const { return takes_over_; }

  Acquisition(Passkey<Acquisition> key, const Environment& env, Keys& keys, AcquireCommand command,
              AcquireDone done);

 private:
  void Begin(std::optional<Error> refusal);
  [[nodiscard]] std::shared_ptr<const AcquireCommand> SharedCommand();
  void OnAttempt(AttemptResult result);
  void Queue(const AttemptResult* lost);
  void SetRetryTimer();
  void OnRetryTimer();
  // Takes over the votes of the last attempt on the key, and returns why it failed. Nothing if none
  // was decided.
  [[nodiscard]] std::optional<Error> WhyWaiting();
  // The one that waits longest among the keys: where it is not the head, if there is one.
  [[nodiscard]] const Contention& HeldUpBy() const;
  void Fail(Error error);
  void FailSoon(Error error);  // never inside the call that started this
  void Finish(AcquireResult result);

  const Environment& env_;
  Keys& keys_;
  AcquireCommand command_;  // constant except `queued`, which is cleared at the end
  AcquireDone done_;
  const MonotonicTime started_;
  int attempts_ = 0;
  int retries_left_;
  std::shared_ptr<Attempt> attempt_;  // in progress
  bool takes_over_ = false;
  std::vector<Contention*> contentions_;  // while waiting, for each key
  Votes votes_;                           // of the last attempt
  TimerHandle deadline_timer_;
  TimerHandle retry_timer_;
};

}  // namespace redlock
