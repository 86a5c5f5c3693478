// The unary calls of a client, and its watches.
#include "client/cpp/core/calls.h"
#include "client/cpp/core/watches.h"
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

using Kind = UnaryCommand::Kind;
using Delivery = UnaryAnswer::Delivery;

class CallsTest : public ::testing::Test {
 protected:
  CallId Start(UnaryCommand command) {
    const CallId call = calls.Start(std::move(command));
    Collect();
    return call;
  }
  CallId Acquire(std::optional<Duration> wait = {}, const std::string& token = "") {
    return Start({.key = "k", .token = token, .ttl = seconds(30), .wait = wait});
  }
  void Collect() {
    for (Effect& effect : calls.TakeEffects()) {
      std::visit(Overloaded{
                     [this](SendCall& it) { sent.push_back(std::move(it)); },
                     [this](CancelCall& it) { cancelled.insert(it.call); },
                     [this](Leased& it) { leased[it.call] = it.lease; },
                     [this](Done& it) { done.insert(it.call); },
                     [this](Failed& it) { failed[it.call] = it.error; },
                     [](auto&) { ADD_FAILURE() << "not an effect of a unary call"; },
                 },
                 effect);
    }
    for (auto& leftover : calls.TakeLeftovers()) {
      leftovers.push_back(leftover.token);
      lasts = leftover.lasts;
    }
  }
  void Answer(const UnaryAnswer& answer) {
    calls.OnAnswer(sent.back().call, sent.back().attempt, answer);
    Collect();
  }
  void Refuse(Reason reason) { Answer({.answer = {.error = Error{reason, "no"}}}); }
  void NoAnswer(Delivery delivery, bool connected = false) {
    Answer({.delivery = delivery,
            .answer = {.error = Error{Reason::kUnreachable, "no answer"}},
            .connected = connected});
  }
  void Grant(Duration validity = seconds(29)) {
    Answer({.answer = {.grant = client::Grant{"", 7, validity}}});
  }
  void Pass(Duration duration) {
    const TimePoint end = clock.now + duration;
    while (calls.NextDeadline() <= end) {
      clock.now = std::max(clock.now, calls.NextDeadline());
      calls.Tick();
      Collect();
    }
    clock.now = end;
  }
  [[nodiscard]] AcquireRequest Request(std::size_t i) const {
    return std::get<AcquireRequest>(sent.at(i).request);
  }
  static UnaryCommand Releases(Duration keep_for) {
    return {
        .kind = Kind::kRelease, .key = "k", .token = "t", .wait = seconds(5), .keep_for = keep_for};
  }
  static UnaryCommand Proclaims(const std::string& value) {
    return {.kind = Kind::kProclaim, .key = "k", .token = "t", .wait = seconds(5), .value = value};
  }
  [[nodiscard]] ProclaimRequest LastProclaim() const {
    return std::get<ProclaimRequest>(sent.back().request);
  }

  FakeClock clock;
  FakeRandom random;
  Calls calls{{"a", "b"}, clock, random};
  std::vector<SendCall> sent;
  std::set<CallId> cancelled, done;
  std::map<CallId, Lease> leased;
  std::map<CallId, Error> failed;
  std::vector<std::string> leftovers;
  Duration lasts{};  // the last leftover
};

TEST_F(CallsTest, TheValidityCountsFromBeforeTheRequestWasSent) {
  const CallId call = Acquire();
  EXPECT_TRUE(IsMadeToken(Request(0).token));
  EXPECT_FALSE(sent[0].timeout) << "without a limit";
  const TimePoint before = clock.now;
  Pass(seconds(2));
  Grant();
  ASSERT_TRUE(leased.contains(call));
  EXPECT_EQ(leased[call].valid_until, (before + seconds(29)).time_since_epoch());
  EXPECT_EQ(leased[call].token, Request(0).token);
  EXPECT_TRUE(leftovers.empty());
}

