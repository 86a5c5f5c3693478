// The client's state machine (client/PROTOCOL.md): the Session.
#include <redlock/keys.h>

#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

// --- One client, one Session

TEST_F(MachineTest, TheFirstMessageContainsOnlyTheGraceAndAPing) {
  (void)Acquire();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].request.disconnect_grace, seconds(5));
  EXPECT_EQ(sent[0].request.operations.size(), 1U);
  EXPECT_EQ(Count<PingRequest>(), 1U);
  Written();
  EXPECT_EQ(sent.size(), 1U) << "nothing more until the daemon has answered";
  Ok(Last<PingRequest>().id);
  EXPECT_EQ(Count<AcquireRequest>(), 1U);
  EXPECT_EQ(sent[1].request.disconnect_grace, std::nullopt);
}

TEST_F(MachineTest, OperationsIssuedDuringAWriteShareTheNextMessage) {
  Ready();
  (void)Acquire("first");
  for (int i = 0; i < 1'500; ++i) (void)Acquire("k" + std::to_string(i));
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[1].request.operations.size(), 1U);
  Written();
  EXPECT_EQ(sent[2].request.operations.size(), 1'000U);
  Written();
  EXPECT_EQ(sent[3].request.operations.size(), 500U);
  std::set<std::uint64_t> ids;
  for (const auto& each : All<AcquireRequest>()) ids.insert(each.id);
  EXPECT_EQ(ids.size(), 1'501U) << "no id is used twice";
}

// The daemon refuses messages above 1 MiB, every time.
TEST_F(MachineTest, AMessageIsSmallerThanTheDaemonsLimit) {
  Ready();
  (void)Acquire("first");
  std::vector<std::string> names;
  for (char c = 'a'; c <= 'p'; ++c) names.emplace_back(500, c);
  for (int i = 0; i < 300; ++i) {
    names[0] = std::to_string(i);
    (void)Acquire(together(names));
  }
  std::size_t operations = 0;
  while (operations < 300) {
    Written();
    const std::size_t more = sent.back().request.operations.size();
    ASSERT_LE(more, 64U);
    ASSERT_GT(more, 0U);
    operations += more;
  }
  EXPECT_EQ(operations, 300U);
}

TEST_F(MachineTest, AnAnswerWithAnUnknownIdIsIgnored) {
  Ready();
  const auto lease = Hold();
  const TimePoint until = lease->TrustedUntil();
  Suspend(seconds(1));
  Message({.answers = {{.id = 4711, .grant = Grant{"", 9, seconds(50)}}}});
  EXPECT_EQ(lease->TrustedUntil(), until);
  EXPECT_EQ(leases.size(), 1U);
}

// --- Connecting

TEST_F(MachineTest, EndpointsAreTriedInTurnAndThenWithPauses) {
  EXPECT_EQ(endpoint, 0U);
  Break();
  EXPECT_EQ(endpoint, 1U);
  EXPECT_EQ(opened, 2) << "without a pause";
  Break();
  EXPECT_EQ(opened, 2) << "all have been tried";
  Pass(milliseconds(50));
  EXPECT_EQ(opened, 3);
  Break();
  Break();
  Pass(milliseconds(49));
  EXPECT_EQ(opened, 4) << "the pause is doubled";
  Pass(milliseconds(51));
  EXPECT_EQ(opened, 5);
  for (int round = 0; round < 10; ++round) {
    Break();
    Break();
    Pass(seconds(1));
    EXPECT_EQ(opened, 7 + 2 * round) << "at most 1 s";
  }
}

TEST_F(MachineTest, AnEndpointThatDoesNotAnswerIsAbandonedAfterTwoSeconds) {
  Written();
  Pass(milliseconds(1'999));
  EXPECT_EQ(opened, 1);
  Pass(milliseconds(1));
  EXPECT_EQ(endpoint, 1U);
  EXPECT_TRUE(cancelled.contains(1));
}

TEST_F(MachineTest, WhileLocksAreHeldAllEndpointsAreTriedWithinHalfTheGrace) {
  Start({.endpoints = {"a", "b", "c", "d", "e"}});
  Ready();
  (void)Hold();
  Live(seconds(2));
  Break();
  const int before = opened;
  Pass(milliseconds(2'499));
  EXPECT_EQ(opened - before, 4);
}

TEST_F(MachineTest, WaitersWaitForTheFirstDaemonUnlessTheClientDoesNotWant) {
  const CallId patient = Acquire();
  Break();
  Break();
  Pass(seconds(60));
  EXPECT_FALSE(failed.contains(patient));
  Start({.wait_for_daemon = false});
  const CallId waiting = Acquire();
  Break();
  EXPECT_FALSE(failed.contains(waiting));
  Break();
  EXPECT_FAILED(waiting, Reason::kUnreachable);
}

TEST_F(MachineTest, TheErrorNamesEveryEndpointThatFailed) {
  const auto fail = [this](const std::string& why) {
    machine->OnEnded(session, {Reason::kUnreachable, why});
    Collect();
  };
  const CallId call = Acquire({.key = "k", .ttl = seconds(30), .wait = Duration{}});
  fail("a: refused");
  fail("b: does not speak TLS");
  EXPECT_EQ(failed.at(call).message, "a: refused; b: does not speak TLS");
  const CallId bounded = Acquire({.key = "k", .ttl = seconds(30), .wait = milliseconds(1'500)});
  Pass(milliseconds(50));
  fail("a: no answer");
  Pass(seconds(2));
  EXPECT_NE(failed.at(bounded).message.find("a: no answer; b: does not speak TLS"),
            std::string::npos)
      << failed.at(bounded).message;
}

TEST_F(MachineTest, AnAttemptToConnectThatTheWaitEndsIsNamed) {
  const CallId call = Acquire({.key = "k", .ttl = seconds(30), .wait = milliseconds(500)});
  Pass(milliseconds(500));
  EXPECT_EQ(failed.at(call).message, "no daemon answered within 500 ms (a: no answer yet)");
}

TEST_F(MachineTest, WaitersSurviveAnOutageAndSingleTriesFail) {
  Ready();
  Break();
  const CallId waiting = Acquire();
  const CallId once = Acquire({.key = "once", .ttl = seconds(30), .wait = Duration{}});
  Break();
  Break();
  EXPECT_FAILED(once, Reason::kUnreachable);
  Pass(seconds(1));
  Ready();
  Flush();
  GrantTo(Last<AcquireRequest>().id);
  EXPECT_TRUE(leases.contains(waiting));
}

TEST_F(MachineTest, AnAuthenticationErrorFailsAllCalls) {
  Ready();
  const CallId waiting = Acquire();
  machine->OnEnded(session, {Reason::kUnauthenticated, "no credentials"});
  Collect();
  EXPECT_FAILED(waiting, Reason::kUnauthenticated);
}

TEST_F(MachineTest, DaemonsThatAlwaysDrainAreNotRetriedWithoutAPause) {
  for (int i = 0; i < 2; ++i) {
    Ready();
    Draining();
  }
  EXPECT_EQ(opened, 2);
  Pass(milliseconds(50));
  EXPECT_EQ(opened, 3);
}

// --- Keeping a Session

TEST_F(MachineTest, PingsIfNothingElseIsSentForAQuarterOfTheGrace) {
  Ready();
  const std::size_t before = sent.size();
  Pass(milliseconds(1'249));
  EXPECT_EQ(sent.size(), before);
  Pass(milliseconds(1));
  ASSERT_EQ(sent.size(), before + 1);
  EXPECT_EQ(Count<PingRequest>(), 2U);
  Flush();
  Ok(Last<PingRequest>().id);
  Live(seconds(20));
  EXPECT_EQ(opened, 1);
}

// Unanswered operations are not a sign of life.
TEST_F(MachineTest, PingsEvenWhileOperationsAreUnanswered) {
  Ready();
  for (int i = 0; i < 20; ++i) {
    (void)Acquire("k" + std::to_string(i));
    Flush();
    Pass(milliseconds(100));
  }
  EXPECT_EQ(Count<PingRequest>(), 2U);
}

TEST_F(MachineTest, ASilentDaemonIsAbandonedAfterAThirdOfTheGrace) {
  Ready();
  const auto lease = Hold();
  const TimePoint until = lease->TrustedUntil();
  Pass(milliseconds(1'250));
  Flush();
  Pass(milliseconds(1'666));
  EXPECT_EQ(opened, 1);
  Pass(milliseconds(1));
  EXPECT_EQ(opened, 2);
  EXPECT_TRUE(cancelled.contains(1));
  EXPECT_EQ(endpoint, 1U);
  EXPECT_EQ(lease->TrustedUntil(), until) << "frozen";
}

TEST_F(MachineTest, ASilentDaemonIsAbandonedAfterAtMostTwoSeconds) {
  Start({.endpoints = {"a"}, .grace = seconds(60)});
  Ready();
  Pass(seconds(15));
  Flush();
  Pass(milliseconds(1'999));
  EXPECT_FALSE(cancelled.contains(session));
  Pass(milliseconds(1));
  EXPECT_TRUE(cancelled.contains(1));
}

TEST_F(MachineTest, AStalledClientWaitsOnceMore) {
  Ready();
  Pass(milliseconds(1'250));
  const auto ping = Last<PingRequest>();
  Flush();
  Suspend(seconds(3));
  Tick();
  EXPECT_EQ(opened, 1) << "the answer may have been waiting to be read";
  Ok(ping.id);
  Live(seconds(10));
  EXPECT_EQ(opened, 1);
  Pass(milliseconds(1'250));
  Flush();
  Suspend(seconds(3));
  Tick();
  Pass(milliseconds(1'667));
  EXPECT_EQ(opened, 2) << "but only once";
}

// --- Abandoned

TEST_F(MachineTest, MessagesOfAnAbandonedSessionAreIgnored) {
  Ready();
  const auto lease = Hold();
  const CallId waiting = Acquire("other");
  const auto acquire = Last<AcquireRequest>();
  Flush();
  const SessionId old = session;
  Draining();
  EXPECT_TRUE(cancelled.contains(old));
  const TimePoint frozen = lease->TrustedUntil();
  Pass(milliseconds(200));
  MessageOf(old, {.answers = {{.id = acquire.id, .grant = Grant{"", 8, seconds(29)}}},
                  .events = {{.type = EventType::kExtended,
                              .key = "k",
                              .grant = Grant{lease->token(), 9, seconds(29)}}}});
  machine->OnWritten(old);
  machine->OnEnded(old, {Reason::kUnauthenticated, "late"});
  Collect();
  EXPECT_EQ(lease->TrustedUntil(), frozen);
  EXPECT_EQ(lease->fencing_token(), 7U);
  EXPECT_FALSE(leases.contains(waiting));
  EXPECT_TRUE(failed.empty());
}

TEST_F(MachineTest, EventsOfAnAbandonedSessionAreIgnoredAfterTheAdoptionToo) {
  Ready();
  const auto lease = Hold();
  const SessionId old = session;
  const Response gone{
      .events = {{.type = EventType::kLost, .key = "k", .error = {Reason::kDraining, "gone"}}}};
  Draining();
  MessageOf(old, gone);
  Ready();
  Flush();
  GrantTo(Last<AdoptRequest>().id);
  const TimePoint until = lease->TrustedUntil();
  MessageOf(old, gone);
  MessageOf(old, {.events = {{.type = EventType::kDraining}}});
  EXPECT_TRUE(lost.empty());
  EXPECT_EQ(lease->TrustedUntil(), until);
  EXPECT_EQ(opened, 2);
}

TEST_F(MachineTest, DrainingAsAReasonAlsoMovesTheClient) {
  Ready();
  const CallId waiting = Acquire();
  Flush();
  Refuse(Last<AcquireRequest>().id, Reason::kDraining);
  EXPECT_EQ(endpoint, 1U);
  Ready();
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 0U) << "it was refused";
  GrantTo(Last<AcquireRequest>().id);
  EXPECT_TRUE(leases.contains(waiting));
}

TEST_F(MachineTest, OtherAnswersInTheMessageWithDrainingCount) {
  Ready();
  const CallId first = Acquire("first");
  const CallId second = Acquire("second");
  Flush();
  const auto acquires = All<AcquireRequest>();
  Message({.answers = {{.id = acquires[0].id, .error = Error{Reason::kDraining, ""}},
                       {.id = acquires[1].id, .grant = Grant{"", 7, seconds(29)}}},
           .events = {{.type = EventType::kDraining}}});
  EXPECT_TRUE(leases.contains(second));
  EXPECT_FALSE(leases.contains(first) || failed.contains(first));
  EXPECT_EQ(endpoint, 1U);
}

}  // namespace
}  // namespace redlock::client
