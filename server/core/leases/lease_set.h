// The leases of one stream on one shard: pending acquisitions, watched leases, and what happens to
// them when the stream ends. Hold, Watch and Session are adapters over this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "server/core/leases/lease_recorder.h"
#include "server/core/leases/stream_end.h"
#include "server/core/safeguard.h"
#include "server/core/shard.h"

namespace redlock {

struct GiveUpCommand {
  Key key;
  OwnerToken token;
};

struct AdoptCommand {
  Key key;
  OwnerToken token;
  Duration ttl{};
  Duration interval{};
  std::optional<std::uint64_t> sequence;  // unset: the last adoption wins
  FencingToken downgrade_from = {};       // as in ExtendCommand
};

// How a client came to keep a lease on a stream.
enum class LeaseOrigin {
  kAcquired,   // acquired on this stream
  kTakenOver,  // the client had it before: watched or adopted
};

// Kept alive by the operations in progress. Strand-confined: call only on the shard's strand.
class LeaseSet final : public HoldListener, public std::enable_shared_from_this<LeaseSet> {
 public:
  // Receives all results and events until Break() or End(); after End(kClosed), until `done` is
  // called. Never called inside a call, unless a command says so.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnAcquired(std::uint64_t id, const AcquireResult& result) = 0;
    virtual void OnQueued(std::uint64_t id, std::size_t position) = 0;
    // The result of an extension or adoption.
    virtual void OnExtended(std::uint64_t id, const ExtendResult& result) = 0;
    virtual void OnReleased(std::uint64_t id, const ReleaseResult& result) = 0;
    virtual void OnEvent(const Key& key, const WatchEvent& event) = 0;
    // Whether the client may still keep, or wait for, a lease of this key. Called by Recheck(), and
    // after an adoption.
    [[nodiscard]] virtual bool MayKeep(const Key& key, LeaseOrigin origin) const = 0;
  };

  // The shard must outlive the set. The listener must live as long as it is called (see Listener).
  // `source` identifies the stream to the concurrency limiter. `recorder` may be null.
  LeaseSet(Shard& shard, Listener& listener, Source source,
           std::shared_ptr<LeaseRecorder> recorder = nullptr);

  void Acquire(std::uint64_t id, HoldCommand command);
  // Cancels a pending acquisition, if there is one: the listener gets its result inside this call.
  void Cancel(std::uint64_t id);
  void Adopt(std::uint64_t id, AdoptCommand command);
  // If it downgrades an exclusive lease of this set, the lease is extended as a share from now on,
  // whatever the result.
  void Extend(std::uint64_t id, ExtendCommand command);
  // `keep_for` as in Shard::Release().
  void Release(std::uint64_t id, const Key& key, const OwnerToken& token, Duration keep_for = {});
  // Gives up a lease of this stream as its end after a silence does: a later hold of the same token
  // stays. The listener gets OnReleased(), possibly inside this call.
  void GiveUp(std::uint64_t id, const GiveUpCommand& command);
  void Watch(WatchCommand command);
  // What clients may do has changed: gives up every pending acquisition, and stops extending every
  // lease, for which MayKeep() now returns false. The listener hears of each. Works in portions, as
  // End() does.
  void Recheck();

  // The stream broke: gives up pending acquisitions and stops extending, also extensions that wait
  // to be retried; no callback follows. If
  // `until_silent`, End() will follow and the leases to be released then are remembered; otherwise
  // everything expires. Works in portions, as End() does.
  void Break(bool until_silent);
  // Ends the stream: gives up pending acquisitions and retries of extensions, and releases the
  // leases or lets them expire, including those from before Break() (see stream_end.h). After
  // End(kClosed), that includes leases whose adoption is under way. Calls `done` after all
  // releases, as far as nodes answered, and after End(kClosed) also after the results of all
  // earlier operations. Only the first call has an effect. No operation may follow.
  //
  // There may be 100,000 leases, and other clients wait meanwhile. So the strand is used in
  // portions, and only a few releases are under way at a time, each of which starts the next one.
  // Extensions stop as fast as the strand allows, so that leases whose turn comes late expire.
  void End(StreamEnd end, std::function<void()> done);

  // Pending acquisitions, and the leases that are extended or wait to be released.
  [[nodiscard]] std::size_t size() const { return waiting_.size() + held_.size() + left_.size(); }

