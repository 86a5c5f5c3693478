// The client's state machine (client/PROTOCOL.md): trust and its end.
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

TEST_F(MachineTest, TrustCountsFromTheSendTimeOfTheLastAnsweredMessage) {
  Ready();
  const CallId call = Acquire();
  const TimePoint acquire_sent = clock.now;
  Written();
  Pass(milliseconds(300));
  GrantTo(Last<AcquireRequest>().id);
  const auto lease = leases.at(call);
  EXPECT_EQ(lease->TrustedUntil(), acquire_sent + milliseconds(5'000 - 50 - 2));
  Pass(milliseconds(600));
  const auto other = Acquire("other");
  const TimePoint other_sent = clock.now;
  Written();
  Pass(milliseconds(100));
  Refuse(Last<AcquireRequest>().id, Reason::kQuorumUnavailable);
  EXPECT_FAILED(other, Reason::kQuorumUnavailable);
  EXPECT_EQ(lease->TrustedUntil(), other_sent + milliseconds(4'948)) << "any answer counts";
}

TEST_F(MachineTest, AnAnswerToAnOldMessageDoesNotShortenTrust) {
  Ready();
  (void)Acquire("slow");
  const auto slow = Last<AcquireRequest>();
  Written();
  Live(seconds(10));
  const auto lease = Hold();
  const TimePoint until = lease->TrustedUntil();
  Refuse(slow.id, Reason::kMaxRetriesExceeded);
  EXPECT_EQ(lease->TrustedUntil(), until);
}

TEST_F(MachineTest, ALockIsTrustedUntilItsOwnValidityIfThatIsEarlier) {
  Ready();
  const CallId call = Acquire({.key = "k", .ttl = seconds(2)});
  const TimePoint acquire_sent = clock.now;
  Written();
  const Duration made = DaemonClock();
  Pass(milliseconds(100));
  Message(
      {.answers = {{.id = Last<AcquireRequest>().id, .grant = Grant{"", 7, milliseconds(1'900)}}},
       .clock = made});
  EXPECT_EQ(leases.at(call)->TrustedUntil(), acquire_sent + milliseconds(1'900))
      << "not from the arrival of the answer";
}

// The send time of a later ping counts, because the acquire has been waiting for long.
TEST_F(MachineTest, AValidityCountsFromTheLatestBoundOfTheDaemonsClock) {
  Ready();
  const CallId call = Acquire({.key = "k", .ttl = seconds(2)});
  const auto acquire = Last<AcquireRequest>();
  Written();
  Live(seconds(60));
  const TimePoint ping_sent = clock.now - seconds(1);
  const Duration made = DaemonClock() - milliseconds(200);
  const TimePoint bound = clock.now - milliseconds(200);
  Pass(milliseconds(100));
  Message(
      {.answers = {{.id = acquire.id, .grant = Grant{"", 7, milliseconds(1'900)}}}, .clock = made});
  ASSERT_TRUE(leases.contains(call));
  EXPECT_LE(leases[call]->TrustedUntil(), bound + milliseconds(1'900));
  EXPECT_GE(leases[call]->TrustedUntil(), bound + milliseconds(1'900 - 20));
  EXPECT_GT(leases[call]->TrustedUntil(), ping_sent);
}

TEST_F(MachineTest, AnUnsolicitedExtensionRaisesTheValidityFromItsOwnTime) {
  Ready();
  const auto lease = Hold({.key = "k", .ttl = seconds(2)});
  const std::string token = lease->token();
  Live(seconds(1));
  const Duration made = DaemonClock();
  const TimePoint bound = clock.now;
  Pass(milliseconds(300));  // in transit
  Message({.events = {{.type = EventType::kExtended,
                       .key = "k",
                       .grant = Grant{token, 9, milliseconds(1'900)}}},
           .clock = made});
  EXPECT_LE(lease->TrustedUntil(), bound + milliseconds(1'900));
  EXPECT_GE(lease->TrustedUntil(), bound + milliseconds(1'900 - 10));
  EXPECT_EQ(lease->fencing_token(), 9U) << "it may grow";
  Message({.events = {{.type = EventType::kExtended,
                       .key = "k",
                       .grant = Grant{token, 8, milliseconds(100)}}}});
  EXPECT_EQ(lease->fencing_token(), 9U) << "but it never decreases";
  EXPECT_GE(lease->TrustedUntil(), bound + milliseconds(1'890))
      << "the validity does not decrease either";
  const TimePoint until = lease->TrustedUntil();
  Message({.events = {{.type = EventType::kExtended,
                       .key = "k",
                       .grant = Grant{"another's", 10, milliseconds(1'900)}}}});
  EXPECT_EQ(lease->TrustedUntil(), until);
}

TEST_F(MachineTest, ALossNamesTheFailureOfTheLastExtension) {
  Ready();
  const auto first = Hold({.key = "k", .ttl = seconds(2)});
  const auto second = Hold({.key = "other", .ttl = seconds(2)});
  for (const auto& lease : {first, second}) {
    Message({.events = {{.type = EventType::kExtendFailed,
                         .key = lease->key(),
                         .grant = Grant{lease->token(), 0, {}},
                         .error = {Reason::kQuorumUnavailable, "too few nodes"}}}});
  }
  Message({.events = {{.type = EventType::kExtended,
                       .key = "other",
                       .grant = Grant{second->token(), 9, seconds(2)}}}});
  Live(seconds(3));
  EXPECT_EQ(first->loss()->message, "no daemon extended it in time (too few nodes)");
  EXPECT_EQ(second->loss()->message, "no daemon extended it in time");
}

TEST_F(MachineTest, TheLossIsSignalledOneMarginBeforeTrustEndsAndTheReleaseFollows) {
  Ready();
  const auto lease = Hold({.key = "k", .ttl = seconds(2), .margin = milliseconds(300)});
  Live(milliseconds(1'000));
  const TimePoint trusted_until = lease->TrustedUntil();
  Live(trusted_until - milliseconds(301) - clock.now);
  EXPECT_TRUE(lost.empty());
  Live(milliseconds(2));
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_EQ(lease->state(), KeptLease::State::kLost);
  EXPECT_EQ(lease->loss()->reason, Reason::kValidityExpired);
  EXPECT_TRUE(Trusted(lease)) << "the work may continue until then";
  Message({.events = {{.type = EventType::kExtended,
                       .key = "k",
                       .grant = Grant{lease->token(), 7, seconds(2)}}}});
  EXPECT_EQ(lease->TrustedUntil(), trusted_until) << "trust is not restored";
  Live(trusted_until - milliseconds(1) - clock.now);
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  EXPECT_TRUE(machine->Trusts("k", clock.now));
  Live(milliseconds(2));
  EXPECT_EQ(Last<ReleaseRequest>().body.token, lease->token());
  EXPECT_FALSE(machine->Trusts("k", clock.now));
  EXPECT_TRUE(machine->Leases().empty());
}

TEST_F(MachineTest, TheDefaultMarginIsTheSmallestOfThree) {
  Start({.endpoints = {"a"}, .grace = seconds(100)});
  Ready();
  const auto margin = [](const LeaseRef& lease) {
    return lease->TrustedUntil() - lease->SignalAt();
  };
  EXPECT_EQ(margin(Hold({.key = "1", .ttl = seconds(2)})), milliseconds(200));
  EXPECT_EQ(margin(Hold({.key = "2", .ttl = seconds(30)})), milliseconds(500));
  Start({.endpoints = {"a"}, .grace = seconds(1)});
  Ready();
  EXPECT_EQ(margin(Hold({.key = "3", .ttl = seconds(30)})), milliseconds(100));
}

TEST_F(MachineTest, AReportedLossEndsTrustAtOnce) {
  Ready();
  const auto lease = Hold();
  Message({.events = {
               {.type = EventType::kLost, .key = "k", .error = {Reason::kLockNotHeld, "gone"}}}});
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_EQ(lease->loss()->reason, Reason::kLockNotHeld);
  EXPECT_FALSE(Trusted(lease));
  const CallId release = Release(lease);
  EXPECT_FAILED(release, Reason::kLockNotHeld);
}

TEST_F(MachineTest, TheLossOfAnEarlierLeaseDoesNotAffectTheCurrentOne) {
  Ready();
  const auto lease = Hold();
  Message({.events = {{.type = EventType::kLost,
                       .key = "k",
                       .grant = Grant{"an earlier token", 0, {}},
                       .error = {Reason::kLockNotHeld, "gone"}}}});
  EXPECT_TRUE(lost.empty());
  EXPECT_TRUE(Trusted(lease));
}

TEST_F(MachineTest, AfterASuspendTheClockIsCheckedBeforeUnreadMessages) {
  Ready();
  const auto by_grace = Hold();
  Pass(milliseconds(1'250));
  const auto ping = Last<PingRequest>();
  Flush();
  Suspend(seconds(4));
  ASSERT_FALSE(Trusted(by_grace));
  Ok(ping.id);  // sent late enough to raise the trust of the Session
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_FALSE(Trusted(by_grace));
  const auto by_validity = Hold({.key = "short", .ttl = seconds(1)});
  Suspend(seconds(1));
  Message({.events = {{.type = EventType::kExtended,
                       .key = "short",
                       .grant = Grant{by_validity->token(), 7, seconds(1)}}}});
  EXPECT_EQ(lost.size(), 2U);
  EXPECT_FALSE(Trusted(by_validity));
}

TEST_F(MachineTest, AStalledClientReadsItsMessagesBeforeItDeclaresALockLost) {
  Ready();
  const auto lease = Hold();
  Pass(milliseconds(1'250));
  const auto ping = Last<PingRequest>();
  Flush();
  Suspend(milliseconds(3'400));  // inside the safety margin now, but the trust has not ended
  ASSERT_LE(lease->SignalAt(), clock.now);
  Ok(ping.id);
  EXPECT_TRUE(lost.empty());
  EXPECT_TRUE(lease->held());
}

}  // namespace
}  // namespace redlock::client
