// A model of one Redis node with redlockd's scripts: it gives the same replies, in virtual time.
// tests/redis runs the real scripts through the same conformance cases.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/core/nodes/node.h"
#include "tests/sim/set_oracle.h"
#include "tests/sim/world.h"

namespace redlock::sim {

class Server {
 public:
  static constexpr Duration kNoBound = std::chrono::hours(24 * 365);

  // `rate`: the speed of the node's clock relative to the world's, e.g. 1.005.
  Server(World& world, double rate) : world_(world), rate_(rate), started_(Clock()) {}

  [[nodiscard]] NodeReply Acquire(const std::string& key, const std::string& token, Duration ttl,
                                  FencingToken fence, AttemptId attempt, const Owner& owner,
                                  bool adopt, const Expected& expected = {},
                                  Duration longest = kNoBound);
  [[nodiscard]] NodeReply HandOver(const std::string& key, const std::string& from,
                                   const std::string& to, Duration ttl, FencingToken fence,
                                   AttemptId attempt, const Owner& owner,
                                   const Expected& expected = {}, Duration longest = kNoBound);
  [[nodiscard]] NodeReply Extend(const std::string& key, const std::string& token, Duration ttl,
                                 FencingToken raise_to, std::optional<Keeper> keeper = {},
                                 bool adopt = false, const Expected& expected = {},
                                 FencingToken downgrade_from = {}, Duration longest = kNoBound,
                                 Duration least_delay = {});
  [[nodiscard]] NodeReply Repair(const std::string& key, const std::string& token, Duration ttl,
                                 FencingToken fence, std::optional<Keeper> keeper, bool counts,
                                 const Owner& owner, const Expected& expected = {},
                                 std::optional<Duration> held_for = {},
                                 Duration longest = kNoBound);
  // What becomes of a key after its release.
  struct Keep {
    Duration since_acquisition{};  // it stays taken for so long. 0: it does not
    bool for_delay = false;        // it stays taken for the delay of the lease
    [[nodiscard]] bool any() const { return for_delay || since_acquisition != Duration(); }
  };
  [[nodiscard]] NodeReply Release(const std::string& key, const std::string& token,
                                  std::optional<AttemptId> only_attempt, FencingToken seal,
                                  bool announce, std::optional<Keeper> at_end_of, Keep keep);
  [[nodiscard]] NodeReply Release(const std::string& key, const std::string& token,
                                  std::optional<AttemptId> only_attempt, FencingToken seal,
                                  bool announce, std::optional<Keeper> at_end_of = {}) {
    return Release(key, token, only_attempt, seal, announce, at_end_of, {});
  }
  [[nodiscard]] NodeReply Proclaim(const std::string& key, const std::string& token,
                                   const PublishedValue& value, std::uint64_t number,
                                   const Expected& expected = {});
  [[nodiscard]] NodeReply Intend(const std::string& key, AttemptId id, Duration ttl);
  [[nodiscard]] NodeReply Inspect(const std::string& key, const Expected& expected = {},
                                  bool observe = false);
  [[nodiscard]] NodeReply Probe(const std::string& key);
  [[nodiscard]] NodeReply Mark(const std::string& from, const std::string& to,
                               const std::string& stamp = {});
  [[nodiscard]] NodeReply TryGrant() const;
  [[nodiscard]] NodeReply ReadMark();
  [[nodiscard]] SetReply AskSet(const SetStep& step);
  [[nodiscard]] NodeReply ReadSettings() const;
  [[nodiscard]] NodeFacts Facts() const;

  // Called for each announcement of the key until the subscription ends.
  using Listener = std::function<void(const std::string& key)>;
  void Subscribe(Topic topic, const std::string& key, const void* who, Listener listener);
  void Unsubscribe(Topic topic, const std::string& key, const void* who);
  // Whether it announces changes, because somebody has lately observed a key.
  [[nodiscard]] bool is_observed() const { return observed_until_ > Clock(); }

