#include "tests/sim/server.h"

#include <algorithm>

#include "server/core/nodes/kept.h"
#include "server/core/safeguard.h"

namespace redlock::sim {
namespace {

// How long a node goes on to announce changes after it was asked to.
constexpr Duration kAnnounces = seconds(10);

const NodeReply kFull{.outcome = Outcome::kError, .message = "OOM command not allowed"};

}  // namespace

Duration Server::Clock() const {
  const auto world = static_cast<double>(world_.now().time_since_epoch().count());
  return Duration(static_cast<Duration::rep>(world * rate_)) + step_;
}

void Server::SetRate(double rate) {
  const Duration before = Clock();
  rate_ = rate;
  step_ += before - Clock();
}

Server::Entry* Server::Find(const std::string& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return nullptr;
  if (found->second.expires <= Clock()) {
    entries_.erase(found);
    return nullptr;
  }
  return &found->second;
}

Server::Meta& Server::MetaOf(const std::string& key) {
  const auto kept = kept_until_.find(key);
  if (kept != kept_until_.end() && kept->second <= Clock()) {
    kept_until_.erase(kept);
    meta_.erase(key);
  }
  return meta_[key];
}

void Server::KeepMeta(const std::string& key, Duration expires) {
  kept_until_[key] = std::max(expires, Clock()) + 3 * window_;
}

void Server::Note(FencingToken fence) {
  const auto now = Clock() / window_;
  if (now == fences_.window && fence <= fences_.ceiling) return;
  if (now != fences_.window) {
    fences_.floor = now == fences_.window + 1 ? fences_.earlier : fences_.ceiling;
    fences_.earlier = fences_.ceiling;
    fences_.window = now;
  }
  fences_.ceiling = std::max(fences_.ceiling, fence);
}

bool Server::ExceedsAll(FencingToken fence) const {
  return Clock() / window_ == fences_.window && fence > fences_.ceiling;
}

std::optional<NodeReply> Server::Stale(FencingToken fence, FencingToken highest) {
  if (Has(Safeguard::kGrantsNoted)) Note(fence);
  if (Has(Safeguard::kFloorCompared)) highest = std::max(highest, fences_.floor);
  if (highest < fence) return std::nullopt;
  return NodeReply{.outcome = Outcome::kStaleFence, .fence = highest};
}

void Server::Await(const NodeReply& reply) {
  if (reply.outcome != Outcome::kHeld || IsMarker(reply.holder.value())) return;
  if (Clock() + reply.remaining + seconds(1) < awaited_until_) return;
  awaited_until_ = Clock() + reply.remaining + seconds(10);
}

void Server::Put(const std::string& key, const std::string& token, Duration ttl) {
  entries_[key] = {token, Clock() + ttl};
  KeepMeta(key, Clock() + ttl);
  Changed(key);
}

NodeReply Server::Acquire(const std::string& key, const std::string& token, Duration ttl,
                          FencingToken fence, AttemptId attempt, const Owner& by, bool adopt,
                          const Expected& expected, Duration longest) {
  if (auto mismatch = Mismatch(expected, true)) return *mismatch;
  NodeReply reply = Grant(key, token, ttl, fence, attempt, by, adopt, longest);
  Await(reply);
  return reply;
}

NodeReply Server::Grant(const std::string& key, const std::string& token, Duration ttl,
                        FencingToken fence, AttemptId attempt, const Owner& by, bool adopt,
                        Duration longest) {
  longest_ = longest;
  least_delay_ = {};
  const Owner owner = Stamped(by, ttl);
  if (Key(key).IsSemaphore()) {
    return AcquireSlot(Key(key), token, ttl,
                       {fence, token, Keeper{fence.value, attempt}, true, owner}, adopt);
  }
  if (Key(key).IsShared()) {
    return AcquireShares(key, token, ttl, {fence, token, Keeper{fence.value, attempt}, true, owner},
                         adopt);
  }
  if (Key(key).IsSeveral()) {
    return AcquireTogether(key, token, ttl,
                           {fence, token, Keeper{fence.value, attempt}, true, owner}, adopt);
  }
  Meta& meta = MetaOf(key);
  Entry* const entry = Find(key);
  if (entry == nullptr) {
    if (full_) return kFull;
    const bool compared = Has(Safeguard::kFenceComparedByGrant) && !ExceedsAll(fence);
    if (auto stale = Stale(fence, compared ? meta.fence : FencingToken{})) return *stale;
    Put(key, token, ttl + owner.lock_delay);
    meta = {fence, token, Keeper{fence.value, attempt}, true, owner};
    return {.outcome = Outcome::kGranted, .fence = fence, .clock = Clock()};
  }
  if (entry->token != token || !adopt) return HeldBy(key);
  NodeReply reply =
      ExtendHeld(key, *entry, meta, ttl, {}, Keeper{fence.value, attempt}, Take::kAlways);
  reply.clock = Clock();
  return reply;
}

Owner Server::Described(const Entry& entry, const Meta& meta) {
  if (meta.token != entry.token) return {};
  Owner owner = meta.owner;
  owner.value = PublishedValue();
  owner.value_number = 0;
  owner.lock_delay = Duration();
  return owner;
}

NodeReply Server::Held(const Entry& entry, const Meta& meta) const {
  return {.outcome = Outcome::kHeld,
          .remaining = entry.expires - Clock(),
          .holder = OwnerToken(entry.token),
          .owner = Described(entry, meta)};
}

NodeReply Server::HeldBy(const std::string& key) {
  NodeReply reply = Held(*Find(key), meta_[key]);
  const std::vector<std::string> shares = Shares(key);
  NameLast(shares, reply);
  reply.sharers = static_cast<int>(shares.size());
  return reply;
}

void Server::NameLast(const std::vector<std::string>& places, NodeReply& reply) const {
  const Entry* last = nullptr;
  for (const std::string& place : places) {
    const Entry& entry = entries_.at(place);
    if (IsKept(OwnerToken(entry.token)) || (last != nullptr && last->expires >= entry.expires)) {
      continue;
    }
    last = &entry;
    const auto meta = meta_.find(place);
    const Owner owner = meta == meta_.end() ? Owner() : Described(entry, meta->second);
    reply.shares = {{.token = OwnerToken(entry.token), .owner = owner, .fence = {}}};
  }
}

Owner Server::Stamped(Owner owner, Duration ttl) const {
  owner.since = Clock();
  owner.lock_delay = DelayOf(ttl, owner, longest_);
  return owner;
}

NodeReply Server::HandOver(const std::string& key, const std::string& from, const std::string& to,
                           Duration ttl, FencingToken fence, AttemptId attempt, const Owner& by,
                           const Expected& expected, Duration longest) {
  if (auto mismatch = Mismatch(expected, true)) return *mismatch;
  NodeReply reply = Pass(key, from, to, ttl, fence, attempt, by, longest);
  Await(reply);
  return reply;
}

NodeReply Server::Pass(const std::string& key, const std::string& from, const std::string& to,
                       Duration ttl, FencingToken fence, AttemptId attempt, const Owner& by,
                       Duration longest) {
  longest_ = longest;
  const Owner owner = Stamped(by, ttl);
  if (Key(key).IsSemaphore()) {
    return HandOverSlot(Key(key), from, ttl,
                        {fence, to, Keeper{fence.value, attempt}, true, owner});
  }
  if (Key(key).IsSeveral()) {
    return HandOverTogether(key, from, ttl, {fence, to, Keeper{fence.value, attempt}, true, owner});
  }
  const Entry* const entry = Find(key);
  const bool held = entry != nullptr;
  Meta& meta = MetaOf(key);
  const bool again = held && entry->token == to && meta.keeper && meta.keeper->id == attempt;
  if (held && entry->token != from && !again) return HeldBy(key);
  if (full_) return kFull;
  const bool compared = Has(Safeguard::kFenceComparedByHandOver);
  if (auto stale = Stale(fence, compared ? meta.fence : FencingToken{})) return *stale;
  Put(key, to, ttl + owner.lock_delay);
  meta = {fence, to, Keeper{fence.value, attempt}, true, owner};
  return {.outcome = Outcome::kGranted, .fence = fence, .handed_over = held, .clock = Clock()};
}

NodeReply Server::ExtendHeld(const std::string& key, Entry& entry, Meta& meta, Duration ttl,
                             FencingToken raise_to, std::optional<Keeper> keeper, Take take) {
  bool ours = meta.token == entry.token;
  std::optional<Keeper> stored = ours ? meta.keeper : std::nullopt;
  const std::uint64_t number = stored ? stored->number : 0;
  if (!keeper) {
    if (stored) meta.keeper = stored = Keeper{number, {}};
  } else if (!stored || stored->id != keeper->id) {
    if (take == Take::kLast && number >= keeper->number && Has(Safeguard::kAdoptionsInOrder)) {
      return {.outcome = Outcome::kStaleFence, .keeper = Keeper{number, {}}};
    }
    if (take == Take::kAlways) keeper->number = number + 1;
    if (take != Take::kNo || (stored && number < keeper->number)) {
      meta.keeper = stored = keeper;
      meta.exclusive.reset();
    }
  }
  if (!ours) {
    Note(meta.fence);
    meta.fence = std::max(meta.fence, fences_.floor);
  }
  if (raise_to > meta.fence) {
    meta.fence = raise_to;
    if (!ours) meta.owner = {};
    meta.token = entry.token;
    meta.exclusive.reset();
    ours = true;
    Changed(key);
  }
  meta.unconfirmed = false;
  Duration expiry = ttl;
  if (ours && Has(Safeguard::kExtensionAddsDelay)) {
    const Duration left = entry.expires - Clock();
    const Duration ends = std::max(ttl, left - meta.owner.lock_delay);
    meta.owner.lock_delay = std::max(meta.owner.lock_delay, least_delay_);
    expiry = std::max(left, ends + DelayOf(ends, meta.owner, longest_));
    meta.owner.lock_delay = expiry - ends;
  }
  entry.expires = std::max(entry.expires, Clock() + expiry);
  KeepMeta(key, entry.expires);
  Note(meta.fence);
  if (stored && stored->id == AttemptId{}) stored.reset();
  return {.outcome = Outcome::kGranted,
          .fence = meta.fence,
          .fence_of_earlier_holder = !ours && meta.fence.value != 0,
          .keeper = stored,
          .owner = ours ? meta.owner : Owner()};
}

NodeReply Server::Extend(const std::string& key, const std::string& token, Duration ttl,
                         FencingToken raise_to, std::optional<Keeper> keeper, bool adopt,
                         const Expected& expected, FencingToken downgrade_from, Duration longest,
                         Duration least_delay) {
  if (auto mismatch = Mismatch(expected, false)) return *mismatch;
  longest_ = longest;
  least_delay_ = Has(Safeguard::kDelaysAgree) ? least_delay : Duration();
  const Take take = adopt ? Take::kLast : Take::kNo;
  if (downgrade_from.value != 0) Downgrade(key, token, downgrade_from);
  if (Key(key).IsSemaphore()) return ExtendSlot(Key(key), token, ttl, raise_to, keeper, take);
  if (Key(key).IsShared()) return ExtendShares(key, token, ttl, raise_to, keeper, take);
  if (Key(key).IsSeveral()) return ExtendTogether(key, token, ttl, raise_to, keeper, take);
  Entry* const entry = Find(key);
  if (entry == nullptr) return {.outcome = Outcome::kNotHeld};
  if (entry->token != token) {
    return {.outcome = Outcome::kHeld, .remaining = entry->expires - Clock()};
  }
  return ExtendHeld(key, *entry, MetaOf(key), ttl, raise_to, keeper, take);
}

NodeReply Server::Repair(const std::string& key, const std::string& token, Duration ttl,
                         FencingToken fence, std::optional<Keeper> keeper, bool counts,
                         const Owner& known, const Expected& expected,
                         std::optional<Duration> held_for, Duration longest) {
  if (auto mismatch = Mismatch(expected, counts)) return *mismatch;
  longest_ = longest;
  Owner owner = known;
  owner.since = held_for ? Clock() - *held_for : Duration();
  owner.lock_delay = DelayOf(ttl, owner, longest_);
  if (Key(key).IsSemaphore()) {
    return RepairSlot(Key(key), token, ttl, {fence, token, keeper, false, owner}, counts);
  }
  if (Key(key).IsShared()) {
    return RepairShares(key, token, ttl, {fence, token, keeper, false, owner}, counts);
  }
  if (Key(key).IsSeveral()) {
    return RepairTogether(key, token, ttl, {fence, token, keeper, false, owner}, counts);
  }
  if (full_) return kFull;
  Meta& meta = MetaOf(key);
  if (counts && meta.fence > fence && Has(Safeguard::kFenceComparedByPutBack)) {
    return {.outcome = Outcome::kStaleFence, .fence = meta.fence};
  }
  if (Find(key) != nullptr) return {.outcome = Outcome::kHeld};
  Put(key, token, ttl + owner.lock_delay);
  if (meta.fence > fence && Has(Safeguard::kRepairRaisesTheFence)) {
    fence = FencingToken{meta.fence.value + 1};
  }
  Note(fence);
  meta = {fence, token, keeper, false, owner};
  return {.outcome = Outcome::kGranted, .fence = fence};
}

std::vector<Server::Looked> Server::Look(const std::string& keys) {
  std::vector<Looked> all;
  Key(keys).ForEach([&](std::string_view name) {
    const std::string key(name);
    all.push_back({key, Find(key), &MetaOf(key)});
  });
  return all;
}

FencingToken Server::HighestFence(const std::vector<Looked>& all) {
  FencingToken highest;
  for (const Looked& one : all) highest = std::max(highest, one.meta->fence);
  return highest;
}

std::optional<NodeReply> Server::HeldLongest(const std::vector<Looked>& all,
                                             const std::function<bool(const Looked&)>& allowed) {
  const auto rank = [](const NodeReply& held) {
    return std::pair(LimitIn(held.holder.value()) != 0, held.remaining);
  };
  std::optional<NodeReply> longest;
  for (const Looked& one : all) {
    if (one.entry == nullptr || allowed(one)) continue;
    NodeReply held = HeldBy(one.key);
    if (!longest || rank(held) > rank(*longest)) longest = std::move(held);
  }
  return longest;
}

void Server::PutAll(const std::vector<Looked>& all, const std::string& token, Duration ttl,
                    const Meta& meta) {
  ttl += meta.owner.lock_delay;
  for (const Looked& one : all) {
    const Duration left = one.entry == nullptr ? Duration() : one.entry->expires - Clock();
    Put(one.key, token,
        one.entry != nullptr && one.entry->token == token ? std::max(left, ttl) : ttl);
    *one.meta = meta;
  }
}

NodeReply Server::AcquireTogether(const std::string& keys, const std::string& token, Duration ttl,
                                  const Meta& granted, bool adopt) {
  std::vector<Looked> all = Look(keys);
  const bool all_ours = std::ranges::all_of(all, [&](const Looked& one) {
    return adopt && one.entry != nullptr && one.entry->token == token;
  });
  if (all_ours) {
    NodeReply reply = ExtendAll(all, ttl, {}, granted.keeper, Take::kAlways);
    reply.clock = Clock();
    return reply;
  }
  if (auto held = HeldLongest(all, [](const Looked&) { return false; })) {
    const auto is_held = [](const Looked& one) { return one.entry != nullptr; };
    if (Has(Safeguard::kAllOrNothing) || std::ranges::all_of(all, is_held)) return *held;
    std::erase_if(all, is_held);
  }
  const FencingToken highest = HighestFence(all);
  if (auto stale = Stale(granted.fence, highest)) return *stale;
  if (full_) return kFull;
  PutAll(all, token, ttl, granted);
  return {.outcome = Outcome::kGranted, .fence = granted.fence, .clock = Clock()};
}

NodeReply Server::HandOverTogether(const std::string& keys, const std::string& from, Duration ttl,
                                   const Meta& granted) {
  const std::vector<Looked> all = Look(keys);
  const auto may_pass = [&](const Looked& one) {
    const bool again = one.entry->token == granted.token && one.meta->keeper &&
                       one.meta->keeper->id == granted.keeper->id;
    return one.entry->token == from || again;
  };
  if (auto held = HeldLongest(all, may_pass)) return *held;
  const FencingToken highest = HighestFence(all);
  if (auto stale = Stale(granted.fence, highest)) return *stale;
  if (full_) return kFull;
  const bool any = std::ranges::any_of(all, [](const Looked& one) { return one.entry != nullptr; });
  for (const Looked& one : all) {
    Put(one.key, granted.token, ttl + granted.owner.lock_delay);
    *one.meta = granted;
  }
  return {
      .outcome = Outcome::kGranted, .fence = granted.fence, .handed_over = any, .clock = Clock()};
}

NodeReply Server::ExtendTogether(const std::string& keys, const std::string& token, Duration ttl,
                                 FencingToken raise_to, std::optional<Keeper> keeper, Take take) {
  const std::vector<Looked> all = Look(keys);
  const auto is_ours = [&](const Looked& one) { return one.entry->token == token; };
  if (const auto held = HeldLongest(all, is_ours)) {
    return {.outcome = Outcome::kHeld, .remaining = held->remaining};
  }
  std::vector<Looked> ours;
  std::ranges::copy_if(all, std::back_inserter(ours),
                       [](const Looked& one) { return one.entry != nullptr; });
  if (ours.size() < all.size() && (ours.empty() || Has(Safeguard::kAllExtended))) {
    return {.outcome = Outcome::kNotHeld};
  }
  return ExtendAll(ours, ttl, raise_to, keeper, take);
}

NodeReply Server::ExtendAll(const std::vector<Looked>& all, Duration ttl, FencingToken raise_to,
                            std::optional<Keeper> keeper, Take take) {
  std::uint64_t kept = 0;
  for (const Looked& one : all) {
    const bool ours = one.meta->token == one.entry->token;
    if (keeper && ours && one.meta->keeper && one.meta->keeper->id != keeper->id) {
      kept = std::max(kept, one.meta->keeper->number);
    }
  }
  if (keeper && take == Take::kLast && kept >= keeper->number &&
      Has(Safeguard::kAdoptionsInOrder)) {
    return {.outcome = Outcome::kStaleFence, .keeper = Keeper{kept, {}}};
  }
  if (keeper && take == Take::kAlways) {
    keeper->number = kept + 1;
    take = Take::kLast;
  }
  std::optional<NodeReply> sum;
  for (const Looked& one : all) {
    const NodeReply reply = ExtendHeld(one.key, *one.entry, *one.meta, ttl, raise_to, keeper, take);
    if (!sum) {
      sum = reply;
    } else if (reply.fence != sum->fence ||
               reply.fence_of_earlier_holder != sum->fence_of_earlier_holder) {
      sum->fence = std::max(sum->fence, reply.fence);
      sum->fence_of_earlier_holder = true;
    }
  }
  return *sum;
}

NodeReply Server::RepairTogether(const std::string& keys, const std::string& token, Duration ttl,
                                 Meta granted, bool counts) {
  const std::vector<Looked> all = Look(keys);
  const FencingToken highest = HighestFence(all);
  if (counts && highest > granted.fence && Has(Safeguard::kFenceComparedByPutBack)) {
    return {.outcome = Outcome::kStaleFence, .fence = highest};
  }
  const auto is_ours = [&](const Looked& one) {
    return one.entry != nullptr && one.entry->token == token;
  };
  if (HeldLongest(all, is_ours) || std::ranges::all_of(all, is_ours)) {
    return {.outcome = Outcome::kHeld};
  }
  if (full_) return kFull;
  if (highest > granted.fence && Has(Safeguard::kRepairRaisesTheFence)) {
    granted.fence = FencingToken{highest.value + 1};
  }
  Note(granted.fence);
  PutAll(all, token, ttl, granted);
  return {.outcome = Outcome::kGranted, .fence = granted.fence};
}

NodeReply Server::Release(const std::string& key, const std::string& token,
                          std::optional<AttemptId> only_attempt, FencingToken seal, bool announce,
                          std::optional<Keeper> at_end_of, Keep keep) {
  if (!Key(key).IsSeveral()) {
    const Entry* const entry = Find(key);
    const bool plain = !only_attempt && !at_end_of && seal.value == 0 && !keep.any() &&
                       entry != nullptr && !IsMarker(entry->token);
    if (plain && awaited_until_ <= Clock()) announce = false;
    return ReleaseOne(key, token, only_attempt, seal, announce, at_end_of, keep);
  }
  std::optional<NodeReply> released;
  std::optional<NodeReply> stale;
  std::optional<NodeReply> refused;
  Key(key).ForEach([&](std::string_view name) {
    NodeReply one =
        ReleaseOne(std::string(name), token, only_attempt, seal, announce, at_end_of, keep);
    if (one.outcome == Outcome::kGranted) {
      if (released) {
        one.listeners = std::max(one.listeners, released->listeners);
        one.sealed = one.sealed && released->sealed;
        one.still_shared = one.still_shared && released->still_shared;
      }
      released = std::move(one);
    } else if (one.outcome == Outcome::kStaleFence) {
      if (!stale || stale->fence < one.fence) stale = std::move(one);
    } else if (!refused || one.outcome == Outcome::kHeld) {
      refused = std::move(one);
    }
  });
  if (released && refused && Has(Safeguard::kSealOfAllKeys)) released->sealed = false;
  if (stale) return *stale;
  const bool is_whole = !keep.any() || !refused;
  return released && is_whole ? *released : *refused;
}

NodeReply Server::ReleaseOne(const std::string& key, const std::string& token,
                             std::optional<AttemptId> only_attempt, FencingToken seal,
                             bool announce, std::optional<Keeper> at_end_of, Keep keep) {
  const Entry* const entry = Find(key);
  if (seal.value != 0 && !Has(Safeguard::kSealOnlyWhatIsHeld)) {
    MetaOf(key).fence = std::max(MetaOf(key).fence, seal);
  }
  if (entry == nullptr) return {.outcome = Outcome::kNotHeld};
  if (entry->token == kSharedMarker) {
    return ReleaseShare(key, token, only_attempt, seal, announce, at_end_of, keep);
  }
  if (const int limit = LimitIn(entry->token); limit != 0) {
    return ReleaseSlot(key, limit, token, only_attempt, seal, announce, at_end_of, keep);
  }
  if (keep.any() && entry->token == KeptValue(token) && Has(Safeguard::kKeptIsRemembered)) {
    Entry& taken = entries_.at(key);
    taken.expires = std::max(taken.expires, Clock() + TimeKept(keep, token, entry, MetaOf(key)));
    MetaOf(key).fence = std::max(MetaOf(key).fence, seal);
    KeepMeta(key, taken.expires);
    Note(seal);
    return {.outcome = Outcome::kGranted, .sealed = true};
  }
  if (entry->token != token) {
    return {.outcome = Outcome::kHeld, .remaining = entry->expires - Clock()};
  }
  Meta& meta = MetaOf(key);
  const std::optional<Keeper>& keeper = meta.keeper;
  if (only_attempt && !(meta.unconfirmed && keeper && keeper->id == *only_attempt)) {
    return {.outcome = Outcome::kNotHeld};
  }
  const bool is_its_own =
      at_end_of && keeper && (keeper->id == at_end_of->id || keeper->number < at_end_of->number);
  if (at_end_of && !is_its_own && Has(Safeguard::kEndComparesTheStream)) {
    return {.outcome = Outcome::kNotHeld};
  }
  NodeReply reply{.outcome = Outcome::kGranted};
  const Meta before = meta;
  if (seal.value != 0) {
    if (meta.fence >= seal) return {.outcome = Outcome::kStaleFence, .fence = meta.fence};
    meta.fence = seal;
    meta.exclusive.reset();
    if (Has(Safeguard::kSealsNoted)) Note(seal);
    KeepMeta(key, Clock());
    reply.sealed = true;
  }
  const Duration left = keep.any() ? TimeKept(keep, token, entry, before) : Duration();
  if (left > Duration()) {
    Put(key, KeptValue(token), left);
  } else {
    entries_.erase(key);
  }
  Changed(key);
  if (announce) reply.listeners = Announce(Topic::kReleases, key);
  return reply;
}

Duration Server::TimeKept(const Keep& keep, const std::string& token, const Entry* entry,
                          const Meta& meta) const {
  const Owner owner = meta.token == token ? meta.owner : Owner();
  if (keep.for_delay) {
    return entry == nullptr ? Duration() : std::min(entry->expires - Clock(), owner.lock_delay);
  }
  const bool known = owner.since != Duration() && Has(Safeguard::kKeepFromAcquisition);
  return keep.since_acquisition -
         (known ? std::max(Clock() - owner.since, Duration()) : Duration());
}

std::string Server::KeptValue(const std::string& token) { return std::string(kKeptPrefix) + token; }

NodeReply Server::Proclaim(const std::string& key, const std::string& token,
                           const PublishedValue& value, std::uint64_t number,
                           const Expected& expected) {
  if (auto mismatch = Mismatch(expected, false)) return *mismatch;
  std::vector<Meta*> metas;
  std::optional<NodeReply> refused;
  Key(key).ForEach([&](std::string_view name) {
    std::string place(name);
    const Entry* entry = Find(place);
    if (entry != nullptr && entry->token == kSharedMarker) {
      place = ShareKey(place, token);
      entry = Find(place);
    } else if (const int limit = entry == nullptr ? 0 : LimitIn(entry->token); limit != 0) {
      entry = nullptr;
      for (int slot = 1; slot <= limit && entry == nullptr; ++slot) {
        const Entry* const found = Find(SlotKey(std::string(name), slot));
        if (found == nullptr || found->token != token) continue;
        entry = found;
        place = SlotKey(std::string(name), slot);
      }
    }
    if (entry != nullptr && entry->token != token && !refused) {
      refused = {.outcome = Outcome::kHeld, .remaining = entry->expires - Clock()};
    } else if ((entry == nullptr || MetaOf(place).token != token) && !refused) {
      refused = {.outcome = Outcome::kNotHeld};
    }
    metas.push_back(&MetaOf(place));
    if (!refused) KeepMeta(place, entry->expires);
  });
  if (refused) return *refused;
  FencingToken last;
  for (const Meta* meta : metas) {
    last = std::max({last, meta->fence, FencingToken{meta->owner.value_number}});
  }
  if (last.value >= number && Has(Safeguard::kNewestValue)) {
    return {.outcome = Outcome::kStaleFence, .fence = last};
  }
  if (full_) return kFull;
  for (Meta* meta : metas) {
    meta->owner.value = value;
    meta->owner.value_number = number;
  }
  Key(key).ForEach([this](std::string_view name) { Changed(std::string(name)); });
  return {.outcome = Outcome::kGranted};
}

int Server::Announce(Topic topic, const std::string& key) {
  const auto heard = listeners_[{topic, key}];
  for (const auto& [who, listener] : heard) listener(key);
  return static_cast<int>(heard.size());
}

void Server::Changed(const std::string& place) {
  if (!is_observed()) return;
  const std::string key = place.substr(0, place.find_first_of({kShareMark, kSlotMark}));
  (void)Announce(Topic::kChanges, key);
}

std::string Server::ShareKey(const std::string& key, const std::string& token) {
  return key + kShareMark + token;
}

std::vector<std::string> Server::Shares(const std::string& key) {
  const std::string prefix = key + kShareMark;
  std::vector<std::string> shares;
  const Entry* const marker = Find(key);
  if (marker == nullptr || marker->token != kSharedMarker) return shares;
  for (auto it = entries_.lower_bound(prefix);
       it != entries_.end() && it->first.starts_with(prefix); ++it) {
    if (it->second.expires > Clock()) shares.push_back(it->first);
  }
  return shares;
}

std::vector<Server::Looked> Server::LookAtShares(const std::vector<Looked>& all,
                                                 const std::string& token) {
  std::vector<Looked> shares;
  for (const Looked& one : all) {
    const std::string share = ShareKey(one.key, token);
    const bool is_shared = one.entry != nullptr && IsShared(one);
    shares.push_back({share, is_shared ? Find(share) : nullptr, &MetaOf(share)});
  }
  return shares;
}

bool Server::IsShared(const Looked& one) { return one.entry->token == kSharedMarker; }

bool Server::HasAll(const std::vector<Looked>& shares) {
  return std::ranges::all_of(shares, [](const Looked& share) { return share.entry != nullptr; });
}

// The highest fence of an exclusive holder, or that a share was sealed with.
FencingToken Server::HighestForShares(const std::vector<Looked>& all,
                                      const std::vector<Looked>& shares) {
  FencingToken highest;
  for (std::size_t i = 0; i < all.size(); ++i) {
    highest = std::max(highest, all[i].meta->exclusive.value_or(all[i].meta->fence));
    const bool taken = all[i].entry != nullptr && !IsShared(all[i]);
    if (!taken && shares[i].entry == nullptr) highest = std::max(highest, shares[i].meta->fence);
  }
  return highest;
}

void Server::RememberFence(Meta& meta, FencingToken fence, FencingToken seal) {
  const FencingToken exclusive = meta.exclusive.value_or(meta.fence);
  const FencingToken all =
      Has(Safeguard::kExclusiveAboveShares) ? std::max(meta.fence, fence) : meta.fence;
  meta = {all, {}, {}, false, {}, exclusive, std::max(meta.sealed, seal)};
}

void Server::Shared(const std::vector<Looked>& all, const std::vector<Looked>& shares,
                    FencingToken fence) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Duration expires = entries_.at(shares[i].key).expires;
    Entry& marker = entries_[all[i].key];
    const bool was_shared = all[i].entry != nullptr;
    if (!was_shared) {
      marker = {std::string(kSharedMarker), expires};
    } else if (Has(Safeguard::kMarkerOutlivesShares)) {
      marker.expires = std::max(marker.expires, expires);
    }
    RememberFence(*all[i].meta, fence);
    KeepMeta(all[i].key, marker.expires);
  }
}

