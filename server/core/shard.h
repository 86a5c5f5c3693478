// The facade of the core: all operations on the keys of one shard.
//
// Strand-confined: call every method only on the shard's strand. Callbacks run there too, so
// nothing here needs a lock.
#pragma once

#include <memory>
#include <vector>

#include "server/core/keys/acquisition.h"
#include "server/core/keys/keys.h"
#include "server/core/leases/hold.h"
#include "server/core/leases/watchdog.h"
#include "server/core/nodes/guarded_node.h"
#include "server/core/operation.h"
#include "server/core/rounds/inspection.h"
#include "server/core/rounds/proclamation.h"
#include "server/core/rounds/release.h"

namespace redlock {

// A watched lease or a waiter, for listings.
struct LeaseListing {
  enum class Kind { kWatched, kLost, kWaiting };
  Key key;
  Kind kind = Kind::kWatched;
  Duration validity{};
  int failures = 0;
  std::size_t position = 0;
  Owner owner;         // of a waiter, `since` is not used
  FencingToken fence;  // of a lease
  Duration waited{};   // of a waiter: since the request arrived
};

// The keys of one group (key_groups.h) at present.
struct GroupNow {
  std::optional<Duration> oldest;  // how long the oldest lease has been kept alive, if there is one
  std::size_t waiters = 0;
};

class Shard final {
 public:
  // The scheduler and `random` must outlive the shard.
  Shard(Scheduler& scheduler, Random& random, std::function<OwnerToken()> new_token,
        const LockOptions& options, std::vector<std::unique_ptr<Node>> nodes,
        NodeReports reports = {});
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // An acquisition may be refused: a bound is reached, or the daemon is shutting down.
  std::shared_ptr<Cancellable> Acquire(AcquireCommand command, AcquireDone done);

  // Returns a handle that ends the watchdog. Never refused: the lease is already held.
  std::shared_ptr<Watchdog> Watch(WatchCommand command, std::shared_ptr<WatchListener> listener);

  // Acquires and then watches. Refused like Acquire. `id` is for the listener only.
  std::shared_ptr<HoldOperation> Hold(HoldCommand command, std::shared_ptr<HoldListener> listener,
                                      std::uint64_t id = 0);

  // Never refused: to lose a lock by overload is worse than not to get one.
  std::shared_ptr<Extension> Extend(ExtendCommand command, ExtendDone done);
  // Ends the watchdogs of the lease with kReleased. If somebody waits for the key at this daemon,
  // the lock is handed over. So is a slot if the key names it, or if a watchdog knows it.
  // With `keep_for`, the key stays taken until that long after its acquisition, and is not handed
  // over.
  void Release(const Key& key, const OwnerToken& token, ReleaseDone done, Source source = {},
               Duration keep_for = {});
  // Releases the lease only if it still belongs to its stream. Does not hand the key over. With
  // `leave_delay`, the key stays taken for the lock delay of the lease.
  void ReleaseAtEndOf(const Lease& lease, bool leave_delay, ReleaseDone done);
  // Never refused: the lock is held.
  void Proclaim(ProclaimCommand command, ProclaimDone done);
  std::shared_ptr<Cancellable> Inspect(const Key& key, InspectDone done, Source source = {});
  // Reports who holds a single key, and every change, until the handle is dropped. Drop it on the
  // strand; it may outlive the shard.
  [[nodiscard]] std::shared_ptr<void> Observe(const Key& key, ObserverTold told);

  // Refuses new acquisitions and ends the waiting ones. Everything else continues.
  void Drain();

  // Makes the token of a request that has none.
  [[nodiscard]] OwnerToken NewToken() { return env_.new_token(); }
  // Makes the id of a stream that adopts a lease.
  [[nodiscard]] AttemptId NewStreamId() { return {env_.random.Bits()}; }
  [[nodiscard]] Scheduler& scheduler() { return env_.scheduler; }
  [[nodiscard]] MonotonicTime Now() const { return env_.scheduler.Now(); }

