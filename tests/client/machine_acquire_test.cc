// The client's state machine (client/PROTOCOL.md): acquiring and giving up.
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

// --- Acquire

TEST_F(MachineLocksTest, TokensAreRandom) {
  const std::string token = Hold("a")->token();
  EXPECT_EQ(token.size(), 35U);
  EXPECT_EQ(token.substr(0, 3), "rl-");
  EXPECT_EQ(token.find_first_not_of("0123456789abcdef", 3), std::string::npos);
  EXPECT_NE(Hold("b")->token(), token);
  EXPECT_EQ(Hold({.key = "c", .ttl = seconds(30), .token = "mine"})->token(), "mine");
}

TEST_F(MachineLocksTest, AnAcquireWithoutAnAnswerIsSentAgainWithANewTokenAfterARelease) {
  const CallId call = Acquire();
  Flush();
  const auto first = Last<AcquireRequest>();
  Move();
  const Request& request = sent[sent.size() - 1].request;
  ASSERT_EQ(request.operations.size(), 2U);
  const auto* const release = std::get_if<ReleaseRequest>(&request.operations[0].body);
  ASSERT_NE(release, nullptr) << "before anything else";
  EXPECT_EQ(release->token, first.body.token);
  const auto again = Last<AcquireRequest>();
  EXPECT_NE(again.body.token, first.body.token);
  EXPECT_FALSE(again.body.extend_if_held);
  EXPECT_NE(again.id, first.id);
  Refuse(request.operations[0].id, Reason::kLockNotHeld);
  GrantTo(again.id);
  ASSERT_TRUE(leases.contains(call));
  EXPECT_EQ(leases[call]->token(), again.body.token);
}

TEST_F(MachineLocksTest, AnAcquireThatWasNotSentLeavesNothingToRelease) {
  Break();
  (void)Acquire();
  Break();
  Pass(seconds(1));
  Ready();
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  EXPECT_EQ(Count<AcquireRequest>(), 1U);
}

TEST_F(MachineLocksTest, AnAcquireWithTheCallersTokenIsSentAgainAndThenAdopted) {
  const CallId call = Acquire({.key = "k", .ttl = seconds(30), .token = "mine"});
  Flush();
  EXPECT_FALSE(Last<AcquireRequest>().body.extend_if_held);
  Move();
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  EXPECT_EQ(Last<AcquireRequest>().body.token, "mine");
  EXPECT_TRUE(Last<AcquireRequest>().body.extend_if_held);
  GrantTo(Last<AcquireRequest>().id, seconds(29), 20);
  Flush();
  EXPECT_FALSE(leases.contains(call)) << "an extension does not take the lock into this Session";
  const std::uint64_t sequence = Last<AdoptRequest>().body.sequence;
  EXPECT_GT(sequence, 20U + 2) << "each time the acquire was sent, it may have used one";
  // The lock is gone by then, so it is acquired again.
  Refuse(Last<AdoptRequest>().id, Reason::kLockNotHeld);
  Flush();
  EXPECT_EQ(Count<AcquireRequest>(), 3U);
  GrantTo(Last<AcquireRequest>().id, seconds(29), 20);
  Flush();
  EXPECT_GT(Last<AdoptRequest>().body.sequence, sequence);
  Adopted(Last<AdoptRequest>().id, 30);
  ASSERT_TRUE(leases.contains(call));
  EXPECT_EQ(leases[call]->fencing_token(), 30U);
}

TEST_F(MachineLocksTest, OverloadedIsRetriedExceptForASingleTry) {
  const CallId once = Acquire({.key = "k", .ttl = seconds(30), .wait = Duration{}});
  Flush();
  EXPECT_TRUE(Last<AcquireRequest>().body.retry->max_retries == 0);
  Refuse(Last<AcquireRequest>().id, Reason::kOverloaded, milliseconds(200));
  EXPECT_FAILED(once, Reason::kOverloaded);
  const CallId waiting = Acquire();
  Flush();
  Refuse(Last<AcquireRequest>().id, Reason::kOverloaded, milliseconds(200));
  Pass(milliseconds(199));
  EXPECT_EQ(Count<AcquireRequest>(), 2U);
  Pass(milliseconds(1));
  Flush();
  EXPECT_EQ(Count<AcquireRequest>(), 3U);
  Refuse(Last<AcquireRequest>().id, Reason::kOverloaded);
  Pass(milliseconds(49));
  EXPECT_EQ(Count<AcquireRequest>(), 3U) << "at least 50 ms";
  Pass(milliseconds(1));
  Flush();
  GrantTo(Last<AcquireRequest>().id);
  EXPECT_TRUE(leases.contains(waiting));
}