NodeReply Server::AcquireShares(const std::string& keys, const std::string& token, Duration ttl,
                                const Meta& granted, bool adopt) {
  const std::vector<Looked> all = Look(Key(keys).Exclusive().str());
  if (const auto held = HeldLongest(all, IsShared)) return *held;
  for (const Looked& one : all) {
    if (one.entry == nullptr) ForgetShares(one.key);
  }
  const std::vector<Looked> shares = LookAtShares(all, token);
  if (adopt && HasAll(shares)) {
    NodeReply reply = ExtendAll(shares, ttl, {}, granted.keeper, Take::kAlways);
    if (reply.outcome == Outcome::kGranted) Shared(all, shares, reply.fence);
    reply.clock = Clock();
    return reply;
  }
  for (const Looked& share : shares) {
    if (share.entry != nullptr) return Held(*share.entry, {});
  }
  Duration intended{};
  for (const Looked& one : all) {
    const auto intent = intents_.find(one.key);
    if (intent != intents_.end()) intended = std::max(intended, intent->second.second - Clock());
  }
  if (intended > Duration() && Has(Safeguard::kIntentStopsShares)) {
    return {.outcome = Outcome::kHeld,
            .remaining = intended,
            .holder = OwnerToken(std::string(kSharedMarker))};
  }
  const bool compared = Has(Safeguard::kSharesAboveExclusive);
  const FencingToken highest = compared ? HighestForShares(all, shares) : FencingToken{};
  if (auto stale = Stale(granted.fence, highest)) return *stale;
  if (full_) return kFull;
  PutAll(shares, token, ttl, granted);
  Shared(all, shares, granted.fence);
  return {.outcome = Outcome::kGranted, .fence = granted.fence, .clock = Clock()};
}

