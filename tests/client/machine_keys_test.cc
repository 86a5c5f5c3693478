// Locks of several keys.
#include "client/cpp/core/calls.h"
#include "client/cpp/core/keys.h"
#include "client/cpp/core/validation.h"
#include "client/cpp/core/watches.h"
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

using Names = std::vector<std::string>;

TEST(Keys, TheOrderDoesNotMatter) {
  EXPECT_EQ(together({"b", "a", "\xC3\xBC"}), together({"\xC3\xBC", "b", "a"}));
  EXPECT_EQ(NamesOf(together({"b", "\xC3\xBC", "a"})), (Names{"a", "b", "\xC3\xBC"}));
  EXPECT_NE(together({"ab", "c"}), together({"a", "bc"}));
}

TEST(Keys, OneKeyStandsForItself) {
  EXPECT_EQ(together({"a, b"}), "a, b");
  EXPECT_EQ(NamesOf("a, b"), (Names{"a, b"}));
  EXPECT_EQ(together({}), "");
}

TEST(Keys, PeopleSeeTheNames) {
  EXPECT_EQ(InWords(together({"b", "a", "c"})), "a, b, c");
  EXPECT_EQ(InWords("a"), "a");
}

TEST(Keys, ASharedKeyHasTheSameNames) {
  EXPECT_TRUE(IsShared(shared("a")));
  EXPECT_FALSE(IsShared(together({"b", "a"})));
  EXPECT_NE(shared("a"), "a");
  EXPECT_EQ(shared(shared("a")), shared("a"));
  EXPECT_EQ(NamesOf(shared(together({"b", "a"}))), (Names{"a", "b"}));
  EXPECT_EQ(InWords(shared(together({"b", "a"}))), "a, b");
}

TEST(Keys, ASemaphoreHasALimitAndMayNameASlot) {
  const std::string any = semaphore("a", 5);
  const std::string third = semaphore("a", 5, 3);
  EXPECT_TRUE(IsSemaphore(any));
  EXPECT_FALSE(IsSemaphore("a") || IsSemaphore(shared("a")) || IsSemaphore(""));
  EXPECT_EQ(LimitOf(third), 5);
  EXPECT_EQ(SlotOf(third), 3);
  EXPECT_EQ(SlotOf(any), 0);
  EXPECT_EQ(AnySlot(third), any);
  EXPECT_EQ(WithSlot(any, 3), third);
  EXPECT_EQ(WithSlot("a", 3), "a");
  EXPECT_EQ(NamesOf(third), Names{"a"});
  EXPECT_EQ(InWords(third), "a");
  for (const auto& key : {any, third, semaphore("a", 64, 64), semaphore("a", 2)}) {
    EXPECT_FALSE(CheckKey(key));
  }
}

Names Numbered(std::size_t count, std::size_t bytes) {
  Names names;
  for (std::size_t i = 0; i < count; ++i) {
    names.push_back(std::to_string(100 + i));
    names.back().resize(bytes, 'k');
  }
  return names;
}

TEST(Keys, BadOnesAreRefused) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {together({}), "key: must not be empty"},
      {together({"a", ""}), "key: must not be empty"},
      {together({"", ""}), "key: must not be empty"},
      {together({"a", "redlockd:x"}), "key: must not begin with"},
      {together({"a", std::string(513, 'k')}), "key: has 513 bytes"},
      {together({"a", "\xC3"}), "key: is not valid UTF-8"},
      {together({"a\xFF"
                 "b"}),
       "key: is not valid UTF-8"},
      {together({"c",
                 "a\xFF"
                 "b"}),
       "key: is not valid UTF-8"},
      {"b\xFF"
       "a",
       "key: is not valid UTF-8"},
      {together({shared("a"), "b"}), "key: is not valid UTF-8"},
      {shared(""), "key: must not be empty"},
      {shared("redlockd:x"), "key: must not begin with"},
      {semaphore("a", 1), "max_holders: must be from 2 to 64"},
      {semaphore("a", 65), "max_holders: must be from 2 to 64"},
      {semaphore("a", -1), "max_holders: must be from 2 to 64"},
      {semaphore("a", 256 + 5), "max_holders: must be from 2 to 64"},
      {semaphore("a", 5, 6), "slot: must be from 1 to max_holders"},
      {semaphore("a", 5, -1), "slot: must be from 1 to max_holders"},
      {semaphore("", 5), "key: must not be empty"},
      {semaphore("redlockd:x", 5), "key: must not begin with"},
      {semaphore(together({"a", "b"}), 5), "key: a semaphore has a single key"},
      {semaphore(shared("a"), 5), "key: a semaphore is not shared"},
      {shared(semaphore("a", 5)), "key: is not valid UTF-8"},
      {together({semaphore("a", 5), "b"}), "key: is not valid UTF-8"},
      {together({"c", "a", "b", "a"}), "keys: the key a occurs twice"},
      {together(Numbered(65, 3)), "keys: there are 65; lock at most 64 together"},
      {together(Numbered(17, 482)), "keys: have 8194 bytes together; use at most 8192"},
  };
  for (const auto& [key, message] : bad) {
    const auto error = CheckKey(key);
    ASSERT_TRUE(error) << message;
    EXPECT_EQ(error->reason, Reason::kInvalidArgument);
    EXPECT_EQ(error->message.substr(0, message.size()), message);
  }
  EXPECT_FALSE(CheckKey(together(Numbered(64, 128))));
  EXPECT_FALSE(CheckKey(together(Numbered(16, 512))));
  EXPECT_FALSE(CheckKey(shared(together(Numbered(16, 512)))));
}