TEST_F(MachineLocksTest, AGrantThatArrivesTooLateIsReleased) {
  const CallId call = Acquire({.key = "k", .ttl = seconds(1)});
  Flush();
  const Duration made = DaemonClock();
  Pass(milliseconds(900));
  Message({.answers = {{.id = Last<AcquireRequest>().id, .grant = Grant{"", 7, milliseconds(980)}}},
           .clock = made});
  Flush();
  EXPECT_FAILED(call, Reason::kValidityExpired);
  EXPECT_EQ(Last<ReleaseRequest>().body.token, Last<AcquireRequest>().body.token);
}

TEST_F(MachineLocksTest, TheQueuePositionIsReported) {
  const CallId call = Acquire();
  Flush();
  const auto acquire = Last<AcquireRequest>();
  Message({.positions = {{acquire.id, 3}, {4711, 5}}});
  EXPECT_EQ(queued[call], 3);
  EXPECT_EQ(queued.size(), 1U);
}

TEST_F(MachineLocksTest, InvalidValuesFailOnlyTheirOwnCall) {
  const auto lease = Hold();
  const std::vector<std::pair<AcquireCommand, std::string>> bad = {
      {{.key = "", .ttl = seconds(1)}, "key"},
      {{.key = std::string(513, 'k'), .ttl = seconds(1)}, "key"},
      {{.key = "\xC3", .ttl = seconds(1)}, "key"},
      {{.key = "\xC0\xAF", .ttl = seconds(1)}, "key"},
      {{.key = "\xED\xA0\x80", .ttl = seconds(1)}, "key"},
      {{.key = "redlockd:x", .ttl = seconds(1)}, "key"},
      {{.key = "k", .ttl = milliseconds(9)}, "ttl"},
      {{.key = "k", .ttl = seconds(1), .token = std::string(129, 't')}, "token"},
      {{.key = "k", .ttl = seconds(1), .owner = std::string(129, 'o')}, "owner"},
      {{.key = "k", .ttl = milliseconds(-1)}, "ttl"},
      {{.key = "k", .ttl = seconds(1), .margin = milliseconds(-1)}, "margin"},
      {{.key = "k", .ttl = seconds(1), .margin = milliseconds(334)},
       "margin: must be from 0 to 333 ms"},
      {{.key = "k", .ttl = seconds(30), .margin = milliseconds(1'667)},
       "margin: must be from 0 to 1666 ms"},
  };
  const std::size_t before = sent.size();
  for (const auto& [command, field] : bad) {
    const CallId call = Acquire(command);
    EXPECT_FAILED(call, Reason::kInvalidArgument);
    EXPECT_EQ(failed[call].message.substr(0, field.size()), field);
  }
  EXPECT_EQ(sent.size(), before);
  EXPECT_TRUE(lease->held());
  (void)Hold({.key = "Schl\xC3\xBCssel \xF0\x9F\x94\x91", .ttl = seconds(1)});
  const CallId endless = Acquire({.key = "e", .ttl = seconds(1), .wait = Duration::max()});
  Live(seconds(1));
  EXPECT_FALSE(failed.contains(endless));
}

// --- Giving up

TEST_F(MachineLocksTest, ARefusalOfOneOperationFailsOnlyItsCall) {
  const auto lease = Hold("held");
  for (const Reason reason : {Reason::kInvalidArgument, Reason::kPermissionDenied,
                              Reason::kUnauthenticated, Reason::kInternal}) {
    const CallId waiting = Acquire("waiting");
    const auto waiting_as = Last<AcquireRequest>();
    Flush();
    const CallId refused = Acquire("refused");
    Flush();
    Refuse(Last<AcquireRequest>().id, reason);
    EXPECT_EQ(failed.at(refused).reason, reason);
    const CallId extension = Extend(lease);
    Refuse(Last<ExtendRequest>().id, reason);
    EXPECT_EQ(failed.at(extension).reason, reason);
    EXPECT_FALSE(failed.contains(waiting));
    GrantTo(waiting_as.id);
    EXPECT_TRUE(leases.contains(waiting));
  }
  EXPECT_TRUE(lease->held());
  EXPECT_EQ(opened, 1) << "the Session goes on";
  EXPECT_TRUE(cancelled.empty());
}

TEST_F(MachineLocksTest, GivingUpCancelsAndWaitsForTheAnswer) {
  const CallId call = Acquire();
  Flush();
  const auto acquire = Last<AcquireRequest>();
  GiveUp(call);
  EXPECT_EQ(Last<CancelRequest>().id, acquire.id);
  EXPECT_FALSE(failed.contains(call));
  GiveUp(call);
  EXPECT_EQ(Count<CancelRequest>(), 1U);
  Refuse(acquire.id, Reason::kCancelled);
  EXPECT_FAILED(call, Reason::kCancelled);
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
}

TEST_F(MachineLocksTest, AGrantThatCrossesTheCancellationIsReleased) {
  const CallId call = Acquire();
  Flush();
  const auto acquire = Last<AcquireRequest>();
  GiveUp(call);
  GrantTo(acquire.id);
  Flush();
  EXPECT_FAILED(call, Reason::kCancelled);
  EXPECT_EQ(Last<ReleaseRequest>().body.token, acquire.body.token);
}

TEST_F(MachineLocksTest, ACancellationWithoutAnAnswerEndsWithARelease) {
  const CallId call = Acquire();
  Flush();
  const auto acquire = Last<AcquireRequest>();
  GiveUp(call);
  Live(milliseconds(999));
  EXPECT_FALSE(failed.contains(call));
  Live(milliseconds(1));
  Flush();
  EXPECT_FAILED(call, Reason::kCancelled);
  EXPECT_EQ(Last<ReleaseRequest>().body.token, acquire.body.token);
  Refuse(Last<ReleaseRequest>().id, Reason::kLockNotHeld);
  GrantTo(acquire.id);
  Flush();
  EXPECT_TRUE(leases.empty());
  EXPECT_EQ(Count<ReleaseRequest>(), 2U) << "in case the daemon processed them in the other order";
  EXPECT_EQ(Last<ReleaseRequest>().body.token, acquire.body.token);
}

TEST_F(MachineLocksTest, AnAbandonedSessionEndsACancellationWithARelease) {
  const CallId call = Acquire();
  Flush();
  const auto acquire = Last<AcquireRequest>();
  GiveUp(call);
  Move();
  EXPECT_FAILED(call, Reason::kCancelled);
  EXPECT_EQ(Last<ReleaseRequest>().body.token, acquire.body.token);
}

// The end of the abandoned Session gives up what its daemon has granted. The caller may use its
// token again, so no other daemon is asked to release it.
TEST_F(MachineLocksTest, ACallersTokenIsNotReleasedOnAnotherSession) {
  const CallId given_up = Acquire({.key = "k", .ttl = seconds(30), .token = "mine"});
  Flush();
  GiveUp(given_up);
  Move();
  EXPECT_FAILED(given_up, Reason::kCancelled);
  const CallId unanswered = Acquire({.key = "k", .ttl = seconds(30), .token = "mine"});
  Flush();
  Draining();
  GiveUp(unanswered);
  EXPECT_FAILED(unanswered, Reason::kCancelled);
  Ready();
  Flush();
  EXPECT_EQ(Count<AcquireRequest>(), 2U);
  EXPECT_EQ(Count<ReleaseRequest>() + Count<GiveUpRequest>(), 0U);
}

TEST_F(MachineLocksTest, AGivenUpLockOfTheCallersTokenIsNotGivenUpOnAnotherSession) {
  const CallId call = Acquire({.key = "k", .ttl = seconds(30), .token = "mine"});
  Flush();
  GiveUp(call);
  GrantTo(Last<AcquireRequest>().id);
  Flush();
  EXPECT_EQ(Count<GiveUpRequest>(), 1U);
  Move();
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  EXPECT_EQ(Count<GiveUpRequest>(), 1U);
}

TEST_F(MachineLocksTest, GivingUpDuringTheAdoptionGivesTheLockUp) {
  const CallId call = Acquire({.key = "k", .ttl = seconds(30), .token = "mine"});
  Flush();
  Move();
  GrantTo(Last<AcquireRequest>().id);
  Flush();
  const auto adoption = Last<AdoptRequest>();
  GiveUp(call);
  EXPECT_FAILED(call, Reason::kCancelled);
  EXPECT_EQ(Last<GiveUpRequest>().body.token, "mine");
  Adopted(adoption.id);
  Flush();
  EXPECT_TRUE(leases.empty());
  EXPECT_EQ(Count<GiveUpRequest>(), 2U) << "the daemon may adopt the lease after the first";
}

// --- The end of a wait

TEST_F(MachineLocksTest, AWaitThatTimesOutReportsTheReasonForTheDelay) {
  const CallId held = Acquire({.key = "k", .ttl = seconds(30), .wait = seconds(1)});
  Flush();
  Live(seconds(1));
  Flush();
  Refuse(Last<CancelRequest>().id, Reason::kCancelled);
  EXPECT_FAILED(held, Reason::kDeadlineExceeded);
  Break();
  const CallId no_daemon = Acquire({.key = "k", .ttl = seconds(30), .wait = seconds(1)});
  Pass(seconds(1));
  EXPECT_FAILED(no_daemon, Reason::kUnreachable);
  Pass(milliseconds(500));
  Ready();
  const CallId no_quorum = Acquire({.key = "k", .ttl = seconds(30), .wait = seconds(1)});
  Flush();
  Refuse(Last<AcquireRequest>().id, Reason::kQuorumUnavailable);
  EXPECT_FAILED(no_quorum, Reason::kQuorumUnavailable);
}

TEST_F(MachineLocksTest, AWaitThatEndsWithoutAQuorumIsNoContention) {
  for (const Reason last : {Reason::kQuorumUnavailable, Reason::kNodeSetMismatch}) {
    const CallId call = Acquire({.key = "k", .ttl = seconds(30), .wait = seconds(1)});
    Flush();
    Live(seconds(1));
    Flush();
    Message({.answers = {{.id = Last<CancelRequest>().id,
                          .error = Error{Reason::kCancelled, "cancelled"},
                          .last_reason = last}}});
    EXPECT_FAILED(call, last);
    EXPECT_NE(failed.at(call).message.find("k: not acquired within 1 s"), std::string::npos)
        << failed.at(call).message;
  }
}

TEST_F(MachineLocksTest, TheErrorNamesTheHolder) {
  for (const Reason reason : {Reason::kLockAlreadyHeld, Reason::kMaxRetriesExceeded}) {
    const CallId call = Acquire({.key = "k", .ttl = seconds(30)});
    Flush();
    Message({.answers = {
                 {.id = Last<AcquireRequest>().id,
                  .error = Error{reason, "held", seconds(3), "builder 7", milliseconds(12'045)}}}});
    EXPECT_FAILED(call, reason);
    EXPECT_EQ(failed.at(call).holder, "builder 7");
    EXPECT_EQ(failed.at(call).held_for, milliseconds(12'045));
    EXPECT_EQ(failed.at(call).retry_after, seconds(3));
    EXPECT_TRUE(failed.at(call).message.starts_with("k: held by \"builder 7\" for 12.045 s"))
        << failed.at(call).message;
  }
  const CallId call = Acquire({.key = "k", .ttl = seconds(30), .wait = seconds(1)});
  Flush();
  Live(seconds(1));
  Flush();
  Message({.answers = {{.id = Last<CancelRequest>().id,
                        .error = Error{Reason::kCancelled, "cancelled", {}, "builder 7"},
                        .last_reason = Reason::kLockAlreadyHeld}}});
  EXPECT_FAILED(call, Reason::kDeadlineExceeded);
  EXPECT_EQ(failed.at(call).holder, "builder 7");
  EXPECT_FALSE(failed.at(call).held_for);
  EXPECT_EQ(failed.at(call).message, "k: held by \"builder 7\"; not acquired within 1 s");
}

TEST_F(MachineLocksTest, AWaitThatIsOverSaysForHowLongTheLockHasBeenHeld) {
  for (const std::string holder : {"builder 7", ""}) {
    const CallId call = Acquire({.key = "k", .ttl = seconds(30), .wait = seconds(1)});
    Flush();
    Live(seconds(1));
    Flush();
    Message({.answers = {{.id = Last<CancelRequest>().id,
                          .error = Error{Reason::kCancelled, "cancelled", {}, holder, seconds(61)},
                          .last_reason = Reason::kLockAlreadyHeld}}});
    EXPECT_FAILED(call, Reason::kDeadlineExceeded);
    EXPECT_EQ(failed.at(call).held_for, seconds(61));
    EXPECT_EQ(failed.at(call).message, holder.empty()
                                           ? "k: held for 61.000 s; not acquired within 1 s"
                                           : "k: held by \"builder 7\" for 61.000 s; not acquired "
                                             "within 1 s");
  }
}

TEST_F(MachineLocksTest, AtTheEndOfItsWaitACallDoesNotWaitLongForTheDaemon) {
  const CallId call = Acquire({.key = "k", .ttl = seconds(30), .wait = seconds(1)});
  Flush();
  Live(seconds(1));
  Flush();
  Pass(milliseconds(249));
  EXPECT_FALSE(failed.contains(call));
  Pass(milliseconds(1));
  EXPECT_FAILED(call, Reason::kDeadlineExceeded);
  Flush();
  EXPECT_EQ(Last<ReleaseRequest>().body.token, Last<AcquireRequest>().body.token);
}

TEST_F(MachineLocksTest, AnOverloadedDaemonIsNoContentionAtTheEndOfAWait) {
  const CallId call = Acquire({.key = "k", .ttl = seconds(30), .wait = seconds(1)});
  Flush();
  Refuse(Last<AcquireRequest>().id, Reason::kOverloaded, seconds(5));
  Live(seconds(1));
  EXPECT_FAILED(call, Reason::kOverloaded);
}

TEST_F(MachineLocksTest, ExtremeDurationsAreRefusedOrMeanWithoutALimit) {
  const auto lease = Hold("held");
  const Duration longest = Duration::max();
  for (const AcquireCommand& command : std::vector<AcquireCommand>{
           {.key = "k", .ttl = longest},
           {.key = "k", .ttl = Duration::min()},
           {.key = "k", .ttl = seconds(1), .wait = Duration::min()},
           {.key = "k", .ttl = seconds(1), .wait = Duration(-1)},
           {.key = "k", .ttl = seconds(1), .margin = longest},
           {.key = "k", .ttl = seconds(1), .margin = Duration::min()},
           {.key = "k", .ttl = seconds(1), .retry = RetryPolicy{.max_retries = -2}},
           {.key = "k", .ttl = seconds(1), .retry = RetryPolicy{.min_delay = longest}},
           {.key = "k", .ttl = seconds(1), .retry = RetryPolicy{.max_jitter = Duration(-1)}},
           {.key = "k", .ttl = seconds(1), .token = "redlockd:shared"},
           {.key = "k", .ttl = seconds(1), .way = Way::kAdopt}}) {
    const CallId call = Acquire(command);
    EXPECT_FAILED(call, Reason::kInvalidArgument);
  }
  for (const Duration ttl : {longest, Duration::min()}) {
    const CallId call = Extend(lease, ttl);
    EXPECT_FAILED(call, Reason::kInvalidArgument);
  }
  const CallId endless = Acquire({.key = "k", .ttl = std::chrono::hours(24), .wait = longest});
  Flush();
  Live(seconds(20));
  EXPECT_FALSE(failed.contains(endless));
  GiveUp(endless);
  Live(seconds(2));
  EXPECT_FAILED(endless, Reason::kCancelled);
  EXPECT_TRUE(lease->held());
}

TEST_F(MachineLocksTest, TheRetryPolicyIsSent) {
  (void)Acquire({.key = "k",
                 .ttl = seconds(30),
                 .retry = RetryPolicy{.max_retries = 7, .min_delay = seconds(1)}});
  Flush();
  EXPECT_EQ(Last<AcquireRequest>().body.retry->max_retries, 7);
  EXPECT_EQ(Last<AcquireRequest>().body.retry->min_delay, seconds(1));
  (void)Acquire(
      {.key = "k", .ttl = seconds(30), .wait = Duration{}, .retry = RetryPolicy{.max_retries = 7}});
  Flush();
  EXPECT_EQ(Last<AcquireRequest>().body.retry->max_retries, 0) << "a single try";
}

// --- The log

TEST_F(MachineLocksTest, TheLogTellsOfMovesOutagesAndLosses) {
  const auto lease = Hold({.key = "k", .ttl = seconds(30), .token = "secret"});
  EXPECT_EQ(logged, std::vector<std::string>{"connected to a"});
  Break();
  EXPECT_EQ(logged.back(), "moving to another daemon: the connection broke");
  for (int i = 0; i < 5; ++i) {
    Break();
    Pass(seconds(1));
  }
  EXPECT_EQ(std::count_if(
                logged.begin(), logged.end(),
                [](const auto& line) { return line.starts_with("no daemon can be reached: "); }),
            1)
      << "once in an outage";
  Pass(seconds(10));
  EXPECT_FALSE(lease->held());
  EXPECT_TRUE(logged.back().starts_with("k: the lock is lost: ")) << logged.back();
  for (const std::string& line : logged) EXPECT_EQ(line.find("secret"), std::string::npos) << line;
}

}  // namespace
}  // namespace redlock::client