// All keys or none.
void Server::Downgrade(const std::string& keys, const std::string& token, FencingToken from) {
  const std::vector<Looked> all = Look(Key(keys).Exclusive().str());
  const bool ours = std::ranges::all_of(all, [&](const Looked& one) {
    if (one.entry == nullptr || one.entry->token != token) return false;
    return one.meta->fence <= from || !Has(Safeguard::kDowngradeComparesTheFence);
  });
  if (!ours) return;
  for (const Looked& one : all) {
    ForgetShares(one.key);
    const std::string share = ShareKey(one.key, token);
    entries_[share] = *one.entry;
    MetaOf(share) = *one.meta;
    KeepMeta(share, one.entry->expires);
    *one.entry = {std::string(kSharedMarker), one.entry->expires};
    Changed(one.key);
  }
}

NodeReply Server::ExtendShares(const std::string& keys, const std::string& token, Duration ttl,
                               FencingToken raise_to, std::optional<Keeper> keeper, Take take) {
  const std::vector<Looked> all = Look(Key(keys).Exclusive().str());
  if (const auto held = HeldLongest(all, IsShared)) {
    return {.outcome = Outcome::kHeld, .remaining = held->remaining};
  }
  const std::vector<Looked> shares = LookAtShares(all, token);
  if (!HasAll(shares)) return {.outcome = Outcome::kNotHeld};
  NodeReply reply = ExtendAll(shares, ttl, raise_to, keeper, take);
  if (reply.outcome == Outcome::kGranted) Shared(all, shares, reply.fence);
  return reply;
}