TEST_F(MachineLocksTest, SeveralKeysAreOneLock) {
  const auto lease = Hold({.key = together({"b", "a"}), .ttl = seconds(1)});
  const std::string key = Last<AcquireRequest>().body.key;
  EXPECT_EQ(NamesOf(key), (Names{"a", "b"}));
  EXPECT_TRUE(machine->Trusts("a", clock.now) && machine->Trusts("b", clock.now));
  EXPECT_FALSE(machine->Trusts("c", clock.now));
  Message({.events = {{.type = EventType::kExtended,
                       .key = together({"a", "b"}),
                       .grant = Grant{lease->token(), 7, seconds(4)}}}});
  EXPECT_GT(lease->TrustedUntil(), clock.now + seconds(3));
  Message({.events = {{.type = EventType::kLost,
                       .key = together({"a", "b"}),
                       .grant = Grant{lease->token(), 7, {}},
                       .error = {Reason::kLockNotHeld, "taken"}}}});
  EXPECT_FALSE(lease->held());
  ASSERT_FALSE(logged.empty());
  EXPECT_EQ(logged.back(), "a, b: the lock is lost: taken");
  EXPECT_FALSE(machine->Trusts("b", clock.now));
}

TEST_F(MachineLocksTest, AShareIsNoExclusiveLock) {
  const auto share = Hold({.key = shared("a"), .ttl = seconds(30), .token = "mine"});
  EXPECT_TRUE(machine->Trusts(shared("a"), clock.now));
  EXPECT_FALSE(machine->Trusts("a", clock.now));
  // An event of the exclusive lock with the same token.
  Message({.events = {{.type = EventType::kLost,
                       .key = "a",
                       .grant = Grant{"mine", 7, {}},
                       .error = {Reason::kLockNotHeld, "taken"}}}});
  EXPECT_TRUE(share->held());
  (void)Acquire({.key = "a", .ttl = seconds(30), .token = "mine", .way = Way::kAcquireOrExtend});
  Flush();
  EXPECT_EQ(Last<ExtendRequest>().body.key, "a") << "the client does not hold this lock";
}

