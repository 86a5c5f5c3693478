// The client's state machine (client/PROTOCOL.md): release and close.
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

// --- Release

TEST_F(MachineLocksTest, TrustEndsBeforeTheReleaseIsSent) {
  const auto lease = Hold();
  (void)Acquire("busy");  // the message that is being written
  const CallId call = machine->Release(lease);
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  EXPECT_FALSE(Trusted(lease));
  EXPECT_EQ(lease->state(), KeptLease::State::kReleased);
  Collect();
  Flush();
  Ok(Last<ReleaseRequest>().id);
  EXPECT_TRUE(done.contains(call));
  EXPECT_TRUE(lost.empty()) << "a release is not a loss";
  const CallId second = Release(lease);
  EXPECT_TRUE(done.contains(second));
  EXPECT_EQ(Count<ReleaseRequest>(), 1U);
}

TEST_F(MachineLocksTest, AReleasedLockIsNeverAdopted) {
  const auto lease = Hold();
  Move();
  const auto adoption = Last<AdoptRequest>();
  (void)Release(lease);
  Adopted(adoption.id);
  Flush();
  EXPECT_FALSE(Trusted(lease));
  EXPECT_EQ(Count<ReleaseRequest>(), 2U) << "in case the daemon processed them in the other order";
  Move();
  EXPECT_EQ(Count<AdoptRequest>(), 1U);
}

TEST_F(MachineLocksTest, AReleaseWithoutAnAnswerIsSentAgain) {
  const auto made = Hold("made");
  const auto own = Hold({.key = "own", .ttl = seconds(30), .token = "mine"});
  const CallId first = Release(made);
  const CallId second = Release(own);
  Move();
  const auto releases = All<ReleaseRequest>(session);
  ASSERT_EQ(releases.size(), 2U);
  Refuse(releases[0].id, Reason::kLockNotHeld);
  EXPECT_TRUE(done.contains(first)) << "the first copy may have released the lock";
  Refuse(releases[1].id, Reason::kLockNotHeld);
  EXPECT_FAILED(second, Reason::kUnreachable);
  EXPECT_NE(failed[second].message.find("must not be used again"), std::string::npos)
      << "the first copy may still arrive and would end a later hold with this token";
}

TEST_F(MachineLocksTest, AnExtendedLockIsReleasedForAsLongAsItMayBeHeld) {
  const auto pass_without_a_session = [this](Duration duration) {
    Break();
    Suspend(duration);
    Tick();
    Ready();
    Flush();
  };
  for (const bool answered : {true, false}) {  // an extension that is not may have been carried out
    Start({});
    Ready();
    const auto lease = Hold();
    Extend(lease, seconds(60));
    if (answered) GrantTo(Last<ExtendRequest>().id, seconds(59));
    Release(lease);
    pass_without_a_session(seconds(50));
    EXPECT_EQ(Count<ReleaseRequest>(), 2U) << answered;
    pass_without_a_session(seconds(15));
    EXPECT_EQ(Count<ReleaseRequest>(), 2U) << "it has expired";
  }
}

TEST_F(MachineLocksTest, ALateAdoptionOfAReleasedLockDoesNotReleaseTheCallersToken) {
  const auto lease = Hold({.key = "k", .ttl = seconds(30), .token = "mine"});
  Move();
  const auto adoption = Last<AdoptRequest>();
  const CallId call = Release(lease);
  Ok(Last<ReleaseRequest>().id);
  EXPECT_TRUE(done.contains(call));
  const CallId next = Acquire({.key = "k", .ttl = seconds(30), .token = "mine"});
  Flush();
  Adopted(adoption.id);
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 1U);
  GrantTo(Last<AcquireRequest>().id);
  EXPECT_TRUE(leases.contains(next));
}

TEST_F(MachineLocksTest, ALateAdoptionOfALostLockIsReleasedOnceTrustHasEnded) {
  const auto lease = Hold();
  Move();
  const auto adoption = Last<AdoptRequest>();
  Live(lease->SignalAt() - clock.now);
  ASSERT_EQ(lost.size(), 1U);
  Adopted(adoption.id);
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 0U) << "the work that the lock protects may still be stopping";
  Live(lease->TrustedUntil() - clock.now);
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 1U);
}