NodeReply Server::RepairShares(const std::string& keys, const std::string& token, Duration ttl,
                               Meta granted, bool counts) {
  const std::vector<Looked> all = Look(Key(keys).Exclusive().str());
  const std::vector<Looked> shares = LookAtShares(all, token);
  const FencingToken highest = HighestForShares(all, shares);
  if (counts && highest > granted.fence && Has(Safeguard::kFenceComparedByPutBack)) {
    return {.outcome = Outcome::kStaleFence, .fence = highest};
  }
  if (HeldLongest(all, IsShared) || HasAll(shares)) return {.outcome = Outcome::kHeld};
  if (full_) return kFull;
  for (const Looked& one : all) {
    if (one.entry == nullptr) ForgetShares(one.key);
  }
  if (highest > granted.fence) granted.fence = FencingToken{highest.value + 1};
  Note(granted.fence);
  PutAll(shares, token, ttl, granted);
  Shared(all, shares, granted.fence);
  return {.outcome = Outcome::kGranted, .fence = granted.fence};
}

NodeReply Server::ReleaseShare(const std::string& key, const std::string& token,
                               std::optional<AttemptId> only_attempt, FencingToken seal,
                               bool announce, std::optional<Keeper> at_end_of, Keep keep) {
  const std::string share = ShareKey(key, token);
  const Entry* const entry = Find(share);
  const std::string kept = ShareKey(key, KeptValue(token));
  const Duration left = keep.any() ? TimeKept(keep, token, entry, MetaOf(share)) : Duration();
  const auto keep_taken = [&] {
    const Entry* const before = Find(kept);
    const Duration longer =
        std::max(left, before == nullptr ? Duration() : before->expires - Clock());
    Put(kept, KeptValue(token), longer);
    Entry& marker = entries_.at(key);
    marker.expires = std::max(marker.expires, Clock() + longer);
  };
  if (entry == nullptr && keep.any() && Find(kept) != nullptr &&
      Has(Safeguard::kKeptIsRemembered)) {
    keep_taken();
    MetaOf(share).fence = std::max(MetaOf(share).fence, seal);
    KeepMeta(share, Clock() + left);
    Note(seal);
    return {.outcome = Outcome::kGranted, .sealed = true, .still_shared = true};
  }
  NodeReply reply = ReleaseOne(share, token, only_attempt, seal, false, at_end_of, {});
  if (reply.outcome != Outcome::kGranted) return reply;
  if (seal.value != 0) {
    RememberFence(MetaOf(key), seal, seal);
    KeepMeta(key, entries_.at(key).expires);
  }
  if (IsUsedOnce(OwnerToken(token)) && left <= Duration()) meta_.erase(share);
  if (left > Duration()) keep_taken();
  const std::vector<std::string> others = Shares(key);
  if (others.empty() || !Has(Safeguard::kMarkerStaysForOthers)) {
    entries_.erase(key);
    if (announce) reply.listeners = Announce(Topic::kReleases, key);
    return reply;
  }
  Duration last{};
  for (const std::string& other : others) last = std::max(last, entries_.at(other).expires);
  entries_.at(key).expires = last;
  reply.still_shared = true;
  return reply;
}