TEST_F(MachineLocksTest, ASlotIsKeptAndAdoptedAsTheOneThatWasGranted) {
  (void)Acquire({.key = semaphore("a", 5), .ttl = seconds(30), .token = "mine"});
  Flush();
  const auto acquire = Last<AcquireRequest>();
  EXPECT_EQ(acquire.body.key, semaphore("a", 5));
  Grant grant{"mine", 7, seconds(29)};
  grant.slot = 3;
  Message({.answers = {{.id = acquire.id, .grant = grant}}});
  ASSERT_EQ(machine->Leases().size(), 1U);
  const LeaseRef lease = machine->Leases().front();
  EXPECT_EQ(lease->slot(), 3);
  EXPECT_TRUE(machine->Trusts(semaphore("a", 5, 3), clock.now));
  EXPECT_FALSE(machine->Trusts("a", clock.now));
  const CallId wrong = Acquire(
      {.key = semaphore("a", 5, 2), .ttl = seconds(30), .token = "mine", .way = Way::kAdopt});
  EXPECT_EQ(failed[wrong].reason, Reason::kLockNotHeld);
  (void)Extend(lease);
  Flush();
  EXPECT_EQ(Last<ExtendRequest>().body.key, semaphore("a", 5, 3));
  // An event of another limit.
  Message({.events = {{.type = EventType::kLost,
                       .key = semaphore("a", 6, 3),
                       .grant = Grant{"mine", 7, {}},
                       .error = {Reason::kLockNotHeld, "taken"}}}});
  // One of another slot, which the token had before.
  Message({.events = {{.type = EventType::kLost,
                       .key = semaphore("a", 5, 2),
                       .grant = Grant{"mine", 7, {}},
                       .error = {Reason::kLockNotHeld, "taken"}}}});
  EXPECT_TRUE(lease->held());
  Message({.events = {{.type = EventType::kLost,
                       .key = semaphore("a", 5, 3),
                       .grant = Grant{"mine", 7, {}},
                       .error = {Reason::kLockNotHeld, "taken"}}}});
  EXPECT_FALSE(lease->held());
}

TEST_F(MachineLocksTest, ErrorsNameAllKeys) {
  const CallId held = Acquire({.key = together({"b", "a"}), .ttl = seconds(9), .wait = Duration{}});
  Flush();
  Message(
      {.answers = {{.id = Last<AcquireRequest>().id,
                    .error = Error{Reason::kLockAlreadyHeld, "no", {}, "someone", seconds(2)}}}});
  EXPECT_EQ(failed[held].message, "a, b: held by \"someone\" for 2.000 s");
  const auto late = Acquire({.key = together({"b", "a"}), .ttl = seconds(9), .wait = seconds(1)});
  Live(seconds(2));
  EXPECT_EQ(failed[late].message, "a, b: not acquired within 1 s");
  const auto lease = Hold({.key = together({"b", "a"}), .ttl = seconds(9), .token = "mine"});
  const auto again =
      Acquire({.key = together({"a", "b"}), .ttl = seconds(9), .token = lease->token()});
  EXPECT_EQ(failed[again].message, "a, b: this client holds the lock with the same token");
}

TEST(WatchItems, OfTheSameKeysAreRefused) {
  const WatchItem item{together({"a", "b"}), "t", seconds(10), {}};
  EXPECT_FALSE(CheckItems({item, {"a", "t", seconds(10), {}}}));
  const auto error = CheckItems({item, {together({"b", "a"}), "t", seconds(10), {}}});
  ASSERT_TRUE(error);
  EXPECT_EQ(error->message, "items: the key a, b occurs twice");
  // The daemon would refuse the watch again and again.
  EXPECT_TRUE(CheckItems({item, {shared(item.key), "t", seconds(10), {}}}));
  EXPECT_TRUE(CheckItems({{"a", "t", seconds(10), {}}, {semaphore("a", 2), "t", seconds(10), {}}}));
  EXPECT_TRUE(CheckItems({{semaphore("a", 2, 1), "t", seconds(10), {}},
                          {semaphore("a", 2, 2), "u", seconds(10), {}}}));
}

TEST(CallsOfSeveralKeys, FailWithTheirNames) {
  FakeClock clock;
  FakeRandom random;
  Calls calls({"a"}, clock, random);
  (void)calls.Start({.kind = UnaryCommand::Kind::kRelease,
                     .key = together({"y", "x"}),
                     .token = "t",
                     .wait = seconds(1)});
  const auto sent = std::get<SendCall>(calls.TakeEffects().at(0));
  EXPECT_EQ(NamesOf(std::get<ReleaseRequest>(sent.request).key), (Names{"x", "y"}));
  clock.now += seconds(1);
  calls.OnAnswer(sent.call, sent.attempt,
                 {.delivery = UnaryAnswer::Delivery::kUnknown,
                  .answer = {.error = Error{Reason::kUnreachable, "no answer"}},
                  .connected = true});
  const auto effects = calls.TakeEffects();
  ASSERT_EQ(effects.size(), 1U);
  EXPECT_EQ(std::get<Failed>(effects[0]).error.message,
            "x, y: no answer within 1 s; the lock may or may not be released");
}

}  // namespace
}  // namespace redlock::client