TEST_F(MachineLocksTest, AReleaseOfALockThatTheDaemonDoesNotKnowFails) {
  const CallId call = Release(Hold());
  Refuse(Last<ReleaseRequest>().id, Reason::kLockNotHeld);
  EXPECT_FAILED(call, Reason::kLockNotHeld);
}

TEST_F(MachineLocksTest, TheCallerOfAReleaseWaitsUpToTwoSecondsAndTheReleaseContinues) {
  const auto lease = Hold();
  Break();
  const CallId call = Release(lease);
  Pass(milliseconds(1'999));
  EXPECT_FALSE(failed.contains(call));
  Pass(milliseconds(1));
  EXPECT_FAILED(call, Reason::kUnreachable);
  Pass(seconds(20));
  Ready();
  Flush();
  EXPECT_EQ(Last<ReleaseRequest>().body.token, lease->token());
  Break();
  Pass(seconds(20));
  Ready();
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 1U) << "the lock has expired";
}

TEST_F(MachineLocksTest, AReleaseRefusedAsOverloadedIsRetried) {
  const CallId call = Release(Hold());
  Refuse(Last<ReleaseRequest>().id, Reason::kOverloaded);
  Live(milliseconds(50));
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 2U);
  Ok(Last<ReleaseRequest>().id);
  EXPECT_TRUE(done.contains(call));
}

// The release would end the lock that the call acquires.
TEST_F(MachineLocksTest, AnAcquireWaitsUntilItsTokenIsReleased) {
  for (const auto& [key, token] :
       {std::pair{std::string("k"), "mine"}, {shared("k"), "mine"}, {"k", "rl-given"}}) {
    const AcquireCommand own{.key = "k", .ttl = seconds(30), .token = token};
    const CallId released = Release(Hold(own));
    AcquireCommand next = own;
    next.key = key;
    const std::size_t before = Count<AcquireRequest>();
    const CallId call = Acquire(next);
    const CallId other = Acquire({.key = "k", .ttl = seconds(30), .token = "other"});
    Flush();
    EXPECT_EQ(Count<AcquireRequest>(), before + 1) << "only with the other token";
    Refuse(Last<ReleaseRequest>().id, Reason::kOverloaded);
    Live(milliseconds(50));
    Flush();
    EXPECT_EQ(Count<AcquireRequest>(), before + 1);
    Ok(Last<ReleaseRequest>().id);
    EXPECT_TRUE(done.contains(released)) << "no daemon can carry out another copy";
    Flush();
    ASSERT_EQ(Count<AcquireRequest>(), before + 2);
    GrantTo(Last<AcquireRequest>().id);
    ASSERT_TRUE(leases.contains(call));
    GiveUp(other);
    Ok(Release(leases[call]) != 0 ? Last<ReleaseRequest>().id : 0);
  }
}

TEST_F(MachineLocksTest, AnAcquireThatWaitsForAReleaseIsGivenUpAndSurvivesAMove) {
  const AcquireCommand own{.key = "k", .ttl = seconds(30), .token = "mine"};
  (void)Release(Hold(own));
  const CallId given_up = Acquire(own);
  GiveUp(given_up);
  EXPECT_FAILED(given_up, Reason::kCancelled);
  const CallId call = Acquire(own);
  Move();
  EXPECT_EQ(Count<AcquireRequest>(), 1U);
  Ok(Last<ReleaseRequest>().id);
  Flush();
  ASSERT_EQ(Count<AcquireRequest>(), 2U);
  GrantTo(Last<AcquireRequest>().id);
  EXPECT_TRUE(leases.contains(call));
}

