// The leases of one stream on one shard: what it waits for, what it keeps alive, and what becomes
// of them when it ends. Hold, Watch and Session are adapters over this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "server/core/leases/stream_end.h"
#include "server/core/safeguard.h"
#include "server/core/shard.h"

namespace redlock {

struct AdoptCommand {
  Key key;
  OwnerToken token;
  Duration ttl{};
  Duration interval{};
  std::optional<std::uint64_t> sequence;  // unset: the last adoption counts
};

// Shared by the operations under way. In the shard's turns only.
class LeaseSet final : public std::enable_shared_from_this<LeaseSet> {
 public:
  // Hears of everything, until Close(); never inside a call, except where a command says so.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnAcquired(std::uint64_t id, const AcquireResult& result) = 0;
    virtual void OnQueued(std::uint64_t id, std::size_t position) = 0;
    // Of an extension and of an adoption.
    virtual void OnExtended(std::uint64_t id, const ExtendResult& result) = 0;
    virtual void OnReleased(std::uint64_t id, const ReleaseResult& result) = 0;
    virtual void OnEvent(const Key& key, const WatchEvent& event) = 0;
  };

  // Both must outlive it, the listener only until Close(). `source`: whose requests these are.
  LeaseSet(Shard& shard, Listener& listener, Source source);

  void Acquire(std::uint64_t id, HoldCommand command);
  // Gives up an acquisition that still waits, without a word. False if there is none.
  bool GiveUp(std::uint64_t id);
  void Adopt(std::uint64_t id, AdoptCommand command);
  void Extend(std::uint64_t id, ExtendCommand command);
  void Release(std::uint64_t id, const Key& key, const OwnerToken& token);
  void Watch(WatchCommand command);

  // The stream broke: gives up what waits, and stops extending; no callback follows. If
  // End(kSilent) will follow, what is to be released then is remembered; else everything expires.
  void Break(bool until_silent);
  // The same, and what is held, or was until Break(), is released or expires by itself. `done` is
  // called once everything that is released has been, as far as nodes answered. Only the first call
  // counts. A portion is done in
  // each turn: there may be thousands of leases, and others' answers to be read meanwhile.
  void End(StreamEnd end, std::function<void()> done);

  [[nodiscard]] std::size_t size() const { return waiting_.size() + held_.size(); }

 private:
  struct LeaseName {
    Key key;
    OwnerToken token;
    bool operator==(const LeaseName&) const = default;
  };
  struct HashLeaseName {
    std::size_t operator()(const LeaseName& name) const {
      return std::hash<std::string>()(name.token.value());  // which nearly always differ
    }
  };
  struct Kept {
    std::shared_ptr<Watchdog> watchdog;  // null once detached
    Lease lease;                         // then, as it was
    // The lease was held before: an acquisition with extend_if_held, which may have been delayed on
    // its way here while the client went on elsewhere. Silence does not release it.
    bool found_held = false;
  };

  void OnAcquired(std::uint64_t id, const AcquireResult& result);
  void OnAdopted(std::uint64_t id, const AdoptCommand& command, const ExtendResult& result);
  void Keep(const LeaseName& name, std::shared_ptr<Watchdog> watchdog, bool found_held);
  void OnEnded(const LeaseName& name, const WatchEvent& event);
  [[nodiscard]] WatchEvents EventsOf(const LeaseName& name);
  void EndPortion(StreamEnd end, const std::shared_ptr<void>& done);
  void EndOne(Kept kept, StreamEnd end, const std::shared_ptr<void>& done);

  Shard& shard_;
  Listener* listener_;  // null once the stream has ended
  const Source source_;
  std::unordered_map<std::uint64_t, std::shared_ptr<HoldOperation>> waiting_;  // by operation
  std::unordered_map<LeaseName, Kept, HashLeaseName> held_;
  TimerHandle portion_;
  bool ended_ = false;
};

}  // namespace redlock
