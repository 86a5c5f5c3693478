// The client's state machine (client/PROTOCOL.md): values, keys that are kept after a release, and
// the delay of a lost lock.
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

const AcquireCommand kDelayed{
    .key = "k", .ttl = seconds(30), .value = "here", .lock_delay = seconds(10)};

TEST_F(MachineLocksTest, AnAcquireNamesItsValueAndDelayOnEachSession) {
  (void)Acquire(kDelayed);
  Flush();
  Move();
  ASSERT_EQ(Count<AcquireRequest>(), 2U);
  for (const auto& acquire : All<AcquireRequest>()) {
    EXPECT_EQ(acquire.body.value, "here");
    EXPECT_EQ(acquire.body.lock_delay, seconds(10));
  }
}

TEST_F(MachineLocksTest, AnAcquireOrExtendThatAcquiresNamesThem) {
  AcquireCommand command = kDelayed;
  command.token = "mine";
  command.way = Way::kAcquireOrExtend;
  (void)Acquire(command);
  Flush();
  Refuse(Last<ExtendRequest>().id, Reason::kLockNotHeld);
  Flush();
  EXPECT_EQ(Last<AcquireRequest>().body.value, "here");
  EXPECT_EQ(Last<AcquireRequest>().body.lock_delay, seconds(10));
}

TEST_F(MachineLocksTest, InvalidValuesDelaysAndTimesToKeepFailOnlyTheirOwnCall) {
  const auto lease = Hold();
  const std::vector<std::pair<AcquireCommand, std::string>> bad = {
      {{.key = "k", .ttl = seconds(1), .value = std::string(4097, 'x')}, "value: has 4097 bytes"},
      {{.key = "k", .ttl = seconds(1), .value = "\xff"}, "value: is not valid UTF-8"},
      {{.key = "k", .ttl = seconds(1), .lock_delay = Duration(-1)}, "lock_delay"},
      {{.key = "k", .ttl = seconds(1), .lock_delay = Duration::max()}, "lock_delay"},
      {{.key = "k", .ttl = seconds(1), .keep_for = Duration(0)}, "keep_for"},
      {{.key = "k", .ttl = seconds(1), .keep_for = Duration(-1)}, "keep_for"},
  };
  const std::size_t before = sent.size();
  for (const auto& [command, field] : bad) {
    const CallId call = Acquire(command);
    EXPECT_FAILED(call, Reason::kInvalidArgument);
    EXPECT_EQ(failed[call].message.substr(0, field.size()), field);
  }
  for (const Duration keep_for : {Duration(0), Duration(-1), Duration::max()}) {
    const CallId call = machine->Release(lease, keep_for);
    Collect();
    EXPECT_FAILED(call, Reason::kInvalidArgument);
  }
  EXPECT_EQ(sent.size(), before);
  EXPECT_TRUE(lease->held());
  (void)Hold({.key = "other", .ttl = seconds(1), .value = std::string(4096, 'x')});
}

TEST_F(MachineLocksTest, ManyLongValuesAreSpreadOverMessages) {
  (void)Acquire("busy");
  for (int i = 0; i < 200; ++i) {
    (void)Acquire(
        {.key = "k" + std::to_string(i), .ttl = seconds(30), .value = std::string(4096, 'x')});
  }
  Flush();
  ASSERT_EQ(Count<AcquireRequest>(), 201U);
  for (const SentMessage& message : sent) {
    EXPECT_LT(message.request.operations.size() * 4096, std::size_t{1} << 19U);
  }
}

// --- Keys that are kept after a release

class KeepTest : public MachineLocksTest {
 protected:
  CallId ReleaseAndKeep(const LeaseRef& lease) {
    const CallId call = machine->Release(lease, seconds(60));
    Collect();
    Flush();
    return call;
  }
};

TEST_F(KeepTest, ARepeatedReleaseKeepsTheKeyToo) {
  const CallId call = ReleaseAndKeep(Hold());
  EXPECT_EQ(Last<ReleaseRequest>().body.keep_for, seconds(60));
  Move();
  ASSERT_EQ(Count<ReleaseRequest>(), 2U);
  EXPECT_EQ(Last<ReleaseRequest>().body.keep_for, seconds(60));
  Ok(Last<ReleaseRequest>().id);
  EXPECT_TRUE(done.contains(call));
}

TEST_F(KeepTest, AReleaseInTheBackgroundKeepsTheKeyToo) {
  const auto lease = Hold();
  Break();
  const CallId call = ReleaseAndKeep(lease);
  Pass(seconds(3));
  EXPECT_FAILED(call, Reason::kUnreachable);
  Ready();
  Flush();
  EXPECT_EQ(Last<ReleaseRequest>().body.keep_for, seconds(60));
}

TEST_F(KeepTest, TheReleaseAfterALateAdoptionKeepsTheKeyToo) {
  const auto lease = Hold();
  Move();
  const auto adoption = Last<AdoptRequest>();
  (void)ReleaseAndKeep(lease);
  Adopted(adoption.id);
  Flush();
  ASSERT_EQ(Count<ReleaseRequest>(), 2U);
  EXPECT_EQ(Last<ReleaseRequest>().body.keep_for, seconds(60));
}

TEST_F(KeepTest, ALockIsReleasedAllTheSameIfTheDaemonRefusesToKeepTheKey) {
  const auto lease = Hold();
  const CallId call = ReleaseAndKeep(lease);
  Refuse(Last<ReleaseRequest>().id, Reason::kInvalidArgument);
  Flush();
  EXPECT_FAILED(call, Reason::kInvalidArgument);
  ASSERT_EQ(Count<ReleaseRequest>(), 2U) << "the Session would keep it alive";
  EXPECT_EQ(Last<ReleaseRequest>().body.token, lease->token());
  EXPECT_FALSE(Last<ReleaseRequest>().body.keep_for);
  Refuse(Last<ReleaseRequest>().id, Reason::kInvalidArgument);
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 2U) << "once";
}

