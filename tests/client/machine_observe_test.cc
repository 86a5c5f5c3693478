// The observers of a client.
#include "client/cpp/core/observers.h"
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

class ObserversTest : public ::testing::Test {
 protected:
  void SetUp() override { observer = Start("k"); }
  ObserverId Start(const std::string& key) {
    const ObserverId id = observers.Start(key);
    Collect();
    return id;
  }
  void Collect() {
    for (Effect& effect : observers.TakeEffects()) {
      if (auto* const open = std::get_if<OpenObserve>(&effect)) opened.push_back(*open);
      if (std::holds_alternative<CancelObserve>(effect)) ++cancelled;
      if (std::holds_alternative<Observed>(effect)) ++told;
    }
  }
  static KeyState Held(std::uint64_t fence, const std::string& value = "",
                       Duration remaining = seconds(10)) {
    return {.state = HolderState::kHeld,
            .holders = 1,
            .value = value,
            .fencing_token = fence,
            .remaining = remaining};
  }
  static KeyState Vacant() { return {.state = HolderState::kVacant}; }
  static KeyState Undecided(const std::string& why) {
    return {.state = HolderState::kUndecided, .error = {Reason::kQuorumUnavailable, why}};
  }
  // From the stream that was opened last.
  void Hear(KeyState state) {
    observers.OnState(observer, opened.back().attempt, std::move(state));
    Collect();
  }
  void Break(const std::string& why = "broken", bool final = false,
             Reason reason = Reason::kUnreachable) {
    observers.OnEnded(observer, opened.back().attempt, {reason, why}, final);
    Collect();
  }
  void Pass(Duration duration) {
    const TimePoint end = clock.now + duration;
    while (observers.NextDeadline() <= end) {
      clock.now = std::max(clock.now, observers.NextDeadline());
      observers.Tick();
      Collect();
    }
    clock.now = end;
  }
  // What the reader gets: the state with its fencing token and value, or the reason of the end.
  // Empty: nothing.
  std::string Taken() {
    const auto taken = observers.Take(observer);
    if (!taken) return "";
    if (!*taken) return to_string(taken->error().reason);
    const KeyState& state = **taken;
    std::string words = to_string(state.state);
    if (state.fencing_token != 0) words += " " + std::to_string(state.fencing_token);
    if (!state.value.empty()) words += " " + state.value;
    last = state;
    return words;
  }

  FakeClock clock;
  FakeRandom random;
  Observers observers{{"a", "b"}, clock, random};
  ObserverId observer = 0;
  std::vector<OpenObserve> opened;
  KeyState last;
  int cancelled = 0;
  int told = 0;
};

TEST_F(ObserversTest, EveryStateIsReportedOnce) {
  EXPECT_EQ(opened.at(0).key, "k");
  EXPECT_EQ(Taken(), "");
  Hear(Vacant());
  EXPECT_EQ(Taken(), "VACANT");
  EXPECT_EQ(Taken(), "");
  Hear(Held(5, "one"));
  EXPECT_EQ(Taken(), "HELD 5 one");
  Hear(Held(5, "two"));
  EXPECT_EQ(Taken(), "HELD 5 two");
  Hear(Undecided("why"));
  EXPECT_EQ(Taken(), "UNDECIDED");
  EXPECT_EQ(last.error.message, "why");
  EXPECT_EQ(told, 4);
  EXPECT_EQ(observers.NextDeadline(), kNever) << "nothing is due while the stream lives";
}