// Without the marker, shares count for nothing.
void Server::ForgetShares(const std::string& key) {
  const std::string prefix = key + kShareMark;
  std::erase_if(entries_, [&](const auto& entry) { return entry.first.starts_with(prefix); });
}

std::string Server::SlotKey(const std::string& key, int slot) {
  return key + kSlotMark + std::to_string(slot);
}

Server::Semaphore Server::LookAtSlots(const Key& key, const std::string& token) {
  const std::string name(key.names());
  Semaphore semaphore{.key = name, .slot = key.slot(), .place = SlotKey(name, key.slot())};
  Entry* const entry = Find(name);
  semaphore.meta = &MetaOf(name);
  semaphore.slot_meta = &MetaOf(semaphore.place);
  semaphore.slots.resize(static_cast<std::size_t>(key.limit()));
  if (entry == nullptr) return semaphore;
  const int limit = LimitIn(entry->token);
  if (Has(Safeguard::kLimitCompared) ? limit != key.limit() : limit == 0) {
    semaphore.other_use = HeldBy(name);
    return semaphore;
  }
  semaphore.marked = true;
  for (int slot = 1; slot <= key.limit(); ++slot) {
    Entry* const holder = Find(SlotKey(name, slot));
    semaphore.slots[static_cast<std::size_t>(slot - 1)] = holder;
    if (holder != nullptr && holder->token == token) semaphore.own = slot;
  }
  return semaphore;
}

