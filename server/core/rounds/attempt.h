// One attempt to take a lock: from its first vote to its last late one.
//
// The algorithm is https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/: ask
// all nodes at once, win with a quorum of grants and validity left, else roll back everywhere.
// Added to it: a fencing token in the same round trip (hybrid_clock.h), adoption of a lock that the
// caller's token already holds, hand-over from a holder that releases, and one node first among
// rivals.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "server/core/operation.h"
#include "server/core/retry_policy.h"
#include "server/core/rounds/extension.h"
#include "server/core/rounds/hand_over.h"
#include "server/core/rounds/round.h"

namespace redlock {

struct AcquireCommand {
  Key key;
  Duration ttl{};
  OwnerToken token;  // empty: a new one is made
  RetryPolicy retry;
  bool extend_if_held = false;
  OwnerLabel owner;
  std::optional<MonotonicTime> deadline;
  Source source;
  // Told how many are ahead at this daemon, each time that changes; now and then, where it changes
  // often. May be empty.
  std::function<void(std::size_t position)> queued;
};

struct AttemptResult {
  std::optional<Lease> lease;  // set when it was won
  Error error;                 // else this says why; kLockAlreadyHeld: retry_after is the TTL left
  Votes votes;
  bool split = false;     // rivals took a part of the nodes each
  bool extended = false;  // won: the token held the key before, on some node at least
};

class Attempt final : public Round::Listener, public std::enable_shared_from_this<Attempt> {
 public:
  // kOneFirst: one node, the same for all rivals, is asked first, and only its winner goes on to
  // the rest. Costs a round trip more, and saves rivals from taking a part of the nodes each.
  enum class Order { kAllAtOnce, kOneFirst };
  using Done = std::function<void(AttemptResult)>;

  // `command` has a token. `done` is called once, never inside this call.
  static std::shared_ptr<Attempt> Start(const Environment& env, OperationRegistry& registry,
                                        std::shared_ptr<const AcquireCommand> command, Order order,
                                        Done done);

  // Takes the lock from a holder that releases it, in one round trip. `releaser` hears all votes.
  static std::shared_ptr<Attempt> TakeOver(const Environment& env, OperationRegistry& registry,
                                           std::shared_ptr<const AcquireCommand> command,
                                           std::shared_ptr<HandOver> releaser, Done done);

  // Gives up: whatever has been or will yet be granted is released. `done` is not called.
  void Cancel();

  void OnDecided(Round& round) override;
  void OnLate(Round& round, NodeIndex node, const NodeReply& reply) override;

 private:
  Attempt(const Environment& env, OperationRegistry& registry,
          std::shared_ptr<const AcquireCommand> command, Order order,
          std::shared_ptr<HandOver> releaser, Done done);
  void Propose();
  void ProposeHandOver();
  void TellReleaser(const Round& round);
  void Won(Round& round);
  // The stream that the lease belongs to once it is won.
  [[nodiscard]] Keeper keeper() const { return {keeper_number_, id_}; }
  void Unify(FencingToken highest);
  void Succeed(Lease lease);
  void Lose(Reason reason, std::string message, Duration retry_after);
  void RollBack(bool announce);
  void Finish(AttemptResult result);

  const Environment& env_;
  OperationRegistry& registry_;
  const std::shared_ptr<const AcquireCommand> command_;
  const Order order_;
  const std::shared_ptr<HandOver> releaser_;  // null unless it takes over
  Done done_;
  ConcurrencyLimiter::Permit permit_;  // until it is decided
  int proposals_ = 0;
  AttemptId id_;  // of the proposal under way
  FencingToken fence_;
  std::shared_ptr<Round> round_;  // under way, or decided and not yet rolled back
  std::shared_ptr<Extension> unifying_;
  const Round* winner_ = nullptr;  // for comparison only
  bool extended_ = false;
  std::uint64_t keeper_number_ = 0;  // once won
  Votes votes_;                      // of the last round decided
};

}  // namespace redlock
