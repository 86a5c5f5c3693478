// Takes a lock: one operation from its first attempt to its last late vote.
//
// The algorithm is https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/: ask
// all nodes at once, win with a quorum of grants and validity left, else roll back everywhere and
// try again after a random pause. Added to it: a fencing token in the same round trip
// (fence_clock.h), adoption of a lock that the caller's token already holds, and the caller's
// deadline.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/core/extension.h"
#include "server/core/operation.h"
#include "server/core/round.h"

namespace redlock {

struct AcquireCommand {
  Key key;
  Duration ttl{};
  OwnerToken token;  // empty: a new one is made
  RetryPolicy retry;
  bool extend_if_held = false;
  OwnerLabel owner;
  std::optional<MonotonicTime> deadline;
};

struct AcquireResult {
  std::optional<Lease> lease;  // set on success
  Error error;                 // else this says why
  Votes votes;
  int attempts = 0;
  Duration waited{};
};
using AcquireDone = std::function<void(AcquireResult)>;

class Acquisition final : public Operation,
                          public Round::Listener,
                          public std::enable_shared_from_this<Acquisition> {
 public:
  // `done` is called once, never inside this call.
  static std::shared_ptr<Acquisition> Start(const Environment& env, OperationRegistry& registry,
                                            AcquireCommand command, AcquireDone done);

  // Gives up: whatever has been or will yet be granted is released.
  void Cancel(Reason why) override;

  void OnDecided(Round& round) override;
  void OnLate(Round& round, NodeIndex node, const NodeReply& reply) override;

 private:
  Acquisition(const Environment& env, OperationRegistry& registry, AcquireCommand command,
              AcquireDone done);
  void Attempt();
  void Propose();
  void Won(Round& round);
  void Unify(FencingToken highest);
  void Succeed(Lease lease);
  void Lost(Reason reason, std::string message, Duration retry_after);
  void RollBack();
  void Fail(Reason reason, std::string message, Duration retry_after);
  void Finish(AcquireResult result);

  const Environment& env_;
  OperationRegistry& registry_;
  const AcquireCommand command_;
  AcquireDone done_;
  const MonotonicTime started_;
  int attempts_ = 0;
  int proposals_ = 0;  // of the attempt under way
  FencingToken fence_;
  std::shared_ptr<Round> round_;  // under way, or decided and not yet rolled back
  std::shared_ptr<Extension> unifying_;
  const Round* winner_ = nullptr;  // for comparison only
  Votes votes_;                    // of the last round decided
  TimerHandle deadline_timer_;
  TimerHandle retry_timer_;
};

}  // namespace redlock