NodeReply Server::SlotTaken(const Semaphore& semaphore) const {
  NodeReply reply{.outcome = Outcome::kHeld,
                  .remaining = Duration::max(),
                  .holder = OwnerToken(SemaphoreMarker(semaphore.limit())),
                  .own_slot = semaphore.own};
  for (std::size_t i = 0; i < semaphore.slots.size(); ++i) {
    const Entry* const slot = semaphore.slots[i];
    reply.used_slots[i] = slot != nullptr;
    reply.remaining =
        std::min(reply.remaining, slot == nullptr ? Duration() : slot->expires - Clock());
  }
  if (semaphore.own != 0) {
    reply.remaining =
        semaphore.slots[static_cast<std::size_t>(semaphore.own - 1)]->expires - Clock();
  } else if (std::cmp_equal(reply.used_slots.count(), semaphore.limit())) {
    std::vector<std::string> places;
    for (int slot = 1; slot <= semaphore.limit(); ++slot) {
      places.push_back(SlotKey(semaphore.key, slot));
    }
    NameLast(places, reply);
  }
  return reply;
}

FencingToken Server::HighestForSlot(const Semaphore& semaphore) {
  const Meta& meta = *semaphore.meta;
  const FencingToken sealed = Has(Safeguard::kSlotAboveSeals) ? meta.sealed : FencingToken{};
  return std::max({meta.exclusive.value_or(meta.fence), sealed, semaphore.slot_meta->fence});
}

void Server::HasSlot(const Semaphore& semaphore, FencingToken fence, FencingToken seal) {
  const Duration expires = entries_.at(semaphore.place).expires;
  if (!semaphore.marked) {
    entries_[semaphore.key] = {SemaphoreMarker(semaphore.limit()), expires};
    for (int slot = 1; slot <= semaphore.limit(); ++slot) {
      if (slot != semaphore.slot) entries_.erase(SlotKey(semaphore.key, slot));
    }
  } else if (Has(Safeguard::kMarkerOutlivesShares)) {
    Entry& marker = entries_.at(semaphore.key);
    marker.expires = std::max(marker.expires, expires);
  }
  RememberFence(*semaphore.meta, fence, seal);
  KeepMeta(semaphore.key, entries_.at(semaphore.key).expires);
}

NodeReply Server::AcquireSlot(const Key& key, const std::string& token, Duration ttl,
                              const Meta& granted, bool adopt) {
  const Semaphore semaphore = LookAtSlots(key, token);
  if (semaphore.other_use) return *semaphore.other_use;
  if (adopt && semaphore.own == semaphore.slot) {
    NodeReply reply = ExtendHeld(semaphore.place, *semaphore.entry(), *semaphore.slot_meta, ttl, {},
                                 granted.keeper, Take::kAlways);
    if (reply.outcome == Outcome::kGranted) HasSlot(semaphore, reply.fence);
    reply.clock = Clock();
    return reply;
  }
  const bool has_another = semaphore.own != 0 && Has(Safeguard::kOneSlotOfAToken);
  if (has_another || semaphore.entry() != nullptr) return SlotTaken(semaphore);
  const FencingToken highest = HighestForSlot(semaphore);
  if (auto stale = Stale(granted.fence, highest)) return *stale;
  if (full_) return kFull;
  Put(semaphore.place, token, ttl + granted.owner.lock_delay);
  *semaphore.slot_meta = granted;
  HasSlot(semaphore, granted.fence);
  return {.outcome = Outcome::kGranted, .fence = granted.fence, .clock = Clock()};
}

NodeReply Server::ExtendSlot(const Key& key, const std::string& token, Duration ttl,
                             FencingToken raise_to, std::optional<Keeper> keeper, Take take) {
  Semaphore semaphore = LookAtSlots(key, token);
  if (semaphore.other_use) {
    return {.outcome = Outcome::kHeld, .remaining = semaphore.other_use->remaining};
  }
  if (semaphore.own != 0 && (semaphore.slot == 0 || !Has(Safeguard::kSlotCompared))) {
    semaphore.slot = semaphore.own;
    semaphore.place = SlotKey(semaphore.key, semaphore.own);
    semaphore.slot_meta = &MetaOf(semaphore.place);
  }
  if (semaphore.own == 0 && semaphore.slot == 0) return {.outcome = Outcome::kNotHeld};
  if (semaphore.own != semaphore.slot) {
    const Entry* const other = semaphore.entry();
    if (other == nullptr) return {.outcome = Outcome::kNotHeld};
    return {.outcome = Outcome::kHeld, .remaining = other->expires - Clock()};
  }
  NodeReply reply = ExtendHeld(semaphore.place, *semaphore.entry(), *semaphore.slot_meta, ttl,
                               raise_to, keeper, take);
  if (reply.outcome != Outcome::kGranted) return reply;
  HasSlot(semaphore, reply.fence);
  reply.own_slot = semaphore.own;
  return reply;
}