TEST_F(MachineLocksTest, ReleasingALockThatIsAboutToBeLostReleasesItAtOnce) {
  const auto lease = Hold();
  Break();
  Pass(lease->SignalAt() - clock.now);
  ASSERT_EQ(lost.size(), 1U);
  ASSERT_TRUE(Trusted(lease));
  const CallId call = Release(lease);
  EXPECT_FAILED(call, Reason::kLockNotHeld);
  EXPECT_FALSE(Trusted(lease));
  Ready();
  Flush();
  EXPECT_EQ(Last<ReleaseRequest>().body.token, lease->token());
}

// --- Close

TEST_F(MachineLocksTest, ClosingReleasesEverythingWithOneMessage) {
  const auto lease = Hold();
  const CallId waiting = Acquire("other");
  Flush();
  Close();
  EXPECT_FALSE(Trusted(lease));
  EXPECT_EQ(lost.size(), 1U);
  EXPECT_EQ(lease->loss()->reason, Reason::kCancelled);
  EXPECT_FAILED(waiting, Reason::kCancelled);
  EXPECT_EQ(Count<CloseRequest>(), 1U);
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  EXPECT_FALSE(closed);
  Ok(Last<CloseRequest>().id);
  EXPECT_TRUE(closed);
  EXPECT_TRUE(cancelled.contains(session));
  EXPECT_EQ(machine->NextDeadline(), kNever);
  const CallId late = Acquire();
  EXPECT_FAILED(late, Reason::kCancelled);
  const CallId release = Release(lease);
  EXPECT_FAILED(release, Reason::kLockNotHeld);
}

TEST_F(MachineLocksTest, ClosingWithNothingToReleaseIsImmediate) {
  Close();
  EXPECT_TRUE(closed);
}

TEST_F(MachineLocksTest, ClosingDuringAMoveReleasesLocksOneByOne) {
  const auto adopted = Hold("adopted");
  const auto not_yet = Hold("not yet");
  Move();
  Adopted(All<AdoptRequest>()[0].id);
  Close();
  const Request& request = sent.back().request;
  ASSERT_EQ(request.operations.size(), 2U);
  EXPECT_EQ(std::get<ReleaseRequest>(request.operations[0].body).key, "not yet");
  EXPECT_TRUE(std::holds_alternative<CloseRequest>(request.operations[1].body));
  Ok(request.operations[1].id);
  EXPECT_FALSE(closed);
  Ok(request.operations[0].id);
  EXPECT_TRUE(closed);
}

TEST_F(MachineLocksTest, ClosingWithoutASessionWaitsForTheNextSession) {
  const auto lease = Hold();
  Draining();
  Close();
  EXPECT_FALSE(closed);
  Ready();
  Flush();
  EXPECT_EQ(Count<AdoptRequest>(), 0U);
  Ok(Last<ReleaseRequest>().id);
  EXPECT_TRUE(closed);
}

TEST_F(MachineLocksTest, ACloseWithoutAnAnswerIsFollowedByReleases) {
  const auto lease = Hold();
  (void)Acquire("asked for");
  Flush();
  Close();
  Move();
  EXPECT_EQ(Count<CloseRequest>(), 1U);
  const auto releases = All<ReleaseRequest>();
  ASSERT_EQ(releases.size(), 2U);
  for (const auto& release : releases) Refuse(release.id, Reason::kLockNotHeld);
  EXPECT_TRUE(closed);
}

TEST_F(MachineLocksTest, ClosingDoesNotWaitForTheReleaseOfALostLock) {
  (void)Hold("ending too");
  const auto ending = Hold("ending");
  Break();
  Pass(ending->SignalAt() - clock.now);
  ASSERT_EQ(lost.size(), 2U);
  (void)Release(ending);
  Close();
  EXPECT_TRUE(closed);
}

TEST_F(MachineLocksTest, ClosingTakesAtMostTwoSeconds) {
  (void)Hold();
  const CallId release = Release(Hold("other"));
  Break();
  Close();
  Pass(milliseconds(1'999));
  EXPECT_FALSE(closed);
  Pass(milliseconds(1));
  EXPECT_TRUE(closed);
  EXPECT_TRUE(failed.contains(release));
}

}  // namespace
}  // namespace redlock::client
