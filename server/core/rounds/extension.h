// Extends a held lock on a quorum, and then repairs the nodes that have lost it.
//
// An extension succeeds with a quorum of nodes that still held the token. Nodes without the key are
// repaired only after that. So a repair never counts in its own round, and no key is put back for a
// token that has lost its lock.
//
// A quorum must store the fence of a lease, because otherwise a later holder could get a lower one.
// The granting nodes may disagree (a node was repaired, or took part in only one of two attempts),
// or may know no fence of this holder (another library took the lock). A second round then raises
// the fence on all of them to a new one, above all stored fences, before the extension counts.
//
// For some time after a change of the node set, "not held" does not deny: if enough members still
// hold the token, the others are given the key before the decision (put_back.h).
//
// An adoption is an extension after which the lease belongs to another stream (see Keeper).
// Strand-confined.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "server/core/operation.h"
#include "server/core/passkey.h"
#include "server/core/retry_policy.h"
#include "server/core/rounds/put_back.h"
#include "server/core/rounds/round.h"

namespace redlock {

struct ExtendCommand {
  // Whether and how the lease is adopted by `keeper`, if it does not belong to it yet.
  enum class Adopt {
    kNot,
    kInSequence,  // fails with kLockNotHeld if the number of the present stream is not lower
    kAsLast,      // unconditionally: the extension chooses the number
  };

  Key key;
  OwnerToken token;
  Duration ttl{};
  RetryPolicy retry;  // only undecided rounds are retried, for up to `ttl`
  std::optional<MonotonicTime> deadline;
  FencingToken raise_to;              // 0: keeps the stored fence
  Duration least_delay{};             // stored with the fence that is raised
  std::optional<Keeper> keeper = {};  // the stream that extends, if any
  Adopt adopt = Adopt::kNot;
  // The lease is known to be held, because it was acquired or extended before.
  bool held = false;
  // The lease was lost: only a quorum of nodes that still hold the token brings it back.
  bool lost = false;
  // Of a shared key: the fence of an exclusive lease of the token that becomes a share. See
  // ExtendStep::downgrade_from.
  FencingToken downgrade_from = {};
  Source source = {};
};

struct ExtendResult {
  std::optional<Lease> lease;  // set on success
  Error error;                 // set on failure
  Votes votes;
  int attempts = 0;
  Owner owner = {};  // on success: as far as the granting nodes know it
};
using ExtendDone = std::function<void(ExtendResult)>;

// Returns what the granting nodes of a round know of the holder.
[[nodiscard]] Owner OwnerOfGrants(const Round& round, std::size_t nodes);

class Extension final : public Cancellable,
                        public Round::Listener,
                        public std::enable_shared_from_this<Extension> {
 public:
  // `done` is called once, never inside this call.
  static std::shared_ptr<Extension> Start(const Environment& env, ExtendCommand command,
                                          ExtendDone done);

  // A round in progress may still take effect on the nodes.
  void Cancel(Reason why) override;
  // No round follows the one in progress, or the first one if none has begun. Between two rounds,
  // the extension ends inside this call, as the last one was decided.
  void StopRetrying();

  void OnDecided(Round& round) override;
  void OnLate(Round& round, NodeIndex node, const NodeReply& reply) override;

  Extension(Passkey<Extension> key, const Environment& env, ExtendCommand command, ExtendDone done);

 private:
  void Enter();
  void Attempt();
  // Decides a round of which not enough members granted.
  void Undecided(Round& round);
  // After a change of the node set: whether too few members can still hold the token.
  [[nodiscard]] bool IsDeniedInTransition(const Round& round) const;
  // Completes the round by put_back_. Returns false if it cannot be.
  [[nodiscard]] bool PutBackMissing(Round& round);
  void Denied(const Round& round);
  [[nodiscard]] bool RaiseFence(const Round& round);
  [[nodiscard]] bool FindSlot(const Round& round);
  [[nodiscard]] bool TryNextSlot();
  void Won(Round& round);
  // Handles an adoption that another stream's number refused: repeats it with a higher number, or
  // fails the extension. Returns false if neither applies.
  [[nodiscard]] bool AdoptAgain(const Round& round);
  void Failed(const Round& round, Reason reason, std::string message);
  void Repair(const Round& round, NodeIndex node);
  void Finish(ExtendResult result);

  const Environment& env_;
  ExtendCommand command_;
  ExtendDone done_;
  const MonotonicTime give_up_;
  Duration ttl_{};  // the requested one, unless the node set allows less
  int attempts_ = 0;
  int raises_ = 0;
  std::vector<int> slots_;  // that the token may have, and that were not asked for yet
  int adoptions_ = 0;
  ConcurrencyLimiter::Permit permit_;  // held while a round is in progress
  std::shared_ptr<Round> round_;
  std::shared_ptr<PutBack> put_back_;
  Error last_error_;  // of the last round, while there is none
  Votes last_votes_;
  TimerHandle deadline_timer_;
  TimerHandle retry_timer_;
  // Set after success: the lease that nodes without the key are repaired with, and the round in
  // which they may still answer (for comparison only).
  std::optional<Lease> lease_;
  std::optional<Keeper> confirmed_keeper_;  // the one that the quorum stores
  const Round* winner_ = nullptr;
};

}  // namespace redlock
