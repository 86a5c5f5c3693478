// One attempt to acquire a lock, from its first vote to the last late one.
//
// Source of the algorithm:
// https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/. Ask all nodes at once,
// win with a quorum of grants and validity left, otherwise roll back on all nodes. Additions: a
// fencing token in the same round trip (hybrid_clock.h), adoption of a lock that the caller's token
// already holds, hand-over from a holder that releases, asking one node first after a split vote,
// and choosing a slot of a semaphore: an attempt that finds its slot taken asks for another one
// that may be free. Strand-confined.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "server/core/operation.h"
#include "server/core/passkey.h"
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
  Owner owner;  // `since` and `value_number` are not used
  std::optional<MonotonicTime> deadline;
  Source source;
  // Called with the number of waiters ahead at this daemon when it changes, but rate-limited if it
  // changes often. May be empty.
  std::function<void(std::size_t position)> queued;
};

struct AttemptResult {
  std::optional<Lease> lease;  // set on success
  Error error;  // set on failure; with kLockAlreadyHeld, retry_after is the remaining TTL
  Votes votes;
  bool split = false;     // the vote was split: contenders hold some nodes each
  bool shared = false;    // on failure: holders share the key
  bool has_slot = false;  // on failure: the token has a slot already
  bool extended = false;  // on success: the token held the key before, on at least one node
};

// The error of an attempt that found another holder. `free_in`: the rest of that holder's TTL.
[[nodiscard]] Error HeldBy(const Owner& owner, Duration free_in);
// The same if holders share the key, and if all slots of a semaphore are taken. `owner`: of one of
// the holders, as far as it is known. `holders`: how many share the key; 0 if that is unknown.
[[nodiscard]] Error HeldByShares(const Owner& owner, int holders, Duration free_in);
[[nodiscard]] Error AllSlotsTaken(int limit, const Owner& owner, Duration free_in);
// The same if nobody holds the key, but it stays taken after a release.
[[nodiscard]] Error TakenAfterRelease(Duration free_in);
// The same if the token has a slot.
[[nodiscard]] Error HasSlotAlready(Duration free_in);

class Attempt final : public Round::Listener, public std::enable_shared_from_this<Attempt> {
 public:
  // kOneFirst: asks one node first, the same for all contenders. Only its winner goes on to the
  // rest. Costs one more round trip, and avoids split votes.
  enum class Order { kAllAtOnce, kOneFirst };
  using Done = std::function<void(AttemptResult)>;

  // `command` must have a token. `done` is called once, never inside this call.
  static std::shared_ptr<Attempt> Start(const Environment& env,
                                        std::shared_ptr<const AcquireCommand> command, Order order,
                                        Done done);

  // Takes the lock over from a holder that releases it, in one round. `releaser` receives all
  // votes.
  static std::shared_ptr<Attempt> TakeOver(const Environment& env,
                                           std::shared_ptr<const AcquireCommand> command,
                                           std::shared_ptr<HandOver> releaser, Done done);

  // Cancels the attempt and rolls back present and late grants. `done` is not called.
  void Cancel();

  void OnDecided(Round& round) override;
  void OnLate(Round& round, NodeIndex node, const NodeReply& reply) override;

  Attempt(Passkey<Attempt> key, const Environment& env,
          std::shared_ptr<const AcquireCommand> command, Order order,
          std::shared_ptr<HandOver> releaser, Done done);

 private:
  void BeginProposal();
  void Propose();
  void ProposeHandOver();
  [[nodiscard]] bool TryAnotherSlot(const Round& round);
  [[nodiscard]] Error WhyDenied(const Round& round);
  void TellReleaser(const Round& round);
  void Won(Round& round);
  // The stream that the lease belongs to once it is acquired.
  [[nodiscard]] Keeper keeper() const { return {keeper_number_, id_}; }
  void Unify(const Round& round, FencingToken highest);
  void Succeed(Lease lease);
  void Lose(Error error);
  void RollBack(bool announce);
  void Finish(AttemptResult result);

  const Environment& env_;
  const std::shared_ptr<const AcquireCommand> command_;
  Key key_;  // as in the command, but with the slot that is proposed, if it is a semaphore's
  const Order order_;
  const std::shared_ptr<HandOver> releaser_;  // null unless this is a hand-over
  Done done_;
  ConcurrencyLimiter::Permit permit_;  // held until the attempt is decided
  int proposals_ = 0;
  int slots_tried_ = 0;
  AttemptId id_;    // of the current proposal
  Duration ttl_{};  // the requested one, unless the node set allows less
  FencingToken fence_;
  std::shared_ptr<Round> round_;  // in progress, or decided and not yet rolled back
  std::shared_ptr<Extension> unifying_;
  const Round* winner_ = nullptr;  // for comparison only
  bool extended_ = false;
  bool shared_ = false;              // why it lost: holders share the key
  bool has_slot_ = false;            // the same: the token has a slot
  std::uint64_t keeper_number_ = 0;  // set once won
  Votes votes_;                      // of the last decided round
};

}  // namespace redlock