  // Number of operations in progress: acquisitions, extensions, releases, watchdogs, clean-ups.
  [[nodiscard]] std::size_t operations() const { return registry_.size(); }
  // See Membership::WatchQuorum. If records are not compared, the state of the nodes is unknown,
  // and `told` is called once with true.
  void WatchQuorum(std::function<void(bool)> told);
  // Why no lock can be granted at present: too few nodes are able to. Nothing if that is not known.
  [[nodiscard]] std::optional<Error> Outage() const;
  // What Outage() returns if this shard knows of none: only the shard that coordinates changes of
  // the node set finds out which nodes are able to grant.
  void HearOfOutage(std::optional<Error> outage) { heard_outage_ = std::move(outage); }
  // Calls `told` with the record of the node set in force: inside this call, if one is known, and
  // whenever it changes.
  void WatchRecord(std::function<void(const SetRecord&)> told);
  // See Membership::Change() and Create(). Only if records are compared, and on the shard that
  // coordinates changes.
  [[nodiscard]] Membership::Started ChangeNodeSet(ChangeRequest request, ChangeTold told);
  [[nodiscard]] std::shared_ptr<void> CreateNodeSet(ChangeTold told);
  // Null if the guard is off.
  [[nodiscard]] const NodeGuard* guard() const { return nodes_.guard(); }
  // Null if another shard of the daemon watches, or if records are not compared.
  [[nodiscard]] const GrantWatch* grants() const { return nodes_.grants(); }
  // Null if records are not compared.
  [[nodiscard]] const Membership* membership() const { return nodes_.membership(); }
  [[nodiscard]] const Statistics& statistics() const { return statistics_; }
  [[nodiscard]] const LossLog& losses() const { return losses_; }
  [[nodiscard]] bool draining() const { return draining_; }
  // Of all keys.
  [[nodiscard]] std::size_t watchdogs() const { return watchdogs_.size(); }
  // Lists watchdogs and waiters, in no particular order. Visits every operation.
  [[nodiscard]] std::vector<LeaseListing> ListLeases() const;
  // Takes the key from every holder. Reports what Inspect returned before, and the worst error of
  // the releases. The error is unset if all succeeded or no token held the key.
  using ForceReleaseDone = std::function<void(const InspectResult& before, std::optional<Error>)>;
  void ForceRelease(const Key& key, ForceReleaseDone done);
  // What this daemon knows of a lease: only the key, unless it keeps the lease alive.
  [[nodiscard]] Holding HoldingOf(const Key& key, const OwnerToken& token) const;
  // Counts how long a lease was held. Call when a lease that was no longer kept alive is released.
  void CountHold(const Holding& holding);
  // Visits every waiter.
  [[nodiscard]] std::vector<GroupNow> Groups() const;
  // Of all keys. Visits every key.
  [[nodiscard]] std::size_t observers() const { return keys_.observers(); }
  // Waiters for the key at this daemon.
  [[nodiscard]] std::size_t waiters(const Key& key) const;
  // The first `most` of them, in order.
  [[nodiscard]] std::vector<LeaseListing> ListWaiters(const Key& key, std::size_t most) const;

 private:
  // Why no new lock is given out, if none is.
  [[nodiscard]] std::optional<Error> Refusal(const AcquireCommand& command) const;

  const LockOptions options_;
  Statistics statistics_;
  LossLog losses_;
  ConcurrencyLimiter limiter_;  // first: the places in it are destroyed before
  WatchdogIndex watchdogs_;
  OperationRegistry registry_;  // destroyed before what its operations are listed in
  HybridClock fences_;
  ReleasingTokens releasing_;
  GuardedNodes nodes_;
  Keys keys_;
  Environment env_;
  bool draining_ = false;
  std::optional<Error> heard_outage_;
};

}  // namespace redlock
