// The script steps on real nodes.
#include "server/redis/scripts.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/core/nodes/kept.h"
#include "tests/redis/node_fixture.h"
#include "tests/sim/server.h"

namespace redlock::redis {
namespace {

constexpr std::int64_t kWindow = 20'000;  // ms: see the record of fences in steps.lua

std::int64_t NowInMillis(const RedisServer& server) {
  return std::stoll(server.Cli("TIME")) * 1000;
}

std::int64_t CurrentWindow(const RedisServer& server) { return NowInMillis(server) / kWindow; }

void StoreFences(const RedisServer& server, std::int64_t window, std::uint64_t floor,
                 std::uint64_t ceiling, std::uint64_t earlier) {
  std::array<char, 80> text{};
  (void)std::snprintf(text.data(), text.size(), "'%lld %016llu %016llu %016llu'",
                      static_cast<long long>(window), static_cast<unsigned long long>(floor),
                      static_cast<unsigned long long>(ceiling),
                      static_cast<unsigned long long>(earlier));
  ASSERT_EQ(server.Cli("SET redlockd:fences " + std::string(text.data())), "OK");
}

// 0 if nothing is stored.
std::uint64_t StoredCeiling(const RedisServer& server) {
  const std::string record = server.Cli("GET redlockd:fences");
  const std::size_t floor = record.find(' ');
  if (floor == std::string::npos) return 0;
  return std::stoull(record.substr(record.find(' ', floor + 1)));
}

// The simulation's model of a node and the real scripts must give the same replies to all requests.
// The random choices are seeded; nothing expires during the test.
class Agreement : public NodeTest {
 protected:
  // The replies are compared, however slow the machine is.
  Agreement() { options.node_timeout = seconds(5); }

  // Asks for `count` steps in one turn of the loop, so that they share script calls, and compares
  // the replies with the model's.
  void AnySteps(std::uint64_t count) {
    FreeKeptKeys();
    StayInOneWindow();
    if (observed) GoOnObserving();
    DoOnStrand([&] {
      for (std::uint64_t i = 0; i < count; ++i) AnyStep();
    });
    ASSERT_TRUE(RunUntil([&] {
      return std::ranges::all_of(asked,
                                 [](const Asked& each) { return !each.sink->replies.empty(); });
    }));
    for (const Asked& each : std::exchange(asked, {})) Compare(each);
    if (!observed) return;
    HearAll();
    EXPECT_EQ(changes.heard, expected) << "step " << steps;
    announced += expected.size();
    changes.heard.clear();
    expected.clear();
  }
  // From now on, the announcements of changes are compared too.
  void ObserveKeys(std::uint64_t count) {
    observed = true;
    node->ListenTo(&changes);
    DoOnStrand([&] {
      for (std::uint64_t i = 0; i < count; ++i) {
        const Key key("k" + std::to_string(i));
        node->Subscribe(Topic::kChanges, key);
        model.Subscribe(Topic::kChanges, key.str(), this,
                        [this](const std::string& changed) { expected.insert(changed); });
      }
    });
    DoOnStrand([&] { node->Subscribe(Topic::kChanges, Key(kLast)); });
    ASSERT_TRUE(RunUntil([&] { return changes.listening == count + 1; }));
  }
  // A key can be announced by several calls, and announcements have a connection of their own. They
  // arrive in order, so a last one tells that all have arrived.
  void HearAll() {
    const std::size_t before = changes.last;
    const std::string token = "last";
    const NodeReply changed =
        ++rounds % 2 != 0 ? Acquire(kLast, token, rounds, seconds(60)) : Release(kLast, token);
    ASSERT_EQ(changed.outcome, Outcome::kGranted) << changed.message;
    ASSERT_TRUE(RunUntil([&] { return changes.last > before; })) << steps;
  }
  // The clock of the model stands still, so its floor does not rise.
  void StayInOneWindow() {
    if (loop.Now() < next_window) return;
    StoreFences(server, CurrentWindow(server), 0, StoredCeiling(server), 0);
    next_window = loop.Now() + seconds(5);
  }
  void GoOnObserving() {
    const Key any("k0");
    (void)Ask([&](auto sink) { node->Inspect({.key = any, .observe = true}, sink); });
    (void)model.Inspect("k0", {}, true);
  }
  class Changes final : public AnnouncementSink {
   public:
    void OnListening(NodeIndex /*node*/, Topic /*topic*/, const Key& /*key*/) override {
      ++listening;
    }
    void OnDeaf(NodeIndex /*node*/) override {}
    void OnAnnounced(NodeIndex /*node*/, Topic /*topic*/, const Key& key) override {
      if (key.str() == kLast) {
        ++last;
      } else {
        heard.insert(key.str());
      }
    }
    std::size_t listening = 0;
    std::size_t last = 0;  // announcements of kLast
    std::set<std::string> heard;
  };
  // No step does.
  void FreeKeptKeys() {
    for (std::uint64_t i = 0; i < key_count; ++i) {
      const std::string key = "k" + std::to_string(i);
      if (!IsKept(OwnerToken(model.Holder(key).value_or(""))) || Below(4) != 0) continue;
      (void)server.Cli("DEL " + key);
      model.Evict(key);
    }
  }
  static constexpr const char* kLast = "last";
  std::uint64_t rounds = 0;
  MonotonicTime next_window{};
  template <typename OfNode>
  void Agree(const std::string& what, OfNode ask, NodeReply simulated) {
    std::set<std::string> sharing;
    if (simulated.outcome == Outcome::kHeld) {
      for (const std::string& name : step_names) {
        for (const Share& share : model.Inspect(name).shares) sharing.insert(InWords(share));
      }
    }
    asked.push_back(
        {what, std::make_shared<Recorder>(), std::move(simulated), several, std::move(sharing)});
    ask(*node, asked.back().sink);
  }
  struct Asked {
    std::string what;
    std::shared_ptr<Recorder> sink;
    NodeReply simulated;
    bool several = false;
    std::set<std::string> sharing;  // with a refusal: all who share the keys
  };
  static std::string InWords(const Share& share) {
    return share.token.str() + " " + share.owner.label.str() + " " + share.owner.origin.str();
  }
  void CompareNamed(const Asked& each, const std::string& step) {
    const NodeReply& real = each.sink->replies.front();
    const NodeReply& simulated = each.simulated;
    if (!each.several) {
      EXPECT_EQ(real.shares.size(), simulated.shares.size()) << step;
      EXPECT_EQ(real.sharers, simulated.sharers) << step;
    }
    // All shares and slots end at about the same time, so each of them may be named.
    for (const Share& named : real.shares) {
      EXPECT_TRUE(each.sharing.contains(InWords(named))) << step << ": " << InWords(named);
      EXPECT_TRUE(named.owner.value.empty()) << step;
      ++named_parts;
    }
  }
  void Compare(const Asked& each) {
    const NodeReply& real = each.sink->replies.front();
    const NodeReply& simulated = each.simulated;
    const std::string step =
        "step " + std::to_string(++steps) + ": " + each.what + " " + real.message;
    ASSERT_EQ(ToString(real.outcome), ToString(simulated.outcome)) << step;
    EXPECT_EQ(real.fence, simulated.fence) << step;
    EXPECT_EQ(real.fence_of_earlier_holder, simulated.fence_of_earlier_holder) << step;
    EXPECT_EQ(real.keeper, simulated.keeper) << step;
    EXPECT_EQ(real.sealed, simulated.sealed) << step;
    EXPECT_EQ(real.handed_over, simulated.handed_over) << step;
    // Of several holders, the one whose TTL ends last is named. Here, all end at about the same
    // time.
    if (!each.several || real.outcome != Outcome::kHeld) {
      // The node derives what it keeps from a digest of the token, the model from the token.
      const bool both_kept = IsKept(real.holder) && IsKept(simulated.holder);
      EXPECT_TRUE(both_kept || real.holder == simulated.holder) << step;
      EXPECT_EQ(WithoutTime(real.owner), WithoutTime(simulated.owner)) << step;
    }
    EXPECT_EQ(real.clock.has_value(), simulated.clock.has_value()) << step;
    EXPECT_EQ(real.still_shared, simulated.still_shared) << step;
    EXPECT_EQ(real.used_slots, simulated.used_slots) << step;
    EXPECT_EQ(real.own_slot, simulated.own_slot) << step;
    EXPECT_EQ(real.keeping.size(), simulated.keeping.size()) << step;
    if (!simulated.owner.value.empty()) ++values;
    if (!simulated.keeping.empty()) ++kept;
    if (real.outcome == Outcome::kHeld) {
      CompareNamed(each, step);
    } else {
      EXPECT_EQ(SharesOf(real), SharesOf(simulated)) << step;
    }
    if (!simulated.owner.empty()) ++labels;
    ++outcomes[simulated.outcome];
  }
  // The real node's clock runs, the model's does not.
  static Owner WithoutTime(Owner owner) {
    EXPECT_LT(owner.since, std::chrono::system_clock::now().time_since_epoch() + seconds(1));
    owner.since = Duration();
    // What is left of a delay can depend on what is left of a TTL.
    owner.lock_delay = std::chrono::round<seconds>(owner.lock_delay / 5) * 5;
    return owner;
  }
  // The tokens, each with the label, origin, value, fence and slot that the node stores.
  static std::map<std::string, std::string> SharesOf(const NodeReply& reply) {
    std::map<std::string, std::string> shares;
    for (const Share& share : reply.shares)
      shares[share.token.str()] =
          share.owner.label.str() + " " + share.owner.origin.str() + " " + share.owner.value.str() +
          " " + std::to_string(share.fence.value) + " " + std::to_string(share.slot);
    return shares;
  }
  std::uint64_t Below(std::uint64_t bound) { return world.Below(bound); }
  OwnerToken AnyToken() { return OwnerToken(std::string(1, static_cast<char>('a' + Below(3)))); }
  std::uint64_t AnyNumber() { return 100 + last / 4 + Below(40); }
  Keeper AnyKeeper() { return {AnyNumber(), {1 + Below(4)}}; }