TEST_F(KeepTest, ALockKnowsHowItIsReleasedIfItsCallerDropsIt) {
  const auto lease = Hold({.key = "k", .ttl = seconds(30), .keep_for = seconds(60)});
  EXPECT_EQ(lease->keep_for(), seconds(60));
  (void)Release(lease);
  EXPECT_FALSE(Last<ReleaseRequest>().body.keep_for) << "this release names nothing";
}

// --- The delay of a lost lock

TEST_F(MachineLocksTest, ALostLockWithADelayIsNotReleased) {
  for (const std::string token : {"", "mine"}) {
    AcquireCommand command = kDelayed;
    command.token = token;
    const auto lease = Hold(command);
    Break();
    Pass(lease->TrustedUntil() - clock.now);
    EXPECT_FALSE(Trusted(lease));
    Ready();
    Flush();
    const CallId call = Release(lease);
    EXPECT_FAILED(call, Reason::kLockNotHeld);
    Live(seconds(60));
    EXPECT_EQ(Count<ReleaseRequest>() + Count<GiveUpRequest>(), 0U) << token;
  }
}

TEST_F(MachineLocksTest, ALockWithADelayThatIsAboutToBeLostIsNotReleased) {
  for (const bool by_its_caller : {true, false}) {
    Start({});
    Ready();
    lost.clear();
    const auto lease = Hold(kDelayed);
    (void)Hold({.key = "other", .ttl = seconds(30), .margin = Duration{}});
    Break();
    Pass(lease->SignalAt() - clock.now);
    ASSERT_EQ(lost.size(), 1U);
    ASSERT_TRUE(Trusted(lease));
    if (by_its_caller) (void)Release(lease);
    Close();
    Ready();
    Flush();
    ASSERT_EQ(Count<ReleaseRequest>(), 1U) << "only the lock that is held";
    EXPECT_EQ(Last<ReleaseRequest>().body.key, "other");
  }
}

TEST_F(MachineLocksTest, TheSessionEndsThatWouldKeepALostLockWithADelayAlive) {
  const auto other = Hold("other");
  AcquireCommand command = kDelayed;
  command.ttl = seconds(2);
  (void)Hold(command);
  const SessionId before = session;
  Live(seconds(2));  // it is not extended
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_TRUE(cancelled.contains(before));
  EXPECT_NE(session, before);
  Ready();
  Flush();
  EXPECT_EQ(Last<AdoptRequest>().body.token, other->token());
  EXPECT_EQ(Count<AdoptRequest>(), 1U) << "only what is held";
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
}

// The close of that Session could end the delay.
TEST_F(MachineLocksTest, TheSessionEndsThatMayAdoptALostLockWithADelay) {
  const auto other = Hold({.key = "other", .ttl = seconds(30), .margin = Duration{}});
  const auto lease = Hold(kDelayed);
  Move();
  for (const auto& adoption : All<AdoptRequest>()) {
    if (adoption.body.token == other->token()) Adopted(adoption.id);
  }
  const SessionId before = session;
  Live(lease->SignalAt() - clock.now);
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_TRUE(cancelled.contains(before));
  EXPECT_NE(session, before);
  Close();
  Ready();
  Flush();
  EXPECT_EQ(Count<CloseRequest>(), 0U);
  ASSERT_EQ(Count<ReleaseRequest>(), 1U) << "only the lock that was held";
  EXPECT_EQ(Last<ReleaseRequest>().body.key, "other");
}

TEST_F(MachineLocksTest, ALockWithADelayIsReleasedLikeAnyOther) {
  const CallId call = Release(Hold(kDelayed));
  Ok(Last<ReleaseRequest>().id);
  EXPECT_TRUE(done.contains(call));
  (void)Hold(kDelayed);
  Close();
  EXPECT_EQ(Count<CloseRequest>(), 1U);
}

// The nodes add the delay to the TTL.
TEST_F(MachineLocksTest, ALockWithADelayIsReleasedForAsLongAsItMayLast) {
  const auto released_after = [this](Duration duration) {
    const std::size_t before = Count<ReleaseRequest>();
    Suspend(duration);
    Tick();
    Ready();
    Flush();
    return Count<ReleaseRequest>() > before;
  };
  const std::vector<std::function<void()>> ways = {
      [this] {
        const auto lease = Hold(kDelayed);
        Break();
        (void)Release(lease);
      },
      [this] {
        const CallId call = Acquire(kDelayed);
        Flush();
        Break();
        GiveUp(call);
      },
      [this] { machine->ReleaseToken("k", "t", seconds(40)), Collect(), Break(); },
  };
  for (const auto& way : ways) {
    Start({});
    Ready();
    way();
    EXPECT_TRUE(released_after(seconds(39)));
    Break();
    EXPECT_FALSE(released_after(seconds(10))) << "it has expired";
  }
}

TEST_F(MachineLocksTest, ALossThatTheDaemonReportsDoesNotEndTheSession) {
  const SessionId before = session;
  (void)Hold(kDelayed);
  Message({.events = {
               {.type = EventType::kLost, .key = "k", .error = {Reason::kLockNotHeld, "gone"}}}});
  ASSERT_EQ(lost.size(), 1U);
  Live(seconds(1));
  EXPECT_EQ(session, before);
}

}  // namespace
}  // namespace redlock::client