TEST_F(ObserversTest, ABrokenStreamIsOpenedElsewhereAndAnEqualStateIsNotRepeated) {
  Hear(Held(5, "one"));
  EXPECT_EQ(Taken(), "HELD 5 one");
  for (int i = 0; i < 10; ++i) {
    Break();
    Pass(milliseconds(1'500));
    KeyState again = Held(5, "one", seconds(9));
    again.held_for = seconds(i);
    Hear(again);
  }
  EXPECT_EQ(Taken(), "");
  ASSERT_EQ(opened.size(), 11U);
  EXPECT_NE(opened[0].endpoint, opened[1].endpoint);
  Break();
  Pass(milliseconds(1'500));
  Hear(Held(5, "two"));
  EXPECT_EQ(Taken(), "HELD 5 two") << "a change during the break";
}

TEST_F(ObserversTest, OneOfSeveralHoldersMayLeaveDuringABreak) {
  KeyState semaphore = Held(7);
  semaphore.max_holders = 3;
  KeyState shares = Held(7);
  shares.shared = true;
  for (KeyState state : {semaphore, shares}) {
    observers.Forget(observer);
    observer = Start("k");
    Hear(Held(4));
    EXPECT_EQ(Taken(), "HELD 4");
    state.fencing_token = 7;
    state.holders = 2;
    Hear(state);
    EXPECT_EQ(Taken(), "HELD 7");
    Break();
    state.fencing_token = 5;
    state.holders = 1;
    Hear(state);
    EXPECT_EQ(Taken(), "HELD 7") << "the reported token never decreases";
    EXPECT_EQ(last.holders, 1);
    EXPECT_EQ(observers.NextDeadline(), kNever);
    state.fencing_token = 3;
    state.holders = 3;
    Hear(state);
    EXPECT_EQ(Taken(), "") << "a state from before the exclusive holder";
    Hear(Held(6));
    EXPECT_EQ(Taken(), "") << "an exclusive holder from before the others";
    Hear(Held(8));
    EXPECT_EQ(Taken(), "HELD 8");
    Hear(state);
    EXPECT_EQ(Taken(), "");
  }
}

TEST_F(ObserversTest, EachDifferenceMakesAnotherState) {
  KeyState state{.state = HolderState::kHeld, .holders = 1, .fencing_token = 5};
  const auto is_new = [this](const KeyState& next) {
    Hear(next);
    return !Taken().empty();
  };
  EXPECT_TRUE(is_new(state));
  EXPECT_FALSE(is_new(state));
  state.owner = "me";
  EXPECT_TRUE(is_new(state));
  state.value = "one";
  EXPECT_TRUE(is_new(state));
  state.holders = 2;
  EXPECT_TRUE(is_new(state));
  state.held_by = {{.fencing_token = 4}, {.fencing_token = 5}};
  EXPECT_TRUE(is_new(state));
  state.held_by[0].slot = 3;
  EXPECT_TRUE(is_new(state)) << "the token has got another slot";
  state.held_by[0].value = "two";
  EXPECT_TRUE(is_new(state));
  state.fencing_token = 6;
  EXPECT_TRUE(is_new(state));
  state.remaining = seconds(3);
  EXPECT_FALSE(is_new(state)) << "extensions are not reported";
  KeyState kept = Vacant();
  kept.kept_for = seconds(3);
  EXPECT_TRUE(is_new(kept));
  kept.kept_for = seconds(2);
  EXPECT_FALSE(is_new(kept));
  EXPECT_TRUE(is_new(Vacant()));
}

TEST_F(ObserversTest, FencingTokensNeverGoBackwards) {
  Hear(Held(7));
  Hear(Held(6));
  EXPECT_EQ(Taken(), "HELD 7");
  Hear(Vacant());
  EXPECT_EQ(Taken(), "VACANT");
  Break();
  Hear(Held(6));
  EXPECT_EQ(Taken(), "") << "another daemon is behind";
  Pass(seconds(2));
  EXPECT_EQ(Taken(), "UNDECIDED") << "it has not reported a state that counts";
  Hear(Held(8));
  EXPECT_EQ(Taken(), "HELD 8");
}

TEST_F(ObserversTest, AHolderStandsForTheRestOfItsTimeAfterABreak) {
  Hear(Held(5, "", seconds(10)));
  EXPECT_EQ(Taken(), "HELD 5");
  Pass(seconds(4));
  for (int i = 0; i < 30; ++i) {
    Break("b: refused");
    Pass(milliseconds(195));
  }
  EXPECT_EQ(Taken(), "") << "5.85 s of the other 6";
  Pass(milliseconds(200));
  EXPECT_EQ(Taken(), "UNDECIDED");
  EXPECT_EQ(last.error.reason, Reason::kUnreachable);
  EXPECT_NE(last.error.message.find("b: refused"), std::string::npos) << last.error.message;
  Break();
  Pass(seconds(60));
  EXPECT_EQ(Taken(), "") << "once";
  Hear(Held(5));
  EXPECT_EQ(Taken(), "HELD 5");
}

TEST_F(ObserversTest, AStateStandsUntilAnotherDaemonCanHaveAnswered) {
  for (const KeyState& state : {Vacant(), Held(5, "", seconds(2))}) {
    Hear(state);
    EXPECT_NE(Taken(), "");
    Pass(seconds(30));
    Break();
    Pass(milliseconds(1'490));
    EXPECT_EQ(Taken(), "");
    Pass(milliseconds(10));
    EXPECT_EQ(Taken(), "UNDECIDED");
  }
}

TEST_F(ObserversTest, AnotherStreamKeepsTheStateAlive) {
  Hear(Vacant());
  EXPECT_EQ(Taken(), "VACANT");
  Break();
  Pass(milliseconds(900));
  Hear(Vacant());
  Pass(seconds(60));
  EXPECT_EQ(Taken(), "");
}

TEST_F(ObserversTest, NoStateInTimeIsUndecided) {
  Pass(milliseconds(1'499));
  EXPECT_EQ(Taken(), "");
  Pass(milliseconds(1));
  EXPECT_EQ(Taken(), "UNDECIDED");
  EXPECT_NE(last.error.message.find("a: no answer yet"), std::string::npos) << last.error.message;
  Hear(Vacant());
  EXPECT_EQ(Taken(), "VACANT");
}

TEST_F(ObserversTest, ASlowReaderGetsTheLatestState) {
  Hear(Vacant());
  Hear(Held(5, "one"));
  Hear(Held(5, "two"));
  EXPECT_EQ(Taken(), "HELD 5 two");
  EXPECT_EQ(Taken(), "");
  Hear(Undecided("no quorum"));
  Hear(Held(5, "two"));
  EXPECT_EQ(Taken(), "") << "the reader knows it already";
  Hear(Held(6));
  Break();
  Pass(seconds(60));
  EXPECT_EQ(Taken(), "UNDECIDED");
}

TEST_F(ObserversTest, FailuresAreFollowedByPauses) {
  for (int i = 0; i < 1'000; ++i) {
    Break();
    Pass(milliseconds(60));
  }
  EXPECT_LT(opened.size(), 200U) << "in 60 s";
  EXPECT_GT(opened.size(), 60U);
}

TEST_F(ObserversTest, AFinalFailureEndsTheObserver) {
  Hear(Vacant());
  Break("not allowed", true, Reason::kPermissionDenied);
  EXPECT_EQ(Taken(), "VACANT") << "first what was reported";
  EXPECT_EQ(Taken(), "PERMISSION_DENIED");
  EXPECT_EQ(Taken(), "PERMISSION_DENIED");
  Pass(seconds(60));
  EXPECT_EQ(opened.size(), 1U);
  EXPECT_EQ(cancelled, 0) << "the stream has ended by itself";
  EXPECT_EQ(observers.NextDeadline(), kNever);
}

TEST_F(ObserversTest, AnObserverIsClosedInEachState) {
  // Whether the stream is open then.
  const std::vector<std::pair<std::function<void()>, bool>> states = {
      {[] {}, true},
      {[this] { Hear(Held(5)); }, true},
      {[this] { Hear(Held(5)), (void)Taken(), Break(); }, true},
      {[this] { Break(), Break(); }, false},
      {[this] { Break(), Break(), Pass(milliseconds(10)); }, false},
      {[this] { Break("no", true, Reason::kUnauthenticated); }, false},
  };
  for (std::size_t i = 0; i < states.size(); ++i) {
    observer = Start("k");
    states[i].first();
    const int before = std::exchange(told, 0);
    cancelled = 0;
    observers.Close(observer);
    Collect();
    const bool ended_before = i + 1 == states.size();
    EXPECT_EQ(told, ended_before ? 0 : 1) << "the reader wakes up, in state " << i << before;
    EXPECT_EQ(cancelled, states[i].second ? 1 : 0) << i;
    EXPECT_EQ(Taken(), ended_before ? "UNAUTHENTICATED" : "CANCELLED") << i;
    const std::size_t streams = opened.size();
    Hear(Held(9));
    Break();
    Pass(seconds(60));
    EXPECT_EQ(opened.size(), streams) << i;
    EXPECT_EQ(Taken(), ended_before ? "UNAUTHENTICATED" : "CANCELLED") << i;
    observers.Forget(observer);
    Collect();
    EXPECT_EQ(cancelled, states[i].second ? 1 : 0) << i;
  }
}

TEST_F(ObserversTest, AForgottenObserverIsClosed) {
  observers.Forget(observer);
  Collect();
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(observers.NextDeadline(), kNever);
  Hear(Vacant());
  Break();
  EXPECT_EQ(told, 1) << "by its end";
}

TEST_F(ObserversTest, AClosedClientEndsItsObservers) {
  Hear(Vacant());
  observers.CloseAll({Reason::kCancelled, "closed"});
  Collect();
  EXPECT_EQ(cancelled, 1);
  EXPECT_EQ(Taken(), "CANCELLED");
}

TEST_F(ObserversTest, TheKeyOfAShareOrASlotIsObserved) {
  (void)Start(shared("s"));
  EXPECT_EQ(opened.back().key, "s");
  (void)Start(semaphore("t", 3));
  EXPECT_EQ(opened.back().key, "t");
  EXPECT_FALSE(CheckObserved(semaphore("t", 3)));
  for (const std::string& key :
       {std::string(), std::string("\xff"), std::string("redlockd:x"), std::string(513, 'k'),
        together({"a", "b"}), shared(together({"a", "b"}))}) {
    EXPECT_EQ(CheckObserved(key).value().reason, Reason::kInvalidArgument) << key;
  }
}

}  // namespace
}  // namespace redlock::client