TEST_F(CallsTest, AnUndecidedAcquireIsRepeatedElsewhereWithTheSameToken) {
  const CallId call = Acquire();
  NoAnswer(Delivery::kUnknown);
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_NE(sent[0].endpoint, sent[1].endpoint);
  EXPECT_EQ(Request(0).token, Request(1).token);
  EXPECT_FALSE(Request(0).extend_if_held);
  EXPECT_TRUE(Request(1).extend_if_held);
  Grant();
  EXPECT_TRUE(leased.contains(call));
  EXPECT_TRUE(leftovers.empty());
}

TEST_F(CallsTest, AnAcquireThatWasNotSentIsNotAnExtension) {
  (void)Acquire();
  NoAnswer(Delivery::kNotSent);
  EXPECT_FALSE(Request(1).extend_if_held);
}

TEST_F(CallsTest, AnUndecidedAcquireThatFailsIsReleased) {
  const CallId refused = Acquire();
  NoAnswer(Delivery::kUnknown);
  Refuse(Reason::kLockAlreadyHeld);
  EXPECT_FAILED(refused, Reason::kLockAlreadyHeld);
  EXPECT_EQ(leftovers.size(), 1U) << "the first daemon may still carry it out";
  const CallId given_up = Acquire();
  calls.GiveUp(given_up);
  Collect();
  EXPECT_FAILED(given_up, Reason::kCancelled);
  EXPECT_TRUE(cancelled.contains(given_up));
  EXPECT_EQ(leftovers.size(), 2U);
  const CallId plain = Acquire();
  Refuse(Reason::kLockAlreadyHeld);
  EXPECT_FAILED(plain, Reason::kLockAlreadyHeld);
  EXPECT_EQ(leftovers.size(), 2U) << "it was refused";
}

TEST_F(CallsTest, RoundsOfFailedEndpointsAreFollowedByPauses) {
  const CallId call = Acquire(seconds(10));
  for (int i = 0; i < 20; ++i) {
    NoAnswer(Delivery::kNotSent);
    NoAnswer(Delivery::kNotSent);
    Pass(seconds(1));
    if (failed.contains(call)) break;
  }
  EXPECT_FAILED(call, Reason::kUnreachable);
  EXPECT_LT(sent.size(), 40U);
  EXPECT_GT(sent.size(), 10U);
  EXPECT_TRUE(leftovers.empty());
}

TEST_F(CallsTest, ASingleTryAsksEachEndpointOnce) {
  const CallId call = Acquire(Duration{});
  EXPECT_EQ(Request(0).retry->max_retries, 0);
  EXPECT_TRUE(sent[0].timeout) << "for silent daemons";
  NoAnswer(Delivery::kNotSent);
  NoAnswer(Delivery::kNotSent);
  EXPECT_FAILED(call, Reason::kUnreachable);
  EXPECT_EQ(sent.size(), 2U);
}

TEST_F(CallsTest, TheEndOfAWaitTellsAnOutageFromContention) {
  const CallId silent = Acquire(seconds(1));
  clock.now += seconds(1);
  NoAnswer(Delivery::kUnknown);
  EXPECT_FAILED(silent, Reason::kUnreachable);
  const CallId slow = Acquire(seconds(1));
  clock.now += seconds(1);
  NoAnswer(Delivery::kUnknown, true);
  EXPECT_FAILED(slow, Reason::kDeadlineExceeded);
  EXPECT_EQ(leftovers.size(), 2U);
  const CallId no_quorum = Acquire(seconds(1));
  Answer({.answer = {.error = Error{Reason::kDeadlineExceeded, "over"},
                     .last_reason = Reason::kQuorumUnavailable}});
  EXPECT_FAILED(no_quorum, Reason::kQuorumUnavailable);
  const CallId held = Acquire(seconds(1));
  Answer({.answer = {.error = Error{Reason::kDeadlineExceeded, "over", {}, "me"},
                     .last_reason = Reason::kLockAlreadyHeld}});
  EXPECT_FAILED(held, Reason::kDeadlineExceeded);
  EXPECT_EQ(failed[held].holder, "me");
}