 private:
  struct LeaseName {
    Key key;  // exclusive: a release does not name the mode or the slot
    OwnerToken token;
    bool operator==(const LeaseName&) const = default;
  };
  [[nodiscard]] static LeaseName NameOf(const Key& key, const OwnerToken& token) {
    return {key.Exclusive(), token};
  }
  // A lease that is no longer extended.
  struct Left {
    Lease lease;
    Holding holding;
  };
  struct Kept {
    std::shared_ptr<Watchdog> watchdog;
    LeaseOrigin origin = LeaseOrigin::kAcquired;
    // The lease was already held: an acquisition with extend_if_held found it. The request may have
    // been delayed while the client continued elsewhere, so silence does not release the lease.
    bool found_held = false;

    [[nodiscard]] bool Is(const Key& key, const OwnerToken& token) const {
      return watchdog->token() == token && watchdog->key().names() == key.names();
    }
    // Stops extending. Returns the lease as the stream knows it.
    [[nodiscard]] Left Detach() const;
    // Whether the lease may be released at this end of the stream, or if it is given up (kSilent).
    [[nodiscard]] bool BelongsToStream(StreamEnd end) const;
  };
  // Hashes are not stored, because there may be a million leases.
  struct HashLeaseName {
    using is_transparent = void;
    std::size_t operator()(const LeaseName& name) const noexcept {
      return HashText()(name.token);  // tokens nearly always differ
    }
    std::size_t operator()(const Kept& kept) const noexcept {
      return HashText()(kept.watchdog->token());
    }
  };
  struct HasEqualName {
    using is_transparent = void;
    bool operator()(const LeaseName& one, const Kept& other) const {
      return other.Is(one.key, one.token);
    }
    bool operator()(const Kept& one, const LeaseName& other) const {
      return one.Is(other.key, other.token);
    }
    bool operator()(const Kept& one, const Kept& other) const {
      return one.Is(other.watchdog->key(), other.watchdog->token());
    }
  };

  void OnDecided(std::uint64_t id, const AcquireResult& result) override;
  void OnQueued(std::uint64_t id, std::size_t position) override;
  void OnWatchEvent(const WatchEvent& event) override;
  void OnAdopted(std::uint64_t id, std::uint64_t adoption, const AdoptCommand& command,
                 const ExtendResult& result, const std::shared_ptr<void>& closing);
  void Keep(std::shared_ptr<Watchdog> watchdog, LeaseOrigin origin, bool found_held);
  // Takes the lease out. Nothing if the set does not have it.
  [[nodiscard]] std::optional<Kept> Take(const LeaseName& name);
  void Downgrade(const Kept& kept, const ExtendCommand& command);
  // Call once when the adoption has been decided: whether the lease was downgraded meanwhile.
  [[nodiscard]] bool IsOvertaken(const LeaseName& name, std::uint64_t adoption);
  void RecordLoss(const WatchEvent& event);
  void ReleaseLeft(const Left& left, bool leave_delay,
                   std::function<void(const ReleaseResult&)> done);
  void OnEnded(const LeaseName& name, const WatchEvent& event);
  void RefuseToGiveUp(std::uint64_t id);
  void RecheckPortion();
  void RecheckAcquisition(std::uint64_t id);
  void RecheckLease(std::shared_ptr<Watchdog> watchdog);
  void BreakPortion();
  void EndPortion(StreamEnd end, const std::shared_ptr<void>& done);
  [[nodiscard]] bool GiveUpOrLeaveOne(StreamEnd end);
  void ReleaseNext(StreamEnd end, const std::shared_ptr<void>& done);

  Shard& shard_;
  Listener* listener_;  // null once the stream has ended
  const Source source_;
  const std::shared_ptr<LeaseRecorder> recorder_;                              // may be null
  std::unordered_map<std::uint64_t, std::shared_ptr<HoldOperation>> waiting_;  // by operation id
  std::unordered_map<std::uint64_t, std::weak_ptr<Extension>> extending_;      // the same
  std::unordered_set<Kept, HashLeaseName, HasEqualName> held_;
  std::deque<Left> left_;      // to be released at the end of the stream
  std::size_t releasing_ = 0;  // of those that were left
  // Adoptions that are not decided yet. A downgrade that follows one leaves it nothing to keep.
  struct Adopting {
    std::size_t undecided = 0;
    std::uint64_t last_overtaken = 0;
  };
  std::unordered_map<LeaseName, Adopting, HashLeaseName> adopting_;
  std::uint64_t last_adoption_ = 0;
  // Each operation under way has a copy. After End(kClosed), all of them share what calls `done`.
  std::shared_ptr<std::shared_ptr<void>> unanswered_ = std::make_shared<std::shared_ptr<void>>();
  // What Recheck() has yet to look at.
  std::vector<std::uint64_t> unchecked_waiting_;
  std::vector<std::shared_ptr<Watchdog>> unchecked_held_;
  TimerHandle portion_;
  bool ended_ = false;
};

}  // namespace redlock