NodeReply Server::HandOverSlot(const Key& key, const std::string& from, Duration ttl,
                               const Meta& granted) {
  const Semaphore semaphore = LookAtSlots(key, granted.token);
  if (semaphore.other_use) return *semaphore.other_use;
  const Entry* const entry = semaphore.entry();
  const bool again = entry != nullptr && entry->token == granted.token &&
                     semaphore.slot_meta->keeper &&
                     semaphore.slot_meta->keeper->id == granted.keeper->id;
  const bool held = entry != nullptr;
  const bool anothers = held && entry->token != from && !again;
  const bool has_another = semaphore.own != 0 && semaphore.own != semaphore.slot;
  if (anothers || has_another) return SlotTaken(semaphore);
  const FencingToken highest = HighestForSlot(semaphore);
  if (auto stale = Stale(granted.fence, highest)) return *stale;
  if (full_) return kFull;
  Put(semaphore.place, granted.token, ttl + granted.owner.lock_delay);
  *semaphore.slot_meta = granted;
  HasSlot(semaphore, granted.fence, IsUsedOnce(OwnerToken(from)) ? FencingToken{} : granted.fence);
  Entry& marker = entries_.at(semaphore.key);
  marker.expires = Duration();
  for (int slot = 1; slot <= semaphore.limit(); ++slot) {
    const Entry* const holder = Find(SlotKey(semaphore.key, slot));
    if (holder != nullptr) marker.expires = std::max(marker.expires, holder->expires);
  }
  return {
      .outcome = Outcome::kGranted, .fence = granted.fence, .handed_over = held, .clock = Clock()};
}

NodeReply Server::RepairSlot(const Key& key, const std::string& token, Duration ttl, Meta granted,
                             bool counts) {
  const Semaphore semaphore = LookAtSlots(key, token);
  const FencingToken exclusive = semaphore.meta->exclusive.value_or(semaphore.meta->fence);
  const FencingToken highest = std::max(exclusive, semaphore.slot_meta->fence);
  if (semaphore.other_use) {
    return {.outcome = Outcome::kHeld, .remaining = semaphore.other_use->remaining};
  }
  if (counts && highest > granted.fence && Has(Safeguard::kFenceComparedByPutBack)) {
    return {.outcome = Outcome::kStaleFence, .fence = highest};
  }
  if (semaphore.own != 0 || semaphore.entry() != nullptr) return {.outcome = Outcome::kHeld};
  if (full_) return kFull;
  if (highest > granted.fence) granted.fence = FencingToken{highest.value + 1};
  Note(granted.fence);
  Put(semaphore.place, token, ttl + granted.owner.lock_delay);
  *semaphore.slot_meta = granted;
  HasSlot(semaphore, granted.fence);
  return {.outcome = Outcome::kGranted, .fence = granted.fence};
}

NodeReply Server::ReleaseSlot(const std::string& key, int limit, const std::string& token,
                              std::optional<AttemptId> only_attempt, FencingToken seal,
                              bool announce, std::optional<Keeper> at_end_of, Keep keep) {
  std::string own;
  std::string kept;
  for (int slot = 1; slot <= limit; ++slot) {
    const std::string place = SlotKey(key, slot);
    const Entry* const entry = Find(place);
    if (entry != nullptr && entry->token == token) own = place;
    if (entry != nullptr && entry->token == KeptValue(token)) kept = place;
  }
  if (own.empty() && keep.any()) own = kept;
  if (own.empty()) return {.outcome = Outcome::kNotHeld};
  NodeReply reply = ReleaseOne(own, token, only_attempt, seal, false, at_end_of, keep);
  if (reply.outcome != Outcome::kGranted) return reply;
  if (seal.value != 0) {
    RememberFence(MetaOf(key), seal, seal);
    KeepMeta(key, entries_.at(key).expires);
  }
  Duration last{};
  for (int slot = 1; slot <= limit; ++slot) {
    const Entry* const entry = Find(SlotKey(key, slot));
    if (entry != nullptr) last = std::max(last, entry->expires);
  }
  if (last == Duration() || !Has(Safeguard::kMarkerStaysForOthers)) {
    entries_.erase(key);
  } else {
    entries_.at(key).expires = last;
  }
  if (announce) reply.listeners = Announce(Topic::kReleases, key);
  return reply;
}

NodeReply Server::Intend(const std::string& key, AttemptId id, Duration ttl) {
  const auto found = intents_.find(key);
  const bool anothers =
      found != intents_.end() && found->second.second > Clock() && found->second.first != id;
  if (anothers) return {.outcome = Outcome::kGranted};
  if (ttl == Duration()) {
    intents_.erase(key);
  } else if (full_) {
    return kFull;
  } else {
    intents_[key] = {id, Clock() + ttl};
  }
  return {.outcome = Outcome::kGranted};
}

void Server::Subscribe(Topic topic, const std::string& key, const void* who, Listener listener) {
  Unsubscribe(topic, key, who);
  listeners_[{topic, key}].emplace_back(who, std::move(listener));
}

void Server::Unsubscribe(Topic topic, const std::string& key, const void* who) {
  std::erase_if(listeners_[{topic, key}], [who](const auto& one) { return one.first == who; });
}

NodeReply Server::Inspect(const std::string& key, const Expected& expected, bool observe) {
  if (auto mismatch = Mismatch(expected, true)) return *mismatch;
  if (observe && observed_until_ - Clock() < kAnnounces / 2 && !full_) {
    observed_until_ = Clock() + kAnnounces;
  }
  NodeReply reply = Read(key);
  reply.clock = Clock();
  if (read_shown_) read_shown_(key, reply);
  return reply;
}

NodeReply Server::Read(const std::string& key) {
  const Entry* const entry = Find(key);
  const Meta& meta = MetaOf(key);
  if (entry == nullptr) return {.outcome = Outcome::kNotHeld, .fence = meta.fence};
  NodeReply reply = Held(*entry, meta);
  reply.outcome = Outcome::kGranted;
  reply.fence = meta.fence;
  if (meta.token == entry->token) reply.owner = meta.owner;
  reply.fence_of_earlier_holder = !IsMarker(entry->token) && meta.token != entry->token;
  std::vector<std::pair<std::string, int>> parts;  // with their slots
  for (std::string& share : Shares(key)) parts.emplace_back(std::move(share), 0);
  for (int slot = 1; slot <= LimitIn(entry->token); ++slot) {
    if (Find(SlotKey(key, slot)) != nullptr) parts.emplace_back(SlotKey(key, slot), slot);
  }
  for (const auto& [share, slot] : parts) {
    if (reply.shares.size() == kMostListedShares) break;
    const Entry& of = entries_.at(share);
    const Meta& known = MetaOf(share);
    Share one{.token = OwnerToken(of.token),
              .remaining = of.expires - Clock(),
              .owner = known.token == of.token ? known.owner : Owner(),
              .fence = known.fence,
              .slot = slot};
    if (TakeDelay(one.token, one.owner, one.remaining)) {
      reply.shares.push_back(std::move(one));
    } else {
      reply.keeping.push_back(std::move(one.token));
    }
  }
  const bool in_parts = IsMarker(entry->token);
  if (in_parts ? !reply.shares.empty() || parts.empty()
               : TakeDelay(reply.holder, reply.owner, reply.remaining)) {
    return reply;
  }
  if (!in_parts) reply.keeping.push_back(reply.holder);
  reply.outcome = Outcome::kNotHeld;
  reply.holder = OwnerToken();
  reply.owner = Owner();
  return reply;
}