  // `SET key token NX PX ttl` by a client that is not redlockd.
  [[nodiscard]] bool SetNx(const std::string& key, const std::string& token, Duration ttl);
  // FLUSHALL, or the restart of a node without persistence.
  void LoseData();
  // Saves the data that Restore() brings back.
  void Snapshot() {
    snapshot_ = {stored_, wait_epoch_, wait_until_, entries_, meta_, kept_until_, fences_};
  }
  void Restore();
  // Starts a new process with the data as it is.
  void Restart();
  // Calls `read` with the answer to each Inspect.
  using ReadShown = std::function<void(const std::string& key, const NodeReply& reply)>;
  void ShowReads(ReadShown read) { read_shown_ = std::move(read); }
  // Shows the oracle every record that the node accepts or learns.
  void ShowTo(SetOracle* oracle) { oracle_ = oracle; }
  // How long metadata outlives its key. Windows of fences take a third of it.
  void SetRetention(Duration retention) { window_ = retention / 3; }
  // At maxmemory: refuses to write anything new, and what it stores about the node set.
  void SetFull(bool full) { full_ = full; }
  // How many steps it has refused.
  [[nodiscard]] int refused() const { return refused_; }
  // The node's clock jumps.
  void StepClock(Duration by) { step_ += by; }
  // Changes the rate of the node's clock.
  void SetRate(double rate);
  [[nodiscard]] double rate() const { return rate_; }
  // AOF with appendfsync always.
  void MakeDurable() { durable_ = true; }
  // CONFIG SET appendfsync no.
  void EndDurability() { durable_ = false; }
  // CONFIG SET maxmemory-policy, with maxmemory set. Empty: noeviction.
  void SetEviction(const std::string& policy) { eviction_.policy = policy; }
  // Removes a key as an eviction does.
  void Evict(const std::string& key);
  [[nodiscard]] bool durable() const { return durable_; }
  [[nodiscard]] int run() const { return run_; }

  [[nodiscard]] Duration Clock() const;
  // The token that holds the key, if any.
  [[nodiscard]] std::optional<std::string> Holder(const std::string& key);
  [[nodiscard]] std::size_t keys();
  [[nodiscard]] std::size_t listeners() const {
    std::size_t count = 0;
    for (const auto& [key, listeners] : listeners_) count += listeners.size();
    return count;
  }

 private:
  struct Entry {
    std::string token;
    Duration expires{};  // on the node's clock
  };
  struct Meta {
    FencingToken fence;
    std::string token;             // the holder to which the fence belongs
    std::optional<Keeper> keeper;  // id 0: extended without a stream
    bool unconfirmed = false;      // not extended since the acquisition
    Owner owner;                   // the holder of `token`; `since` by the node's clock
    // Of a key that is or was shared: the highest fence of an exclusive holder.
    std::optional<FencingToken> exclusive = {};
    FencingToken sealed = {};  // the highest seal of a share or a slot
  };
  enum class Take { kNo, kLast, kAlways };
  // The record of fences whose metadata is gone, as in steps.lua.
  struct Fences {
    std::int64_t window = 0;
    FencingToken floor;
    FencingToken ceiling;
    FencingToken earlier;
  };

  [[nodiscard]] NodeReply Read(const std::string& key);
  // The answer to a step that votes, if the node does not carry what the step expects.
  [[nodiscard]] std::optional<NodeReply> Mismatch(const Expected& expected, bool needs_mark) const;
  // The conditions of a step on the node set, and its effect.
  [[nodiscard]] bool CarryOut(const SetStep& step);
  void BeginWait(std::uint64_t epoch, Duration wait);
  // How long it accepts no change of its record, unless the change goes back.
  [[nodiscard]] Duration WaitLeft() const;
  // Steps on several keys: all or none.
  struct Looked {
    std::string key;
    Entry* entry = nullptr;  // null if the key is free
    Meta* meta = nullptr;
  };
  [[nodiscard]] std::vector<Looked> Look(const std::string& keys);
  [[nodiscard]] static FencingToken HighestFence(const std::vector<Looked>& all);
  // Returns the answer for one of the keys that another token holds: for a semaphore, or otherwise
  // for the key that is held for longest.
  [[nodiscard]] std::optional<NodeReply> HeldLongest(
      const std::vector<Looked>& all, const std::function<bool(const Looked&)>& allowed);
  void PutAll(const std::vector<Looked>& all, const std::string& token, Duration ttl,
              const Meta& meta);
  [[nodiscard]] NodeReply AcquireTogether(const std::string& keys, const std::string& token,
                                          Duration ttl, const Meta& granted, bool adopt);
  [[nodiscard]] NodeReply HandOverTogether(const std::string& keys, const std::string& from,
                                           Duration ttl, const Meta& granted);
  [[nodiscard]] NodeReply ExtendTogether(const std::string& keys, const std::string& token,
                                         Duration ttl, FencingToken raise_to,
                                         std::optional<Keeper> keeper, Take take);
  [[nodiscard]] NodeReply ExtendAll(const std::vector<Looked>& all, Duration ttl,
                                    FencingToken raise_to, std::optional<Keeper> keeper, Take take);
  [[nodiscard]] NodeReply RepairTogether(const std::string& keys, const std::string& token,
                                         Duration ttl, Meta granted, bool counts);