TEST_F(CallsTest, ARepeatedReleaseMayHaveReleasedTheLock) {
  const UnaryCommand release{.kind = Kind::kRelease, .key = "k", .token = "t", .wait = seconds(5)};
  const CallId first = Start(release);
  Refuse(Reason::kLockNotHeld);
  EXPECT_FAILED(first, Reason::kLockNotHeld);
  const CallId not_sent = Start(release);
  NoAnswer(Delivery::kNotSent);
  Refuse(Reason::kLockNotHeld);
  EXPECT_FAILED(not_sent, Reason::kLockNotHeld);
  const CallId repeated = Start(release);
  NoAnswer(Delivery::kUnknown);
  Refuse(Reason::kLockNotHeld);
  EXPECT_TRUE(done.contains(repeated));
}

TEST_F(CallsTest, ASilentDaemonLeavesTimeForTheNextOne) {
  const CallId call = Start(
      {.kind = Kind::kExtend, .key = "k", .token = "t", .ttl = seconds(30), .wait = seconds(5)});
  EXPECT_EQ(sent[0].timeout, milliseconds(2'500));
  clock.now += milliseconds(2'500);
  NoAnswer(Delivery::kUnknown, true);
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_NE(sent[0].endpoint, sent[1].endpoint);
  Grant();
  EXPECT_TRUE(leased.contains(call));
}

TEST_F(CallsTest, ExtremeDurationsAreRefusedOrMeanWithoutALimit) {
  for (const UnaryCommand& command : std::vector<UnaryCommand>{
           {.key = "k", .ttl = Duration::max()},
           {.key = "k", .ttl = seconds(1), .wait = Duration::min()},
           {.kind = Kind::kExtend, .key = "k", .ttl = seconds(1), .wait = seconds(1)},
           {.kind = Kind::kRelease, .key = "k", .token = "t", .wait = Duration{}},
           {.kind = Kind::kRelease, .key = "k", .token = "t", .wait = Duration(-1)},
           {.kind = Kind::kProclaim, .key = "k", .token = "t", .wait = milliseconds(9)},
           {.key = "k", .ttl = seconds(1), .lock_delay = Duration(-1)},
           {.key = "k", .ttl = seconds(1), .lock_delay = Duration::max()},
           Releases(Duration(0)),
           Releases(Duration(-1)),
           Releases(Duration::max())}) {
    const CallId call = Start(command);
    EXPECT_FAILED(call, Reason::kInvalidArgument);
  }
  EXPECT_TRUE(sent.empty());
  (void)Acquire(Duration::max());
  EXPECT_FALSE(sent.back().timeout);
}

TEST_F(CallsTest, AClosedClientFailsItsCallsAndLeavesNoLock) {
  const CallId call = Acquire();
  calls.Close();
  Collect();
  EXPECT_FAILED(call, Reason::kCancelled);
  EXPECT_EQ(leftovers.size(), 1U);
  const CallId later = Acquire();
  EXPECT_FAILED(later, Reason::kCancelled);
}

TEST_F(CallsTest, AnAcquireNamesItsValueAndDelayInEachAttempt) {
  (void)Start({.key = "k", .ttl = seconds(30), .value = "here", .lock_delay = seconds(2)});
  NoAnswer(Delivery::kUnknown);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(Request(i).value, "here");
    EXPECT_EQ(Request(i).lock_delay, seconds(2));
  }
  Refuse(Reason::kLockAlreadyHeld);
  EXPECT_EQ(leftovers.size(), 1U);
  EXPECT_EQ(lasts, seconds(32)) << "the nodes add the delay";
}

TEST_F(CallsTest, ARepeatedReleaseStillKeepsTheKey) {
  const CallId call = Start(Releases(seconds(9)));
  NoAnswer(Delivery::kUnknown);
  ASSERT_EQ(sent.size(), 2U);
  for (const SendCall& one : sent) {
    EXPECT_EQ(std::get<ReleaseRequest>(one.request).keep_for, seconds(9));
  }
  Answer({});
  EXPECT_TRUE(done.contains(call));
}

TEST_F(CallsTest, AValueIsProclaimedByKeyAndToken) {
  const CallId call = Start(Proclaims("new"));
  EXPECT_EQ(LastProclaim().key, "k");
  EXPECT_EQ(LastProclaim().token, "t");
  EXPECT_EQ(LastProclaim().value, "new");
  Answer({});
  EXPECT_TRUE(done.contains(call));
  const CallId not_held = Start(Proclaims(""));
  Refuse(Reason::kLockNotHeld);
  EXPECT_FAILED(not_held, Reason::kLockNotHeld);
}

TEST_F(CallsTest, AValueIsAtMost4096BytesOfUtf8) {
  for (const std::string& value : {std::string(4097, 'x'), std::string("\xff")}) {
    const CallId proclaims = Start(Proclaims(value));
    EXPECT_FAILED(proclaims, Reason::kInvalidArgument);
    EXPECT_EQ(failed[proclaims].message.substr(0, 6), "value:");
    const CallId acquires = Start({.key = "k", .ttl = seconds(1), .value = value});
    EXPECT_FAILED(acquires, Reason::kInvalidArgument);
  }
  EXPECT_TRUE(sent.empty());
  (void)Start(Proclaims(std::string(4096, 'x')));
  EXPECT_EQ(sent.size(), 1U);
}

TEST_F(CallsTest, AProclamationIsRepeatedElsewhereWhileItIsUndecided) {
  const CallId call = Start(Proclaims("new"));
  Refuse(Reason::kQuorumUnavailable);
  EXPECT_EQ(sent.size(), 1U) << "after a pause";
  Pass(seconds(1));
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_NE(sent[0].endpoint, sent[1].endpoint);
  NoAnswer(Delivery::kUnknown);
  Pass(seconds(1));
  Refuse(Reason::kDraining);
  Pass(seconds(1));
  EXPECT_EQ(LastProclaim().value, "new");
  EXPECT_EQ(sent.size(), 4U);
  Answer({});
  EXPECT_TRUE(done.contains(call));
}

TEST_F(CallsTest, AProclamationThatStaysUndecidedSaysWhy) {
  const CallId call = Start(Proclaims("new"));
  for (int i = 0; i < 100 && !failed.contains(call); ++i) {
    Refuse(Reason::kQuorumUnavailable);
    Pass(milliseconds(200));
  }
  EXPECT_FAILED(call, Reason::kQuorumUnavailable);
  EXPECT_GT(sent.size(), 5U);
  const CallId silent = Start(Proclaims("new"));
  clock.now += seconds(5);
  NoAnswer(Delivery::kUnknown, true);
  EXPECT_FAILED(silent, Reason::kDeadlineExceeded);
  EXPECT_NE(failed[silent].message.find("may or may not be published"), std::string::npos);
}

// A lease that this client holds.
class ProclaimTest : public CallsTest {
 protected:
  CallId Proclaim(const std::string& value = "new") {
    const CallId call = calls.Proclaim(lease, value);
    Collect();
    return call;
  }

  std::shared_ptr<KeptLease> Lease() {
    const auto trust = std::make_shared<SessionTrust>(seconds(100));
    trust->OnAnswer(clock.now);
    return std::make_shared<KeptLease>(semaphore("k", 2), 1, "t", false, seconds(30), Duration{},
                                       trust, clock.now + seconds(3), 7, 0);
  }

  std::shared_ptr<KeptLease> lease = Lease();
};

TEST_F(ProclaimTest, IsBoundedByTheTrustInTheLease) {
  const CallId call = Proclaim();
  EXPECT_EQ(LastProclaim().token, "t");
  for (int i = 0; i < 100 && !failed.contains(call); ++i) {
    Refuse(Reason::kQuorumUnavailable);
    Pass(milliseconds(200));
  }
  EXPECT_FAILED(call, Reason::kQuorumUnavailable);
  EXPECT_LE(clock.now - TimePoint(seconds(1'000)), milliseconds(3'200));
}

TEST_F(ProclaimTest, FailsIfTheLeaseIsLostOrReleased) {
  const CallId call = Proclaim();
  lease->Lose({Reason::kValidityExpired, "lost"});
  NoAnswer(Delivery::kNotSent);
  EXPECT_FAILED(call, Reason::kLockNotHeld);
  EXPECT_EQ(failed[call].message, "lost");
  const std::size_t before = sent.size();
  const CallId later = Proclaim();
  EXPECT_FAILED(later, Reason::kLockNotHeld);
  EXPECT_EQ(sent.size(), before);
}

TEST_F(ProclaimTest, FailsOnceTheTrustHasEnded) {
  clock.now += seconds(3);
  const CallId call = Proclaim();
  EXPECT_FAILED(call, Reason::kLockNotHeld);
  EXPECT_TRUE(sent.empty());
}

TEST_F(ProclaimTest, ARefusalDoesNotEndTheTrust) {
  const CallId call = Proclaim();
  Refuse(Reason::kLockNotHeld);
  EXPECT_FAILED(call, Reason::kLockNotHeld);
  EXPECT_TRUE(lease->held());
}

class WatchesTest : public ::testing::Test {
 protected:
  void Collect() {
    for (Effect& effect : watches.TakeEffects()) {
      if (auto* const open = std::get_if<OpenWatch>(&effect)) opened.push_back(*open);
      if (std::holds_alternative<CancelWatch>(effect)) ++cancelled;
      if (auto* const it = std::get_if<Watched>(&effect)) events.push_back(it->event);
    }
  }
  void Start(bool keep_watching = true) {
    watch = watches.Start({{"a", "t", seconds(10), {}}, {"b", "u", seconds(20), seconds(1)}},
                          {.keep_watching_after_loss = keep_watching});
    Collect();
  }
  void Hear(EventType type, const std::string& key) {
    watches.OnEvent(watch, opened.back().attempt,
                    {.type = type, .key = key, .error = {Reason::kLockNotHeld, "no"}});
    Collect();
  }
  void End(const std::optional<Error>& why) {
    watches.OnEnded(watch, opened.back().attempt, why);
    Collect();
  }
  void Pass(Duration duration) {
    clock.now += duration;
    watches.Tick();
    Collect();
  }

  FakeClock clock;
  FakeRandom random;
  Watches watches{2, clock, random};
  WatchId watch = 0;
  std::vector<OpenWatch> opened;
  std::vector<WatchEvent> events;
  int cancelled = 0;
};

TEST_F(WatchesTest, AWatchSurvivesBrokenStreamsAndEndsWithItsClose) {
  Start();
  EXPECT_EQ(opened[0].items[1].interval, seconds(1));
  for (int i = 0; i < 10; ++i) {
    End(Error{Reason::kUnreachable, "broken"});
    Pass(seconds(1));
  }
  EXPECT_EQ(opened.size(), 11U);
  EXPECT_EQ(events.size(), 10U) << "every failure is reported";
  watches.Close(watch);
  Collect();
  EXPECT_EQ(cancelled, 1);
  End(Error{Reason::kUnreachable, "cancelled"});
  watches.Close(watch);
  Collect();
  ASSERT_EQ(events.size(), 11U) << "the last event, once";
  EXPECT_EQ(events.back().type, WatchEvent::Type::kEnded);
  EXPECT_EQ(events.back().error.reason, Reason::kCancelled);
  EXPECT_EQ(watches.NextDeadline(), kNever);
}

TEST_F(WatchesTest, AWatchMovesAwayFromADaemonThatShutsDown) {
  Start();
  Hear(EventType::kDraining, "");
  ASSERT_EQ(opened.size(), 2U);
  EXPECT_NE(opened[0].endpoint, opened[1].endpoint);
  EXPECT_EQ(cancelled, 1);
}

// The event names the slot that the token has.
TEST_F(WatchesTest, ASlotThatTheItemDoesNotNameIsThatOfTheItem) {
  watch = watches.Start({{semaphore("a", 3), "t", seconds(10), {}},
                         {semaphore("b", 3, 2), "u", seconds(10), {}},
                         {"c", "v", seconds(10), {}}},
                        {.keep_watching_after_loss = false});
  Collect();
  Hear(EventType::kExtendFailed, semaphore("a", 3, 1));
  EXPECT_EQ(events.back().key, semaphore("a", 3));
  Hear(EventType::kLost, semaphore("a", 3, 1));
  EXPECT_EQ(events.back().key, semaphore("a", 3));
  Hear(EventType::kLost, semaphore("b", 3, 2));
  EXPECT_EQ(events.back().key, semaphore("b", 3, 2));
  End(Error{Reason::kUnreachable, "broken"});
  Pass(seconds(1));
  ASSERT_EQ(opened.size(), 2U);
  ASSERT_EQ(opened[1].items.size(), 1U);
  EXPECT_EQ(opened[1].items[0].key, "c");
}

TEST_F(WatchesTest, ALostLockIsWatchedAgainOnlyIfTheUserWantsIt) {
  Start();
  Hear(EventType::kLost, "a");
  End(Error{Reason::kUnreachable, "broken"});
  Pass(seconds(1));
  EXPECT_EQ(opened.back().items.size(), 2U);
  watches.Close(watch);
  Start(false);
  Hear(EventType::kLost, "a");
  End(Error{Reason::kUnreachable, "broken"});
  Pass(seconds(1));
  ASSERT_EQ(opened.back().items.size(), 1U);
  EXPECT_EQ(opened.back().items[0].key, "b");
  const std::size_t before = opened.size();
  Hear(EventType::kLost, "b");
  End(std::nullopt);
  Pass(seconds(10));
  EXPECT_EQ(opened.size(), before) << "nothing is left to watch";
  watches.CloseAll({Reason::kCancelled, "closed"});
  Collect();
  EXPECT_EQ(events.back().type, WatchEvent::Type::kEnded);
}

// The keepalive of the connection would notice it long after a short TTL.
TEST_F(WatchesTest, AWatchLeavesADaemonThatFallsSilent) {
  Start();
  Pass(milliseconds(3'499));
  EXPECT_EQ(opened.size(), 1U);
  Pass(milliseconds(1));
  ASSERT_EQ(opened.size(), 2U);
  EXPECT_NE(opened[0].endpoint, opened[1].endpoint);
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(events.back().type, WatchEvent::Type::kStreamFailed);
  EXPECT_EQ(events.back().error.reason, Reason::kUnreachable);
  for (int i = 0; i < 5; ++i) {
    Pass(milliseconds(1'999));
    Hear(EventType::kExtendFailed, "b");
  }
  EXPECT_EQ(opened.size(), 2U);
  EXPECT_EQ(watches.NextDeadline(), clock.now + seconds(2)) << "the shortest interval is 1 s";
  Pass(seconds(2));
  Pass(seconds(1));
  EXPECT_EQ(opened.size(), 3U);
}

TEST_F(WatchesTest, AStreamThatEndsBecauseAllIsLostHasNotFailed) {
  Start(false);
  Hear(EventType::kLost, "a");
  Hear(EventType::kLost, "b");
  End(Error{Reason::kLockNotHeld, "all locks are lost"});
  Pass(seconds(10));
  EXPECT_EQ(events.size(), 2U);
  EXPECT_EQ(opened.size(), 1U);
}

TEST(WatchItems, AreChecked) {
  const WatchItem good{"a", "t", seconds(10), {}};
  EXPECT_FALSE(CheckItems({good}));
  for (const std::vector<WatchItem>& items :
       std::vector<std::vector<WatchItem>>{{},
                                           {good, good},
                                           {{"", "t", seconds(10), {}}},
                                           {{"a", "", seconds(10), {}}},
                                           {{"a", "t", Duration::max(), {}}},
                                           {{"a", "t", seconds(10), seconds(10)}},
                                           {{"a", "t", seconds(10), Duration{}}}}) {
    EXPECT_TRUE(CheckItems(items));
  }
}

TEST(OwnerLabel, IsCutToWholeCharacters) {
  EXPECT_EQ(CutToUtf8("abc", 3), "abc");
  EXPECT_EQ(CutToUtf8("abcd", 3), "abc");
  EXPECT_EQ(CutToUtf8("ab\xc3\xa9", 3), "ab");
  EXPECT_EQ(CutToUtf8("a\xff\xc3\xa9", 3), "a\xc3\xa9") << "what is not UTF-8 is left out";
}

}  // namespace
}  // namespace redlock::client