bool Server::SetNx(const std::string& key, const std::string& token, Duration ttl) {
  if (Find(key) != nullptr) return false;
  entries_[key] = {token, Clock() + ttl};
  return true;
}

NodeReply Server::Probe(const std::string& key) {
  const auto all = Look(key);
  const bool free = std::ranges::all_of(all, [](const auto& one) { return one.entry == nullptr; });
  return {.outcome = free ? Outcome::kNotHeld : Outcome::kHeld};
}

NodeReply Server::Mark(const std::string& from, const std::string& to, const std::string& stamp) {
  if (stored_.mark == from && (stamp.empty() || stamp == stored_.stamp)) {
    stored_.mark = to;
    if (Has(Safeguard::kMarkRaisesFloor)) fences_.floor = fences_.earlier = fences_.ceiling;
  }
  return ReadMark();
}

NodeReply Server::TryGrant() const {
  if (full_) return kFull;
  return {.outcome = Outcome::kGranted};
}

NodeReply Server::ReadMark() {
  return {
      .outcome = Outcome::kGranted, .stamp = stored_.stamp, .mark = stored_.mark, .clock = Clock()};
}

std::optional<NodeReply> Server::Mismatch(const Expected& expected, bool needs_mark) const {
  if (!expected.stamp.empty() && expected.stamp != stored_.stamp) {
    return NodeReply{.outcome = Outcome::kOtherSet, .stamp = stored_.stamp, .mark = stored_.mark};
  }
  if (needs_mark && !expected.mark.empty() && expected.mark != stored_.mark) {
    return NodeReply{
        .outcome = Outcome::kQuarantined, .stamp = stored_.stamp, .mark = stored_.mark};
  }
  return std::nullopt;
}

void Server::BeginWait(std::uint64_t epoch, Duration wait) {
  wait_epoch_ = epoch;
  wait_until_ = std::max(wait_until_, Clock() + wait);
}

Duration Server::WaitLeft() const {
  const bool waits = stored_.record && wait_epoch_ == stored_.record->epoch;
  if (!waits || !Has(Safeguard::kWaitBetweenChanges)) return {};
  return std::max(wait_until_ - Clock(), Duration{});
}

bool Server::CarryOut(const SetStep& step) {
  const bool has_record = stored_.record.has_value();
  const std::uint64_t epoch = has_record ? stored_.record->epoch : 0;
  switch (step.kind) {
    case SetStep::Kind::kRead:
      return true;
    case SetStep::Kind::kEnroll:
      if (!stored_.member.empty() && (stored_.member != step.replaces || has_record)) return false;
      stored_ = {.member = step.member, .mark = step.mark};
      return true;
    case SetStep::Kind::kFound:
      if (stored_.member.empty() || stored_.member != step.member || has_record) return false;
      if (!stored_.accepted) stored_.accepted = Proposal{{}, step.record};
      return stored_.accepted->record == step.record;
    case SetStep::Kind::kPrepare:
      if (stored_.mark != step.mark || epoch != step.epoch || !has_record ||
          step.ballot <= stored_.promised) {
        return false;
      }
      stored_.promised = step.ballot;
      return true;
    case SetStep::Kind::kAccept:
      if ((stored_.mark != step.mark && Has(Safeguard::kMarkComparedByAccept)) ||
          epoch != step.epoch || !has_record ||
          (step.ballot < stored_.promised && Has(Safeguard::kPromise))) {
        return false;
      }
      if (!step.back && WaitLeft() > Duration{}) return false;
      stored_.promised = step.ballot;
      stored_.accepted = Proposal{step.ballot, step.record};
      if (oracle_ != nullptr) oracle_->Accepted(*stored_.record, stored_.member, *stored_.accepted);
      stored_.stamp = StampOf(step.record);
      BeginWait(epoch + 1, step.record.wait);
      return true;
    case SetStep::Kind::kLearn:
      if (stored_.member.empty() || stored_.member != step.member) return false;
      if (has_record && *stored_.record == step.record) return true;
      if (epoch >= step.record.epoch) return false;
      if (!stored_.accepted || stored_.accepted->record != step.record) {
        BeginWait(step.record.epoch, step.record.wait);
      }
      stored_.record = step.record;
      if (oracle_ != nullptr) oracle_->Learned(step.record);
      stored_.promised = {};
      stored_.accepted.reset();
      stored_.stamp = StampOf(step.record);
      return true;
    case SetStep::Kind::kReadmit:
      if (stored_.mark != step.mark) return false;
      if (!step.mark.empty() && stored_.readmitted == step.mark) return false;
      stored_ = {.member = step.member,
                 .record = step.record,
                 .promised = step.ballot,
                 .accepted = step.accepted,
                 .readmitted = step.new_mark,
                 .stamp = StampOf(step.accepted ? step.accepted->record : step.record),
                 .mark = step.new_mark};
      BeginWait(step.record.epoch + (step.accepted ? 1 : 0), WaitAfterReadmission(step));
      return true;
  }
  return false;
}

SetReply Server::AskSet(const SetStep& step) {
  if (full_ && step.kind != SetStep::Kind::kRead) {
    ++refused_;
    return {.state = {}, .error = kFull.message};
  }
  SetReply reply{.answered = true, .done = CarryOut(step), .state = stored_};
  reply.state.wait = WaitLeft();
  return reply;
}

NodeReply Server::ReadSettings() const {
  return {.outcome = Outcome::kGranted,
          .settings = NodeSettings{.durable = durable_, .eviction = eviction_}};
}

void Server::Evict(const std::string& key) { eviction_.evicted += entries_.erase(key); }

NodeFacts Server::Facts() const {
  return {.run_id = "run-" + std::to_string(run_),
          .mark = stored_.mark,
          .set = stored_,
          .durable = durable_,
          .eviction = eviction_,
          .uptime = std::chrono::floor<std::chrono::seconds>(Clock() - started_),
          .clock = Clock(),
          .asked = {},
          .answered = {}};
}

void Server::LoseData() {
  entries_.clear();
  intents_.clear();
  meta_.clear();
  kept_until_.clear();
  fences_ = {};
  awaited_until_ = {};
  stored_ = {};
  wait_epoch_ = 0;
  wait_until_ = {};
  observed_until_ = {};
}

void Server::Restore() {
  stored_ = snapshot_.stored;
  wait_epoch_ = snapshot_.wait_epoch;
  wait_until_ = snapshot_.wait_until;
  entries_ = snapshot_.entries;
  meta_ = snapshot_.meta;
  kept_until_ = snapshot_.kept_until;
  fences_ = snapshot_.fences;
}

void Server::Restart() {
  ++run_;
  eviction_.evicted = 0;
  started_ = Clock();
}

std::optional<std::string> Server::Holder(const std::string& key) {
  const Entry* const entry = Find(key);
  if (entry == nullptr) return std::nullopt;
  return entry->token;
}

std::size_t Server::keys() {
  std::erase_if(entries_, [this](const auto& entry) { return entry.second.expires <= Clock(); });
  return entries_.size();
}

}  // namespace redlock::sim