  // Shares: entries and metadata of their own, beside a marker at the key.
  static constexpr char kShareMark = '\xfd';  // occurs in no key
  [[nodiscard]] static std::string ShareKey(const std::string& key, const std::string& token);
  [[nodiscard]] std::vector<std::string> Shares(const std::string& key);
  // Of a key that is not free.
  [[nodiscard]] static bool IsShared(const Looked& one);
  [[nodiscard]] static bool HasAll(const std::vector<Looked>& shares);
  [[nodiscard]] std::vector<Looked> LookAtShares(const std::vector<Looked>& all,
                                                 const std::string& token);
  [[nodiscard]] static FencingToken HighestForShares(const std::vector<Looked>& all,
                                                     const std::vector<Looked>& shares);
  static void RememberFence(Meta& meta, FencingToken fence, FencingToken seal = {});
  void Shared(const std::vector<Looked>& all, const std::vector<Looked>& shares,
              FencingToken fence);
  void ForgetShares(const std::string& key);
  [[nodiscard]] NodeReply AcquireShares(const std::string& keys, const std::string& token,
                                        Duration ttl, const Meta& granted, bool adopt);
  void Downgrade(const std::string& keys, const std::string& token, FencingToken from);
  [[nodiscard]] NodeReply ExtendShares(const std::string& keys, const std::string& token,
                                       Duration ttl, FencingToken raise_to,
                                       std::optional<Keeper> keeper, Take take);
  [[nodiscard]] NodeReply RepairShares(const std::string& keys, const std::string& token,
                                       Duration ttl, Meta granted, bool counts);
  [[nodiscard]] NodeReply ReleaseShare(const std::string& key, const std::string& token,
                                       std::optional<AttemptId> only_attempt, FencingToken seal,
                                       bool announce, std::optional<Keeper> at_end_of, Keep keep);

  // Slots of semaphores: likewise, beside a marker with the limit.
  static constexpr char kSlotMark = '\xfc';  // occurs in no key
  [[nodiscard]] static std::string SlotKey(const std::string& key, int slot);
  struct Semaphore {
    std::optional<NodeReply> other_use;  // the answer if the key is in use in another way
    std::string key;
    bool marked = false;
    std::vector<Entry*> slots;  // null if free. Without the marker, all are
    int own = 0;                // the slot of the token; 0 if it has none
    int slot = 0;               // that the step names
    std::string place;          // of this slot
    Meta* meta = nullptr;       // of the key
    Meta* slot_meta = nullptr;
    [[nodiscard]] Entry* entry() const { return slots[static_cast<std::size_t>(slot - 1)]; }
    [[nodiscard]] int limit() const { return static_cast<int>(slots.size()); }
  };
  [[nodiscard]] Semaphore LookAtSlots(const Key& key, const std::string& token);
  [[nodiscard]] NodeReply SlotTaken(const Semaphore& semaphore) const;
  [[nodiscard]] static FencingToken HighestForSlot(const Semaphore& semaphore);
  void HasSlot(const Semaphore& semaphore, FencingToken fence, FencingToken seal = {});
  [[nodiscard]] NodeReply AcquireSlot(const Key& key, const std::string& token, Duration ttl,
                                      const Meta& granted, bool adopt);
  [[nodiscard]] NodeReply ExtendSlot(const Key& key, const std::string& token, Duration ttl,
                                     FencingToken raise_to, std::optional<Keeper> keeper,
                                     Take take);
  [[nodiscard]] NodeReply HandOverSlot(const Key& key, const std::string& from, Duration ttl,
                                       const Meta& granted);
  [[nodiscard]] NodeReply RepairSlot(const Key& key, const std::string& token, Duration ttl,
                                     Meta granted, bool counts);
  [[nodiscard]] NodeReply ReleaseSlot(const std::string& key, int limit, const std::string& token,
                                      std::optional<AttemptId> only_attempt, FencingToken seal,
                                      bool announce, std::optional<Keeper> at_end_of, Keep keep);
  // Returns how many hear of it.
  int Announce(Topic topic, const std::string& key);
  // Announces a change of the key, or of a share or slot of it that is stored at `place`.
  void Changed(const std::string& place);