  void AnyStep() {
    ++last;
    const std::uint64_t first = Below(key_count);
    const std::string one = "k" + std::to_string(first);
    std::vector<std::string> names = {one};
    several = key_count > 1 && Below(3) == 0;
    const bool slot = slots && !several && Below(6) != 0;
    for (std::uint64_t i = 1; several && i <= std::min<std::uint64_t>(2, key_count - 1); ++i) {
      names.push_back("k" + std::to_string((first + i) % key_count));
    }
    step_names = names;
    const Key exclusive = Key::Of(names);
    const int limit = Below(8) == 0 ? 3 : 2;
    const int number = 1 + static_cast<int>(Below(static_cast<std::uint64_t>(limit)));
    const Key key = slot                      ? exclusive.Slot(limit, number)
                    : shares && Below(3) != 0 ? exclusive.Shared()
                                              : exclusive;
    const std::string& k = key.str();
    const OwnerToken token = AnyToken();
    const std::string& t = token.str();
    const Duration ttl = seconds(500);
    const FencingToken fence{AnyNumber()};
    const AttemptId attempt{1 + Below(4)};
    const std::string label = Below(4) == 0 ? "" : "label " + token.str();
    const Duration longest = seconds(550);
    Owner owner{.label = OwnerLabel(label)};
    if (Below(2) == 0) owner.origin = Origin("d" + std::to_string(Below(9)) + " - ipv4:1.2.3.4:5");
    if (Below(3) == 0) owner.lock_delay = Below(2) == 0 ? seconds(20) : seconds(100);
    if (Below(3) == 0) owner.value = PublishedValue("value " + std::to_string(Below(9)));
    switch (Below(shares || slots ? 12 : 10)) {
      case 0:
      case 1: {
        const bool adopt = Below(2) == 0;
        Agree(
            "acquire",
            [&](Node& n, auto sink) {
              n.Acquire({key, token, ttl, longest, fence, attempt, owner, adopt}, sink);
            },
            model.Acquire(k, t, ttl, fence, attempt, owner, adopt, {}, longest));
        return;
      }
      case 2: {
        const OwnerToken to = AnyToken();
        const Key handed = slot ? key : exclusive;  // shares are not
        Agree(
            "hand over",
            [&](Node& n, auto sink) {
              n.HandOver({handed, token, to, ttl, longest, fence, attempt, owner}, sink);
            },
            model.HandOver(handed.str(), t, to.str(), ttl, fence, attempt, owner, {}, longest));
        return;
      }
      case 3:
      case 4: {
        const FencingToken raise{Below(3) == 0 ? AnyNumber() : 0};
        const auto keeper = Below(3) == 0 ? std::nullopt : std::optional(AnyKeeper());
        const bool adopt = keeper && Below(2) == 0;
        const Key extended = slot && Below(3) == 0 ? key.AnySlot() : key;
        const FencingToken from{extended.IsShared() && Below(2) == 0 ? AnyNumber() : 0};
        const Duration delay = Below(4) == 0 ? seconds(30) : Duration();
        Agree(
            "extend",
            [&](Node& n, auto sink) {
              n.Extend({extended, token, ttl, longest, raise, delay, keeper, adopt, from}, sink);
            },
            model.Extend(extended.str(), t, ttl, raise, keeper, adopt, {}, from, longest, delay));
        return;
      }
      case 5: {
        const auto keeper = Below(2) == 0 ? std::nullopt : std::optional(AnyKeeper());
        const bool counts = Below(2) == 0;
        const auto held_for = Below(2) == 0 ? std::nullopt : std::optional<Duration>(seconds(10));
        owner.value_number = owner.value.empty() ? 0 : AnyNumber();
        Agree(
            "repair",
            [&](Node& n, auto sink) {
              n.Repair({key, token, ttl, longest, fence, keeper, counts, owner, held_for}, sink);
            },
            model.Repair(k, t, ttl, fence, keeper, counts, owner, {}, held_for, longest));
        return;
      }
      case 6:
        Agree(
            "inspect",
            [&](Node& n, auto sink) { n.Inspect({.key = Key(one), .observe = observed}, sink); },
            model.Inspect(one, {}, observed));
        return;
      case 7: {
        // Not while a batch is filled: it would overtake the batch.
        if ((shares || slots) && asked.empty() && Below(8) == 0) {
          (void)server.Cli("DEL " + one);
          model.Evict(one);
          return;
        }
        const bool set = asked.empty() && Below(8) == 0 && model.SetNx(one, t, ttl);
        if (set) {
          EXPECT_EQ(server.Cli("SET " + one + " " + t + " NX PX 500000"), "OK");
        }
        return;
      }
      case 8: {
        const PublishedValue value(Below(4) == 0 ? "" : "proclaimed " + std::to_string(Below(9)));
        const std::uint64_t new_number = AnyNumber() + Below(30);
        Agree(
            "proclaim",
            [&](Node& n, auto sink) {
              n.Proclaim({exclusive, token, value, new_number}, sink);
            },
            model.Proclaim(exclusive.str(), t, value, new_number));
        return;
      }
      case 10: {
        const AttemptId id{1 + Below(2)};
        const Duration left = Below(2) == 0 ? ttl : Duration();
        const Key single(one);
        Agree(
            "intend",
            [&](Node& n, auto sink) {
              n.Intend({single, id, left}, sink);
            },
            model.Intend(one, id, left));
        return;
      }
      default: {
        const auto only = Below(3) == 0 ? std::optional(attempt) : std::nullopt;
        const auto end = Below(3) == 0 ? std::optional(AnyKeeper()) : std::nullopt;
        const FencingToken seal{Below(2) == 0 ? AnyNumber() : 0};
        sim::Server::Keep keep;
        if (Below(6) == 0) keep.since_acquisition = Below(2) == 0 ? seconds(400) : seconds(5);
        if (end && Below(2) == 0) keep = {.since_acquisition = {}, .for_delay = true};
        Agree(
            "release",
            [&](Node& n, auto sink) {
              n.Release({key, token, only, seal, Below(2) == 0, end, keep.since_acquisition,
                         keep.for_delay},
                        sink);
            },
            model.Release(exclusive.str(), t, only, seal, false, end, keep));
        return;
      }
    }
  }