  // What a refusal says about the holder.
  [[nodiscard]] static Owner Described(const Entry& entry, const Meta& meta);
  [[nodiscard]] NodeReply Held(const Entry& entry, const Meta& meta) const;
  // The answer to a step that would acquire a key that another token holds.
  [[nodiscard]] NodeReply HeldBy(const std::string& key);
  // Names in a refusal who holds the one of these shares or slots that expires last.
  void NameLast(const std::vector<std::string>& places, NodeReply& reply) const;
  [[nodiscard]] NodeReply ReleaseOne(const std::string& key, const std::string& token,
                                     std::optional<AttemptId> only_attempt, FencingToken seal,
                                     bool announce, std::optional<Keeper> at_end_of, Keep keep);
  // How long the key of this lease stays taken after its release.
  [[nodiscard]] Duration TimeKept(const Keep& keep, const std::string& token, const Entry* entry,
                                  const Meta& meta) const;
  // What a key holds that stays taken after the release by this token.
  [[nodiscard]] static std::string KeptValue(const std::string& token);
  // The owner of a new lease, acquired now.
  [[nodiscard]] Owner Stamped(Owner owner, Duration ttl) const;
  [[nodiscard]] NodeReply ExtendHeld(const std::string& key, Entry& entry, Meta& meta, Duration ttl,
                                     FencingToken raise_to, std::optional<Keeper> keeper,
                                     Take take);

  // The steps of the same names, after the node set was compared.
  [[nodiscard]] NodeReply Grant(const std::string& key, const std::string& token, Duration ttl,
                                FencingToken fence, AttemptId attempt, const Owner& owner,
                                bool adopt, Duration longest);
  [[nodiscard]] NodeReply Pass(const std::string& key, const std::string& from,
                               const std::string& to, Duration ttl, FencingToken fence,
                               AttemptId attempt, const Owner& owner, Duration longest);
  // Forgets the metadata if it has expired.
  [[nodiscard]] Meta& MetaOf(const std::string& key);
  // The metadata outlives its key, which has this expiry, by the retention.
  void KeepMeta(const std::string& key, Duration expires);
  void Note(FencingToken fence);
  // Whether the record of this window says that every stored fence is lower.
  [[nodiscard]] bool ExceedsAll(FencingToken fence) const;
  // The answer to a step that would grant with this fence, unless it is high enough.
  [[nodiscard]] std::optional<NodeReply> Stale(FencingToken fence, FencingToken highest);
  // After a step that found another holder: releases are announced.
  void Await(const NodeReply& reply);

  [[nodiscard]] Entry* Find(const std::string& key);  // removes the entry if it has expired
  void Put(const std::string& key, const std::string& token, Duration ttl);

  World& world_;
  // Of the present step.
  Duration longest_ = kNoBound;  // bounds a TTL with its delay
  Duration least_delay_{};       // of a lease that is extended
  double rate_;
  Duration step_{};
  Duration started_;  // on the node's clock
  int run_ = 1;
  bool durable_ = false;
  Eviction eviction_;
  // What it stores about the node set, with its stamp and mark. `wait` is not used.
  SetState stored_;
  std::uint64_t wait_epoch_ = 0;  // it does not leave this epoch until:
  Duration wait_until_{};
  std::map<std::string, Entry> entries_;
  std::map<std::string, Meta> meta_;
  std::map<std::string, Duration> kept_until_;  // when the metadata expires
  Duration window_ = seconds(20);
  Fences fences_;
  Duration awaited_until_{};  // until then it announces plain releases
  std::map<std::string, std::pair<AttemptId, Duration>> intents_;  // and when they expire
  SetOracle* oracle_ = nullptr;
  ReadShown read_shown_;
  bool full_ = false;
  int refused_ = 0;
  struct Image {
    SetState stored;
    std::uint64_t wait_epoch = 0;
    Duration wait_until{};
    std::map<std::string, Entry> entries;
    std::map<std::string, Meta> meta;
    std::map<std::string, Duration> kept_until;
    Fences fences;
  } snapshot_;
  std::map<std::pair<Topic, std::string>, std::vector<std::pair<const void*, Listener>>> listeners_;
  Duration observed_until_{};  // on the node's clock: until then it announces changes
};

}  // namespace redlock::sim