  RedisServer server;
  sim::World world{7};
  sim::Server model{world, 1.0};
  std::uint64_t key_count = 1;
  bool shares = false;   // keys are shared, too
  bool slots = false;    // keys are semaphores, too
  bool several = false;  // the step is on several keys
  std::vector<std::string> step_names;
  std::vector<Asked> asked;  // in this turn
  bool observed = false;
  Changes changes;
  std::set<std::string> expected;  // the keys whose changes the model has announced
  std::size_t announced = 0;
  std::map<Outcome, int> outcomes;
  int labels = 0;  // of holders
  int values = 0;
  int kept = 0;
  int named_parts = 0;  // in refusals, of those who share a key or have a slot
  int steps = 0;
  std::uint64_t last = 0;
};

TEST_F(Agreement, ScriptsAndSimulatedServerGiveTheSameReplies) {
  OpenReady(Tcp(server));
  for (int i = 0; i < 4'000 && !HasFailure(); ++i) AnySteps(1);
  for (const Outcome outcome :
       {Outcome::kGranted, Outcome::kHeld, Outcome::kNotHeld, Outcome::kStaleFence}) {
    EXPECT_GT(outcomes[outcome], 100) << ToString(outcome);
  }
  EXPECT_GT(labels, 100);
  EXPECT_GT(values, 30);
  EXPECT_GT(kept, 0);
}

TEST_F(Agreement, StepsOnSeveralKeysGiveTheSameReplies) {
  OpenReady(Tcp(server));
  key_count = 3;
  for (int i = 0; i < 6'000 && !HasFailure(); ++i) AnySteps(1);
  for (const Outcome outcome :
       {Outcome::kGranted, Outcome::kHeld, Outcome::kNotHeld, Outcome::kStaleFence}) {
    EXPECT_GT(outcomes[outcome], 100) << ToString(outcome);
  }
}

TEST_F(Agreement, StepsOnSharesGiveTheSameReplies) {
  OpenReady(Tcp(server));
  shares = true;
  for (key_count = 1; key_count <= 3; key_count += 2) {
    for (int i = 0; i < 8'000 && !HasFailure(); ++i) AnySteps(1);
  }
  EXPECT_GT(named_parts, 100);
  for (const Outcome outcome :
       {Outcome::kGranted, Outcome::kHeld, Outcome::kNotHeld, Outcome::kStaleFence}) {
    EXPECT_GT(outcomes[outcome], 100) << ToString(outcome);
  }
}

TEST_F(Agreement, StepsOnSlotsGiveTheSameReplies) {
  OpenReady(Tcp(server));
  slots = true;
  for (key_count = 1; key_count <= 3; key_count += 2) {
    for (int i = 0; i < 8'000 && !HasFailure(); ++i) AnySteps(1);
    shares = true;
  }
  EXPECT_GT(named_parts, 100);
  for (const Outcome outcome :
       {Outcome::kGranted, Outcome::kHeld, Outcome::kNotHeld, Outcome::kStaleFence}) {
    EXPECT_GT(outcomes[outcome], 100) << ToString(outcome);
  }
}

// Steps on different keys are reordered within a call; those on one key are not.
TEST_F(Agreement, BatchesGiveTheSameReplies) {
  OpenReady(Tcp(server));
  for (int i = 0; i < 800 && !HasFailure(); ++i) {
    key_count = 1 + Below(40);
    shares = Below(2) == 0;
    slots = Below(2) == 0;
    AnySteps(1 + Below(60));
  }
  for (const Outcome outcome :
       {Outcome::kGranted, Outcome::kHeld, Outcome::kNotHeld, Outcome::kStaleFence}) {
    EXPECT_GT(outcomes[outcome], 100) << ToString(outcome);
  }
}

TEST_F(Agreement, TheSameChangesAreAnnounced) {
  OpenReady(Tcp(server));
  ObserveKeys(40);
  for (key_count = 1; key_count <= 3; key_count += 2) {
    for (int i = 0; i < 6'000 && !HasFailure(); ++i) {
      shares = Below(2) == 0;
      slots = Below(2) == 0;
      AnySteps(1);
    }
  }
  for (int i = 0; i < 200 && !HasFailure(); ++i) {
    key_count = 1 + Below(40);
    AnySteps(1 + Below(60));
  }
  EXPECT_GT(announced, 1'000U);
  node->ListenTo(nullptr);
}

// A daemon of an earlier version has stored a hash.
TEST_F(NodeTest, MetadataOfAnotherTypeCountsAsNone) {
  RedisServer server;
  OpenReady(Tcp(server));
  EXPECT_EQ(server.Cli("HSET 'redlockd:meta:{k}' f 7"), "1");
  EXPECT_EQ(server.Cli("SET k mine PX 50000"), "OK");
  const NodeReply extended = Extend("k", "mine", seconds(60));
  EXPECT_EQ(extended.outcome, Outcome::kGranted);
  EXPECT_EQ(extended.fence, FencingToken{});
  EXPECT_EQ(Extend("k", "mine", seconds(60), 9).fence, FencingToken{9});
  EXPECT_EQ(server.Cli("HSET 'redlockd:meta:{j}' f 7"), "1");
  EXPECT_EQ(Acquire("j", "mine", 1).outcome, Outcome::kGranted);
  EXPECT_TRUE(server.Cli("GET 'redlockd:meta:{j}'").starts_with("1 a 1 "));
}

// Another program has written a list to one of several keys.
TEST_F(NodeTest, AKeyOfAnotherTypeDoesNotKeepTheOthersLocked) {
  RedisServer server;
  OpenReady(Tcp(server));
  const std::string all = Key::Of({"a", "b", "c"}).str();
  ASSERT_EQ(Acquire(all, "mine", 1).outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("DEL b"), "1");
  EXPECT_EQ(server.Cli("RPUSH b x"), "1");
  EXPECT_EQ(Acquire(Key::Of({"b", "d"}).str(), "mine", 2).outcome, Outcome::kError);
  EXPECT_EQ(Extend(all, "mine", seconds(60)).outcome, Outcome::kError);
  const NodeReply released = Release(all, "mine");
  EXPECT_EQ(released.outcome, Outcome::kError);
  EXPECT_NE(released.message.find("WRONGTYPE"), std::string::npos) << released.message;
  EXPECT_EQ(server.Cli("EXISTS a c d"), "0");
}

TEST_F(NodeTest, ExhaustedMemoryLetsNoKeyOfSeveralBeGranted) {
  RedisServer server;
  OpenReady(Tcp(server));
  const std::string all = Key::Of({"a", "b", "c"}).str();
  ASSERT_EQ(Acquire(all, "mine", 1).outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("CONFIG SET maxmemory 1"), "OK");
  EXPECT_EQ(Acquire(Key::Of({"d", "e"}).str(), "mine", 2).outcome, Outcome::kError);
  EXPECT_EQ(server.Cli("EXISTS d e"), "0");
  EXPECT_EQ(Extend(all, "mine", seconds(60), 9).outcome, Outcome::kGranted);
  for (const char* key : {"a", "b", "c"}) {
    EXPECT_GT(std::stol(server.Cli("PTTL " + std::string(key))), 59'000);
  }
  EXPECT_EQ(Release(all, "mine", {}, 50).outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("EXISTS a b c"), "0");
}

TEST_F(NodeTest, AnExtensionNeverShortensTheTtl) {
  RedisServer server;
  OpenReady(Tcp(server));
  ASSERT_EQ(Acquire("k", "mine", 1, seconds(100)).outcome, Outcome::kGranted);
  EXPECT_EQ(Extend("k", "mine", seconds(10)).outcome, Outcome::kGranted);
  EXPECT_GT(std::stol(server.Cli("PTTL k")), 99'000);
  EXPECT_EQ(Extend("k", "mine", seconds(200)).outcome, Outcome::kGranted);
  EXPECT_GT(std::stol(server.Cli("PTTL k")), 199'000);
}

// There is no point in waiting for a semaphore, and a key without expiry is held for longest.
TEST_F(NodeTest, OfSeveralKeysTheOneThatDecidesIsReported) {
  RedisServer server;
  OpenReady(Tcp(server));
  const auto holder_of = [&](std::vector<std::string> keys) {
    return Acquire(Key::Of(std::move(keys)).str(), "mine", 9, seconds(10)).holder.str();
  };
  ASSERT_EQ(Acquire("b", "b's", 1, seconds(100)).outcome, Outcome::kGranted);
  ASSERT_EQ(Acquire("d", "d's", 1, seconds(50)).outcome, Outcome::kGranted);
  EXPECT_EQ(holder_of({"a", "b", "c", "d"}), "b's");
  EXPECT_EQ(server.Cli("SET c for-ever"), "OK");
  EXPECT_EQ(holder_of({"b", "c", "d"}), "for-ever");
  for (const std::string semaphore : {"a", "e"}) {
    ASSERT_EQ(Acquire(Key(semaphore).Slot(3, 1).str(), "slot", 1, seconds(5)).outcome,
              Outcome::kGranted);
    EXPECT_EQ(holder_of({"b", "c", "d", semaphore}), "redlockd:sem:3");
  }
}

// The marker expires with the last slot, although the slot that lasted longest was handed over.
TEST_F(NodeTest, AHandOverOfASlotShortensTheTtlOfTheKey) {
  RedisServer server;
  OpenReady(Tcp(server));
  const auto slot = [](int number) { return Key("k").Slot(3, number); };
  ASSERT_EQ(Acquire(slot(1).str(), "a", 1, seconds(100)).outcome, Outcome::kGranted);
  ASSERT_EQ(Acquire(slot(2).str(), "b", 2, seconds(50)).outcome, Outcome::kGranted);
  const Owner owner;
  const NodeReply handed = Ask([&](auto sink) {
    node->HandOver(
        {slot(1), OwnerToken("a"), OwnerToken("c"), seconds(10), kLongest, {3}, {3}, owner}, sink);
  });
  ASSERT_EQ(handed.outcome, Outcome::kGranted);
  const long ttl = std::stol(server.Cli("PTTL k"));
  EXPECT_GT(ttl, 49'000);
  EXPECT_LE(ttl, 50'000);
}

// A held lock survives exhausted memory, including its first extension and an adoption.
TEST_F(NodeTest, AnExtensionSucceedsWhenMemoryIsExhausted) {
  RedisServer server;
  OpenReady(Tcp(server));
  ASSERT_EQ(Acquire("k", "mine", 1, seconds(10)).outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("CONFIG SET maxmemory 1"), "OK");
  EXPECT_EQ(Acquire("other", "mine", 2, seconds(10)).outcome, Outcome::kError);
  EXPECT_EQ(Extend("k", "mine", seconds(100)).outcome, Outcome::kGranted);
  const NodeReply adopted = Ask([&](auto sink) {
    node->Extend(
        {Key("k"), OwnerToken("mine"), seconds(200), kLongest, {}, {}, Keeper{9, {9}}, true}, sink);
  });
  EXPECT_EQ(adopted.outcome, Outcome::kGranted);
  EXPECT_EQ(adopted.keeper, (Keeper{9, {9}}));
  EXPECT_GT(std::stol(server.Cli("PTTL k")), 199'000);
  EXPECT_EQ(Release("k", "mine", {}, 50).outcome, Outcome::kGranted)
      << "a release with a seal succeeds too";
}

TEST_F(NodeTest, ATokenThatDoesNotHoldTheKeyStoresNothing) {
  RedisServer server;
  OpenReady(Tcp(server));
  EXPECT_EQ(Release("k", "mine", {}, 50).outcome, Outcome::kNotHeld);
  EXPECT_EQ(Extend("k", "mine", seconds(10), 50).outcome, Outcome::kNotHeld);
  EXPECT_EQ(server.Cli("DBSIZE"), "0");
}

// What a node knows of fences whose metadata is gone, as it is stored.
class FencesRecord : public NodeTest {
 protected:
  void SetUp() override { OpenReady(Tcp(server)); }
  // It goes on for at least a second.
  std::int64_t ThisWindow() {
    if (NowInMillis(server) % kWindow >= kWindow - 2'000) Run(seconds(2));
    return CurrentWindow(server);
  }
  void Store(std::int64_t window, std::uint64_t floor, std::uint64_t ceiling,
             std::uint64_t earlier) {
    StoreFences(server, window, floor, ceiling, earlier);
  }
  NodeReply Grant(const Key& key, std::uint64_t fence, bool adopt = false) {
    return Ask([&](auto sink) {
      node->Acquire({key, OwnerToken("t"), seconds(10), kLongest, {fence}, {1}, owner, adopt},
                    sink);
    });
  }
  NodeReply HandOver(const Key& key, const std::string& from, const std::string& to,
                     std::uint64_t fence) {
    return Ask([&](auto sink) {
      node->HandOver(
          {key, OwnerToken(from), OwnerToken(to), seconds(10), kLongest, {fence}, {fence}, owner},
          sink);
    });
  }
  // How many commands of this name the node has executed, including those in scripts.
  long Calls(const std::string& command) const {
    const std::string stats = server.Cli("INFO commandstats");
    const std::string entry = "cmdstat_" + command + ":calls=";
    const std::size_t begin = stats.find(entry);
    return begin == std::string::npos ? 0 : std::stol(stats.substr(begin + entry.size()));
  }
  void ExpectFloor(std::uint64_t floor) {
    const NodeReply refused = Grant(Key("a" + std::to_string(++keys)), floor);
    EXPECT_EQ(refused.outcome, Outcome::kStaleFence) << keys;
    EXPECT_EQ(refused.fence.value, floor) << keys;
    const NodeReply granted = Grant(Key("a" + std::to_string(++keys)), floor + 1);
    EXPECT_EQ(granted.outcome, Outcome::kGranted) << keys << granted.message;
  }
  RedisServer server;
  const Owner owner;
  int keys = 0;
};

TEST_F(FencesRecord, TheFloorRisesFromWindowToWindow) {
  ExpectFloor(0);
  Store(ThisWindow(), 1'000, 50'000'000, 2'000);
  ExpectFloor(1'000);
  Store(ThisWindow() - 1, 1'000, 3'000, 2'000);
  ExpectFloor(2'000);
  ExpectFloor(2'000);
  Store(ThisWindow() - 2, 1'000, 3'000, 2'000);
  ExpectFloor(3'000);
  Store(ThisWindow() + 7, 1'000, 3'000, 2'000);  // the clock has gone back
  ExpectFloor(3'000);
  ASSERT_EQ(server.Cli("SET redlockd:fences junk"), "OK");
  ExpectFloor(0);
  Store(ThisWindow(), 1'000, 5'000, 2'000);
  EXPECT_EQ(Ask([&](auto sink) { node->Mark({"", "new"}, sink); }).mark, "new");
  ExpectFloor(5'000);
  EXPECT_EQ(Ask([&](auto sink) { node->Mark({"", "newer"}, sink); }).mark, "new");
  Store(ThisWindow(), 1'000, 5'000, 2'000);
  ExpectFloor(1'000);
}

TEST_F(FencesRecord, TheLockOfAnotherLibraryGetsAFenceAboveTheFloor) {
  Store(ThisWindow(), 1'000, 50'000'000, 1'000);
  ASSERT_EQ(server.Cli("SET k theirs NX PX 5000"), "OK");
  NodeReply extended = Extend("k", "theirs", seconds(10), 900);
  EXPECT_TRUE(extended.fence_of_earlier_holder);
  EXPECT_EQ(extended.fence.value, 1'000U);
  extended = Extend("k", "theirs", seconds(10), 1'001);
  EXPECT_FALSE(extended.fence_of_earlier_holder);
  EXPECT_EQ(extended.fence.value, 1'001U);
}

// A daemon of an earlier version keeps metadata for longer, and does not write the record.
TEST_F(FencesRecord, MetadataIsNotShortenedBeforeItsFenceIsNoted) {
  const std::string far = "70000000";
  const auto grant_elsewhere = [&](const std::string& key) {
    ASSERT_EQ(Grant(Key(key), 1).outcome, Outcome::kGranted);
    std::string stored = server.Cli("GET 'redlockd:meta:{" + key + "}'");
    stored.replace(0, stored.find(' '), far);
    ASSERT_EQ(server.Cli("SET 'redlockd:meta:{" + key + "}' '" + stored + "' EX 86400"), "OK");
    ASSERT_LT(StoredCeiling(server), std::stoull(far));
  };
  grant_elsewhere("extended");
  EXPECT_EQ(Extend("extended", "t", seconds(20)).outcome, Outcome::kGranted);
  EXPECT_GE(StoredCeiling(server), std::stoull(far));
  (void)server.Cli("DEL redlockd:fences");
  grant_elsewhere("kept");
  const NodeReply released = Ask([&](auto sink) {
    node->Release({.key = Key("kept"), .token = OwnerToken("t"), .keep_for = seconds(30)}, sink);
  });
  EXPECT_EQ(released.outcome, Outcome::kGranted);
  EXPECT_GE(StoredCeiling(server), std::stoull(far));
  (void)server.Cli("DEL redlockd:fences");
  grant_elsewhere("proclaimed");
  const NodeReply proclaimed = Ask([&](auto sink) {
    node->Proclaim(
        {Key("proclaimed"), OwnerToken("t"), PublishedValue("v"), kMaxFencingToken.value}, sink);
  });
  EXPECT_EQ(proclaimed.outcome, Outcome::kGranted) << proclaimed.message;
  EXPECT_GE(StoredCeiling(server), std::stoull(far));
}

TEST_F(FencesRecord, AnAbsurdFenceInMetadataDoesNotBreakTheRecord) {
  ASSERT_EQ(server.Cli("SET 'redlockd:meta:{k}' '" + std::string(400, '9') + " c - - -'"), "OK");
  EXPECT_EQ(Grant(Key("k"), 5).outcome, Outcome::kStaleFence);
  EXPECT_EQ(Grant(Key("other"), 5).outcome, Outcome::kGranted);
}

TEST_F(FencesRecord, EveryStepThatGrantsComparesTheFloor) {
  Store(ThisWindow(), 1'000, 50'000'000, 1'000);
  std::vector<Key> all = {Key("one"), Key("semaphore").Slot(3, 2)};
  all.push_back(Key::Of({"x", "y"}));
  all.push_back(Key("shared").Shared());
  for (const Key& key : all) {
    for (const bool adopt : {false, true}) {
      const NodeReply refused = Grant(key, 1'000, adopt);
      EXPECT_EQ(refused.outcome, Outcome::kStaleFence) << key.str();
      EXPECT_EQ(refused.fence.value, 1'000U) << key.str();
    }
    if (!key.IsShared()) {
      EXPECT_EQ(HandOver(key, "from", "to", 1'000).outcome, Outcome::kStaleFence) << key.str();
    }
    EXPECT_EQ(Grant(key, 1'001).outcome, Outcome::kGranted) << key.str();
  }
}

// Without the metadata, the node knows no fence of the key itself.
TEST_F(FencesRecord, TheHandOverOfAKeyWithoutMetadataComparesTheFloor) {
  Store(ThisWindow(), 1'000, 50'000'000, 1'000);
  ASSERT_EQ(server.Cli("SET k t PX 50000"), "OK");
  EXPECT_EQ(HandOver(Key("k"), "t", "u", 1'000).outcome, Outcome::kStaleFence);
  EXPECT_EQ(server.Cli("GET k"), "t");
  Store(ThisWindow() - 2, 1'000, 3'000, 2'000);  // two windows later, the ceiling is the floor
  EXPECT_EQ(HandOver(Key("k"), "t", "u", 3'000).outcome, Outcome::kStaleFence);
  EXPECT_EQ(server.Cli("GET k"), "t");
  EXPECT_EQ(HandOver(Key("k"), "t", "u", 3'001).outcome, Outcome::kGranted);
}

TEST_F(FencesRecord, EveryStoredFenceRaisesTheCeiling) {
  EXPECT_EQ(Grant(Key("a"), 5).outcome, Outcome::kGranted);
  EXPECT_EQ(StoredCeiling(server), 5U);
  EXPECT_EQ(Grant(Key("b"), 7).outcome, Outcome::kGranted);
  EXPECT_EQ(StoredCeiling(server), 7U);
  EXPECT_EQ(Extend("a", "t", seconds(20), 20'000'000).outcome, Outcome::kGranted);
  EXPECT_EQ(StoredCeiling(server), 20'000'000U);
  EXPECT_EQ(Release("a", "t", {}, 60'000'000).outcome, Outcome::kGranted);
  EXPECT_EQ(StoredCeiling(server), 60'000'000U);
  const NodeReply repaired = Ask([&](auto sink) {
    node->Repair({Key("c"), OwnerToken("t"), seconds(10), kLongest, {90'000'000}, {}}, sink);
  });
  EXPECT_EQ(repaired.outcome, Outcome::kGranted);
  EXPECT_EQ(StoredCeiling(server), 90'000'000U);
  EXPECT_EQ(HandOver(Key("b"), "t", "u", 91'000'000).outcome, Outcome::kGranted);
  EXPECT_EQ(StoredCeiling(server), 91'000'000U);
  EXPECT_EQ(Grant(Key("d"), kMaxFencingToken.value).outcome, Outcome::kGranted);
  EXPECT_EQ(StoredCeiling(server), kMaxFencingToken.value);
}

TEST_F(FencesRecord, NothingIsGrantedIfTheRecordCannotBeWritten) {
  if (IsRedis6(server)) GTEST_SKIP() << "has no permissions to read only";
  (void)ThisWindow();
  ASSERT_EQ(Grant(Key("a"), 5).outcome, Outcome::kGranted);
  ASSERT_EQ(server.Cli("ACL SETUSER default resetkeys '%R~*' '~redlockd:m*' '~b'"), "OK");
  const NodeReply refused = Grant(Key("b"), 6);
  EXPECT_EQ(refused.outcome, Outcome::kError);
  EXPECT_NE(refused.message.find("access list"), std::string::npos) << refused.message;
  EXPECT_EQ(server.Cli("EXISTS b"), "0");
  ASSERT_EQ(server.Cli("ACL SETUSER default resetkeys '%R~*' '~redlockd:m*' '~a'"), "OK");
  const NodeReply kept = HandOver(Key("a"), "t", "u", 6);
  EXPECT_EQ(kept.outcome, Outcome::kError);
  EXPECT_NE(kept.message.find("access list"), std::string::npos) << kept.message;
  EXPECT_EQ(server.Cli("GET a"), "t");
}

// Acquisitions come first, so a release in the same call does not lift Redis' check of its memory.
TEST_F(FencesRecord, ABatchAcquiresNothingWhenMemoryIsExhausted) {
  (void)ThisWindow();  // in a new one, the acquisition takes the long way, after the release
  ASSERT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("CONFIG SET maxmemory 1"), "OK");
  const auto released = std::make_shared<Recorder>();
  const NodeReply acquired = Ask([&](auto sink) {
    node->Release({.key = Key("k"),
                   .token = OwnerToken("mine"),
                   .only_attempt = {},
                   .seal = {},
                   .announce = true},
                  released);
    node->Acquire({Key("other"), OwnerToken("mine"), seconds(10), kLongest, {2}, {2}, owner}, sink);
  });
  EXPECT_EQ(acquired.outcome, Outcome::kError);
  EXPECT_NE(acquired.message.find("memory"), std::string::npos) << acquired.message;
  ASSERT_EQ(released->replies.size(), 1U);
  EXPECT_EQ(released->replies[0].outcome, Outcome::kGranted);
}

// Otherwise, a daemon whose clock is ahead would raise it with every refusal.
TEST_F(FencesRecord, ARefusedStepLeavesTheRecordAsItIs) {
  (void)ThisWindow();
  ASSERT_EQ(Grant(Key("a"), 1'000).outcome, Outcome::kGranted);
  EXPECT_EQ(Grant(Key("a"), 2'000).outcome, Outcome::kHeld);
  EXPECT_EQ(HandOver(Key("a"), "other", "u", 2'000).outcome, Outcome::kHeld);
  EXPECT_EQ(StoredCeiling(server), 1'000U);
  EXPECT_EQ(server.Cli("GET a"), "t");
}

// The usual hand-over: the first token holds the key. The fence 4,000 is below the ceiling, so only
// the key's own fence shows that it is high enough.
TEST_F(FencesRecord, AHandOverReplacesHolderAndMetadata) {
  (void)ThisWindow();
  ASSERT_EQ(Grant(Key("k"), 1'000).outcome, Outcome::kGranted);
  ASSERT_EQ(Grant(Key("elsewhere"), 5'000).outcome, Outcome::kGranted);
  for (const std::uint64_t fence : {4'000U, 6'000U}) {
    const std::string to = "of " + std::to_string(fence);
    const NodeReply reply = HandOver(Key("k"), server.Cli("GET k"), to, fence);
    EXPECT_EQ(reply.outcome, Outcome::kGranted) << fence << reply.message;
    EXPECT_EQ(reply.fence.value, fence);
    EXPECT_TRUE(reply.handed_over);
    EXPECT_TRUE(reply.clock);
    EXPECT_EQ(server.Cli("GET k"), to);
    EXPECT_TRUE(server.Cli("GET 'redlockd:meta:{k}'").starts_with(std::to_string(fence) + " a "));
  }
  for (const std::uint64_t fence : {4'000U, 6'000U}) {
    const NodeReply reply = HandOver(Key("k"), "of 6000", "late", fence);
    EXPECT_EQ(reply.outcome, Outcome::kStaleFence) << fence;
    EXPECT_EQ(reply.fence.value, 6'000U) << fence;
  }
  EXPECT_EQ(server.Cli("GET k"), "of 6000");
  EXPECT_GT(std::stol(server.Cli("PTTL k")), 9'000);
  EXPECT_GT(std::stol(server.Cli("PTTL 'redlockd:meta:{k}'")), 69'000);
}

// Other programs, and Redis at its memory limit, can delete the record.
TEST_F(FencesRecord, AHandOverComparesTheFenceOfItsKeyEvenIfTheRecordDoesNotCoverIt) {
  for (const std::uint64_t ceiling : {1'000ULL, 100'000'000'000'000'000ULL}) {
    (void)server.Cli("FLUSHALL");
    ASSERT_EQ(Grant(Key("k"), 5'000).outcome, Outcome::kGranted);
    Store(ThisWindow(), 0, ceiling, 0);
    EXPECT_EQ(HandOver(Key("k"), "t", "u", 2'000).outcome, Outcome::kStaleFence) << ceiling;
    EXPECT_EQ(server.Cli("GET k"), "t") << ceiling;
    EXPECT_EQ(HandOver(Key("k"), "t", "u", 6'000).outcome, Outcome::kGranted) << ceiling;
    EXPECT_GE(StoredCeiling(server), std::max<std::uint64_t>(ceiling, 6'000)) << ceiling;
  }
}

// The short way reads keys with MGET, so the number of GET commands tells which way a step took.
TEST_F(FencesRecord, HandOversAndRefusalsTakeTheShortWay) {
  (void)ThisWindow();
  ASSERT_EQ(Grant(Key("k"), 1'000).outcome, Outcome::kGranted);
  const auto reads_of = [&](const std::function<void()>& step) {
    const long before = Calls("get");
    step();
    return Calls("get") - before;
  };
  EXPECT_EQ(reads_of([&] { (void)HandOver(Key("k"), "t", "u", 2'000); }), 0);
  EXPECT_EQ(reads_of([&] { (void)Grant(Key("k"), 3'000); }), 1) << "who waits, and nothing else";
  EXPECT_EQ(reads_of([&] { (void)HandOver(Key("k"), "other", "u", 3'000); }), 3);
}

// All hand-overs of a call compare the state from before the call.
TEST_F(FencesRecord, HandOversOfOneKeyDoNotShareACall) {
  (void)ThisWindow();
  ASSERT_EQ(Grant(Key("k"), 1'000).outcome, Outcome::kGranted);
  const auto again = std::make_shared<Recorder>();
  (void)Ask([&](auto sink) {
    node->HandOver(
        {Key("k"), OwnerToken("t"), OwnerToken("u"), seconds(10), kLongest, {2'000}, {2}, owner},
        sink);
    node->HandOver(
        {Key("k"), OwnerToken("t"), OwnerToken("v"), seconds(10), kLongest, {3'000}, {3}, owner},
        again);
  });
  ASSERT_TRUE(RunUntil([&] { return !again->replies.empty(); }));
  EXPECT_EQ(again->replies.front().outcome, Outcome::kHeld);
  EXPECT_EQ(server.Cli("GET k"), "u");
}

// Nodes announce releases until the last waiter looks again of its own accord.
TEST_F(FencesRecord, TheLongestWaitOfACallCounts) {
  (void)ThisWindow();
  ASSERT_EQ(Grant(Key("first"), 1'000).outcome, Outcome::kGranted);
  ASSERT_EQ(server.Cli("SET long x PX 90000"), "OK");
  ASSERT_EQ(server.Cli("SET short x PX 20000"), "OK");
  const auto last = std::make_shared<Recorder>();
  (void)Ask([&](auto sink) {
    const auto acquire = [&](const std::string& key, auto to) {
      node->Acquire({Key(key), OwnerToken("t"), seconds(10), kLongest, {2'000}, {1}, owner}, to);
    };
    acquire("long", sink);
    acquire("short", last);
  });
  ASSERT_TRUE(RunUntil([&] { return !last->replies.empty(); }));
  EXPECT_GT(std::stol(server.Cli("PTTL redlockd:waiters")), 98'000);

  (void)server.Cli("DEL redlockd:waiters");
  ASSERT_EQ(server.Cli("PEXPIREAT long 9223372036854770000"), "1");
  EXPECT_EQ(Grant(Key("long"), 2'000).outcome, Outcome::kHeld);
  EXPECT_GT(std::stol(server.Cli("PTTL redlockd:waiters")), 98'000);
}

TEST_F(FencesRecord, ARefusalNamesTheHolder) {
  (void)ThisWindow();
  const Owner holder{.label = OwnerLabel("host 7"), .origin = Origin("d i p")};
  ASSERT_EQ(Ask([&](auto sink) {
              node->Acquire(
                  {Key("k"), OwnerToken("t"), seconds(10), kLongest, {1'000}, {1}, holder}, sink);
            }).outcome,
            Outcome::kGranted);
  const NodeReply refused = Grant(Key("k"), 2'000);
  EXPECT_EQ(refused.outcome, Outcome::kHeld);
  EXPECT_EQ(refused.holder, OwnerToken("t"));
  EXPECT_EQ(refused.owner.label, holder.label);
  EXPECT_EQ(refused.owner.origin, holder.origin);
  EXPECT_GT(refused.remaining, seconds(9));
  const Duration now = std::chrono::system_clock::now().time_since_epoch();
  EXPECT_LE(refused.owner.since, now + std::chrono::milliseconds(5));
  EXPECT_GT(refused.owner.since, now - seconds(5));
  EXPECT_GT(std::stol(server.Cli("PTTL redlockd:waiters")), 18'000);
  // Another library has taken the key since.
  ASSERT_EQ(server.Cli("SET k theirs PX 50000"), "OK");
  const NodeReply by_others = Grant(Key("k"), 3'000);
  EXPECT_EQ(by_others.outcome, Outcome::kHeld);
  EXPECT_EQ(by_others.holder, OwnerToken("theirs"));
  EXPECT_TRUE(by_others.owner.label.empty());
  EXPECT_GT(by_others.remaining, seconds(49));
  EXPECT_GT(std::stol(server.Cli("PTTL redlockd:waiters")), 58'000);
  ASSERT_EQ(server.Cli("DEL 'redlockd:meta:{k}'"), "1");
  EXPECT_EQ(Grant(Key("k"), 3'000).holder, OwnerToken("theirs"));
  ASSERT_EQ(server.Cli("PERSIST k"), "1");
  EXPECT_EQ(Grant(Key("k"), 3'000).remaining, Duration());
  ASSERT_EQ(server.Cli("DEL k"), "1");
  ASSERT_EQ(server.Cli("LPUSH k theirs"), "1");
  EXPECT_EQ(Grant(Key("k"), 3'000).outcome, Outcome::kError);
}

TEST_F(FencesRecord, TheStepsOfACallNeverLowerTheCeiling) {
  ASSERT_EQ(Grant(Key("a"), 1'000).outcome, Outcome::kGranted);
  (void)Ask([&](auto sink) {
    node->Acquire({Key("b"), OwnerToken("t"), seconds(10), kLongest, {2'000}, {1}, owner}, sink);
    node->Repair({Key("c"), OwnerToken("t"), seconds(10), kLongest, {1'500}, {}},
                 std::make_shared<Recorder>());
  });
  EXPECT_EQ(server.Cli("EXISTS b c"), "2");
  EXPECT_EQ(StoredCeiling(server), 2'000U);
}

// A node looks at the metadata of a key only if its own record does not show that the proposed
// fence exceeds all others.
TEST_F(FencesRecord, AFenceBelowTheCeilingIsComparedWithThatOfItsKey) {
  EXPECT_EQ(Grant(Key("a"), 1'000).outcome, Outcome::kGranted);
  EXPECT_EQ(Release("a", "t").outcome, Outcome::kGranted);
  EXPECT_EQ(Grant(Key("b"), 2'000).outcome, Outcome::kGranted);
  const NodeReply refused = Grant(Key("a"), 1'000);
  EXPECT_EQ(refused.outcome, Outcome::kStaleFence);
  EXPECT_EQ(refused.fence.value, 1'000U);
  EXPECT_EQ(Grant(Key("a"), 1'001).outcome, Outcome::kGranted);
  EXPECT_EQ(StoredCeiling(server), 2'000U);
}

// The extension that is usual: the one before has confirmed the lease, and only the expiry changes.
TEST_F(FencesRecord, ALaterExtensionChangesTheExpiryOnly) {
  const std::string meta = "'redlockd:meta:{k}'";
  const std::uint64_t fence = 1'700'000'000'000'001;
  const auto extend = [&](Duration ttl, std::optional<Keeper> by,
                          const std::string& token = "mine") {
    return Ask([&](auto sink) {
      node->Extend({Key("k"), OwnerToken(token), ttl, kLongest, {}, {}, by}, sink);
    });
  };
  const auto stored = [&] { return server.Cli("GET " + meta); };
  const auto left = [&](const std::string& key) { return std::stol(server.Cli("PTTL " + key)); };
  const Keeper keeper{fence, {1}};
  (void)ThisWindow();
  ASSERT_EQ(Acquire("k", "mine", fence).outcome, Outcome::kGranted);
  ASSERT_EQ(extend(seconds(20), keeper).outcome, Outcome::kGranted);
  const std::string before = stored();
  const long reads_before = Calls("get");
  const long retention = left(meta) - left("k");

  const NodeReply extended = extend(seconds(100), keeper);
  EXPECT_EQ(Calls("get"), reads_before) << "it has taken the long way";
  EXPECT_EQ(extended.outcome, Outcome::kGranted) << extended.message;
  EXPECT_EQ(extended.fence.value, fence);
  EXPECT_EQ(extended.keeper, keeper);
  EXPECT_EQ(extended.owner.label, OwnerLabel("label"));
  const Duration now = std::chrono::system_clock::now().time_since_epoch();
  EXPECT_LE(extended.owner.since, now);
  EXPECT_GT(extended.owner.since, now - seconds(9));
  EXPECT_GT(left("k"), 98'000);
  EXPECT_GT(left(meta), 98'000 + retention - 1'000);

  EXPECT_EQ(extend(seconds(10), keeper).outcome, Outcome::kGranted);
  EXPECT_GT(left("k"), 90'000) << "an extension has shortened the TTL";
  EXPECT_EQ(extend(seconds(100), keeper, "other").outcome, Outcome::kHeld);
  EXPECT_EQ(stored(), before);

  // By another stream, which has adopted the lease on other nodes, and by none.
  EXPECT_EQ(extend(seconds(100), Keeper{fence + 1, {2}}).keeper, (Keeper{fence + 1, {2}}));
  EXPECT_EQ(extend(seconds(100), keeper).keeper, (Keeper{fence + 1, {2}}));
  EXPECT_EQ(extend(seconds(100), std::nullopt).keeper, std::nullopt);
  const std::string detached = stored();
  EXPECT_NE(detached.find(" c " + std::to_string(fence + 1) + " - "), std::string::npos)
      << detached;
  EXPECT_EQ(extend(seconds(100), std::nullopt).outcome, Outcome::kGranted);
  EXPECT_EQ(stored(), detached);

  // The record must cover the fence before the metadata may expire earlier.
  const std::uint64_t higher = fence + 1'000'000;
  ASSERT_EQ(server.Cli("SET " + meta + " '" + std::to_string(higher) +
                       detached.substr(detached.find(' ')) + "' EX 86400"),
            "OK");
  EXPECT_EQ(extend(seconds(100), std::nullopt).fence.value, higher);
  EXPECT_EQ(StoredCeiling(server), higher);

  const NodeReply of_another_set = Ask([&](auto sink) {
    node->Extend({.key = Key("k"),
                  .token = OwnerToken("mine"),
                  .ttl = seconds(200),
                  .longest = kLongest,
                  .raise_to = {},
                  .least_delay = {},
                  .expected = {.stamp = "another", .mark = ""}},
                 sink);
  });
  EXPECT_EQ(of_another_set.outcome, Outcome::kOtherSet);
  EXPECT_LE(left("k"), 100'000);

  // Another library takes the key and leaves the metadata.
  ASSERT_EQ(server.Cli("SET k theirs PX 50000"), "OK");
  EXPECT_EQ(extend(seconds(100), std::nullopt).outcome, Outcome::kHeld);
  EXPECT_LE(left("k"), 50'000);
}

TEST_F(FencesRecord, ALaterExtensionKeepsTheLockDelay) {
  const Owner delayed{.lock_delay = seconds(20)};
  const Keeper keeper{1'700'000'000'000'001, {1}};
  ASSERT_EQ(Ask([&](auto sink) {
              node->Acquire({Key("k"),
                             OwnerToken("mine"),
                             seconds(10),
                             kLongest,
                             {keeper.number},
                             keeper.id,
                             delayed},
                            sink);
            }).outcome,
            Outcome::kGranted);
  for (const int ttl : {50, 100, 200}) {
    const NodeReply extended = Ask([&](auto sink) {
      node->Extend({Key("k"), OwnerToken("mine"), seconds(ttl), kLongest, {}, {}, keeper}, sink);
    });
    EXPECT_EQ(extended.owner.lock_delay, seconds(20));
    EXPECT_GT(std::stol(server.Cli("PTTL k")), (ttl + 18) * 1000);
  }
}

TEST_F(NodeTest, ARefusalNamesTheSharerWhoseShareExpiresLastAndCountsTheOthers) {
  RedisServer server;
  OpenReady(Tcp(server));
  const auto acquire = [&](const Key& key, const std::string& token, Duration ttl) {
    return Ask([&](auto sink) {
      const Owner owner{.label = OwnerLabel("label " + token)};
      node->Acquire({key, OwnerToken(token), ttl, kLongest, {1}, {1}, owner}, sink);
    });
  };
  const auto named = [](const NodeReply& reply) {
    return reply.shares.empty() ? "nobody" : reply.shares.front().owner.label.str();
  };
  const Key key("k");
  ASSERT_EQ(acquire(key.Shared(), "a", seconds(20)).outcome, Outcome::kGranted);
  ASSERT_EQ(acquire(key.Shared(), "b", seconds(40)).outcome, Outcome::kGranted);
  ASSERT_EQ(acquire(key.Shared(), "c", seconds(30)).outcome, Outcome::kGranted);
  NodeReply refused = acquire(key, "d", seconds(10));
  EXPECT_EQ(refused.outcome, Outcome::kHeld);
  EXPECT_EQ(refused.holder, OwnerToken(std::string(kSharedMarker)));
  EXPECT_EQ(named(refused), "label b");
  EXPECT_EQ(refused.sharers, 3);
  // A share that is kept after its release has no holder.
  ASSERT_EQ(Ask([&](auto sink) {
              node->Release({.key = key,
                             .token = OwnerToken("b"),
                             .only_attempt = {},
                             .seal = {},
                             .announce = false,
                             .keep_for = seconds(60)},
                            sink);
            }).outcome,
            Outcome::kGranted);
  EXPECT_EQ(named(acquire(key, "d", seconds(10))), "label c");
  // Neither does one that has expired.
  ASSERT_EQ(acquire(key.Shared(), "short", std::chrono::milliseconds(1)).outcome,
            Outcome::kGranted);
  ASSERT_TRUE(RunUntil([&] { return acquire(key, "d", seconds(10)).sharers == 3; }));
  (void)server.Cli("DEL 'redlockd:shares:{k}'");
  refused = acquire(key, "d", seconds(10));
  EXPECT_EQ(named(refused), "nobody");
  EXPECT_EQ(refused.sharers, 0);
  EXPECT_EQ(server.Cli("SET 'redlockd:shares:{k}' x"), "OK");
  refused = acquire(key, "d", seconds(10));
  EXPECT_EQ(refused.outcome, Outcome::kHeld) << refused.message;
  EXPECT_EQ(named(refused), "nobody");

  const Key slots("s");
  ASSERT_EQ(acquire(slots.Slot(2, 1), "a", seconds(40)).outcome, Outcome::kGranted);
  EXPECT_EQ(named(acquire(slots.Slot(2, 1), "d", seconds(10))), "nobody") << "a slot is free";
  ASSERT_EQ(acquire(slots.Slot(2, 2), "b", seconds(20)).outcome, Outcome::kGranted);
  refused = acquire(slots.Slot(2, 2), "d", seconds(10));
  EXPECT_EQ(named(refused), "label a");
  EXPECT_EQ(refused.used_slots.count(), 2U);
  EXPECT_LE(refused.remaining, seconds(20));
  EXPECT_EQ(named(acquire(slots.Slot(2, 1), "b", seconds(10))), "nobody") << "it has a slot";
}

TEST_F(NodeTest, StoresKeysLikeOtherRedlockLibraries) {
  RedisServer server;
  OpenReady(Tcp(server));
  ASSERT_EQ(Acquire("k", "mine", 1, seconds(10)).outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("GET k"), "mine");
  EXPECT_GT(std::stol(server.Cli("PTTL k")), 9'000);
  EXPECT_EQ(server.Cli("SET k theirs NX PX 1000"), "");
  const std::string stored = server.Cli("GET 'redlockd:meta:{k}'");
  EXPECT_TRUE(stored.starts_with("1 a 1 ")) << stored;
  EXPECT_NE(stored.find(" label "), std::string::npos) << stored;
  const long kept = std::stol(server.Cli("TTL 'redlockd:meta:{k}'"));
  EXPECT_GT(kept, 65) << "the TTL and the retention";
  EXPECT_LE(kept, 70);
  EXPECT_EQ(server.Cli("SET theirs x NX PX 5000"), "OK");
  const NodeReply held = Acquire("theirs", "mine", 1);
  EXPECT_EQ(held.outcome, Outcome::kHeld);
  EXPECT_GT(held.remaining, seconds(4));
}

TEST_F(NodeTest, AGrantRequiresTheExpectedMark) {
  RedisServer server;
  OpenReady(Tcp(server));
  sim::World world(1);
  sim::Server model(world, 1.0);
  const auto mark = [&](const std::string& from, const std::string& to) {
    const NodeReply real = Ask([&](auto sink) { node->Mark({from, to}, sink); });
    const NodeReply simulated = model.Mark(from, to);
    EXPECT_EQ(ToString(real.outcome), ToString(simulated.outcome));
    EXPECT_EQ(real.mark, simulated.mark);
    EXPECT_TRUE(real.clock);
    return real.mark;
  };
  const auto acquire = [&](const std::string& key, const std::string& expected) {
    const NodeReply real = Ask([&](auto sink) {
      const Owner owner;
      node->Acquire(
          {Key(key), OwnerToken("t"), seconds(5), kLongest, {1}, {1}, owner, false, {{}, expected}},
          sink);
    });
    const NodeReply simulated =
        model.Acquire(key, "t", seconds(5), {1}, {1}, {}, false, {{}, expected});
    EXPECT_EQ(ToString(real.outcome), ToString(simulated.outcome)) << real.message;
    EXPECT_EQ(real.mark, simulated.mark);
    EXPECT_EQ(real.clock.has_value(), simulated.clock.has_value());
    return real.outcome;
  };
  const auto hand_over = [&](const std::string& key, const std::string& expected) {
    const NodeReply real = Ask([&](auto sink) {
      const Owner owner;
      node->HandOver({Key(key),
                      OwnerToken("t"),
                      OwnerToken("u"),
                      seconds(5),
                      kLongest,
                      {9},
                      {2},
                      owner,
                      {{}, expected}},
                     sink);
    });
    const NodeReply simulated =
        model.HandOver(key, "t", "u", seconds(5), {9}, {2}, {}, {{}, expected});
    EXPECT_EQ(ToString(real.outcome), ToString(simulated.outcome)) << real.message;
    EXPECT_EQ(real.clock.has_value(), simulated.clock.has_value());
    return real.outcome;
  };
  EXPECT_EQ(acquire("k", "m1"), Outcome::kQuarantined) << "there is no mark yet";
  EXPECT_EQ(mark("other", "m1"), "");
  EXPECT_EQ(mark("", "m1"), "m1");
  EXPECT_EQ(mark("", "m2"), "m1");
  EXPECT_EQ(acquire("k", "m2"), Outcome::kQuarantined);
  EXPECT_EQ(server.Cli("EXISTS k 'redlockd:meta:{k}'"), "0") << "nothing was changed";
  EXPECT_EQ(acquire("k", "m1"), Outcome::kGranted);
  EXPECT_EQ(hand_over("k", "m2"), Outcome::kQuarantined);
  EXPECT_EQ(hand_over("k", "m1"), Outcome::kGranted);
  EXPECT_EQ(acquire("j", ""), Outcome::kGranted) << "an empty mark is not compared";
  EXPECT_EQ(acquire("i", "m2"), Outcome::kQuarantined) << "on the short way through the script";

  const NodeReply look = Ask([&](auto sink) { node->ReadMark(sink); });
  EXPECT_EQ(look.mark, "m1");
  ASSERT_TRUE(look.clock);
  EXPECT_LT(std::chrono::abs(*look.clock - loop.WallNow().time_since_epoch()), seconds(10));
  EXPECT_EQ(server.Cli("FLUSHALL"), "OK");
  model.LoseData();
  EXPECT_EQ(acquire("i", "m1"), Outcome::kQuarantined);
}

TEST_F(NodeTest, AProbeReportsWhetherAKeyIsFree) {
  RedisServer server;
  OpenReady(Tcp(server));
  const auto probe = [&] { return Ask([&](auto sink) { node->Probe(Key("k"), sink); }).outcome; };
  EXPECT_EQ(probe(), Outcome::kNotHeld);
  (void)Acquire("k", "mine", 1);
  EXPECT_EQ(probe(), Outcome::kHeld);
}

TEST_F(NodeTest, AKeyOfAnotherTypeIsReportedAsAnError) {
  RedisServer server;
  OpenReady(Tcp(server));
  (void)server.Cli("LPUSH k x");
  const NodeReply reply = Acquire("k", "mine", 1);
  EXPECT_EQ(reply.outcome, Outcome::kError);
  EXPECT_NE(reply.message.find("WRONGTYPE"), std::string::npos) << reply.message;
}

// An older script must not mistake a newer daemon's step for another step.
TEST_F(NodeTest, AnUnknownStepIsReportedByNameAndHasNoEffect) {
  const RedisServer server;
  const TemporaryDirectory directory;
  const std::string file = directory.path() + "/steps.lua";
  std::ofstream(file) << StepsSource();
  const std::string answer = server.Cli(
      "--eval " + file + " redlockd:mark k 'redlockd:meta:{k}' , '' 60000 0 0 shred token 1000");
  EXPECT_NE(answer.find("unknown step shred"), std::string::npos) << answer;
  EXPECT_EQ(server.Cli("DBSIZE"), "0");
}

TEST_F(NodeTest, ScriptsAreReloadedAfterAScriptFlush) {
  RedisServer server;
  OpenReady(Tcp(server));
  EXPECT_EQ(server.Cli("SCRIPT FLUSH"), "OK");
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
  EXPECT_EQ(Release("k", "mine").outcome, Outcome::kGranted);
}

TEST_F(NodeTest, CommandsOfOneIterationShareOneWrite) {
  RedisServer server;
  OpenReady(Tcp(server));
  const auto reads = [&] {
    const std::string info = server.Cli("INFO stats");
    return std::stol(info.substr(info.find("total_reads_processed:") + 22));
  };
  const auto sink = std::make_shared<Recorder>();
  const long before = reads();
  constexpr std::size_t kCommands = 100;
  DoOnStrand([&] {
    for (std::size_t i = 0; i < kCommands; ++i) {
      node->Release({.key = Key("k" + std::to_string(i)), .token = OwnerToken("t")}, sink);
    }
  });
  ASSERT_TRUE(RunUntil([&] { return sink->replies.size() == kCommands; }));
  // A write of 10 kB may arrive in several pieces; reads() itself costs two.
  EXPECT_LE(reads() - before, 6);
}

}  // namespace
}  // namespace redlock::redis
