// The client's state machine: locks that the token may hold before the call (acquire_or_extend and
// adopt by key and token).
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

AcquireCommand Adopts(std::optional<Duration> wait = {}) {
  return {.key = "k", .ttl = seconds(30), .wait = wait, .token = "mine", .way = Way::kAdopt};
}
AcquireCommand AcquiresOrExtends() {
  return {.key = "k", .ttl = seconds(30), .token = "mine", .way = Way::kAcquireOrExtend};
}

TEST_F(MachineLocksTest, AdoptingLearnsTheFenceAndThenTakesTheLease) {
  const CallId call = Acquire(Adopts());
  Flush();
  EXPECT_EQ(Last<ExtendRequest>().body.token, "mine");
  EXPECT_EQ(Last<ExtendRequest>().body.retry->max_retries, 0);
  EXPECT_EQ(Count<AcquireRequest>(), 0U) << "never acquires";
  GrantTo(Last<ExtendRequest>().id, seconds(29), 20);
  Flush();
  EXPECT_FALSE(leases.contains(call)) << "an extension does not take the lock into this Session";
  EXPECT_GT(Last<AdoptRequest>().body.sequence, 20U);
  Adopted(Last<AdoptRequest>().id, 21);
  ASSERT_TRUE(leases.contains(call));
  EXPECT_EQ(leases[call]->fencing_token(), 21U);
  EXPECT_TRUE(leases[call]->held());
  Move();
  EXPECT_EQ(Count<AdoptRequest>(), 2U) << "the client keeps it alive";
}

TEST_F(MachineLocksTest, AdoptingALockThatIsNotHeldFails) {
  const CallId call = Acquire(Adopts());
  Flush();
  Refuse(Last<ExtendRequest>().id, Reason::kLockNotHeld);
  EXPECT_FAILED(call, Reason::kLockNotHeld);
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
}

// The former holder may have used higher sequences in its own moves.
TEST_F(MachineLocksTest, AdoptingPassesTheSequencesOfTheFormerHolder) {
  constexpr std::uint64_t kStored = 20 + 100'000;
  const CallId call = Acquire(Adopts());
  for (int i = 0; i < 30 && !leases.contains(call); ++i) {
    Flush();
    GrantTo(Last<ExtendRequest>().id, seconds(29), 20);
    Flush();
    const auto adopt = Last<AdoptRequest>();
    if (adopt.body.sequence > kStored) {
      Adopted(adopt.id, 20);
    } else {
      Refuse(adopt.id, Reason::kLockNotHeld);
    }
  }
  EXPECT_TRUE(leases.contains(call));
}

TEST_F(MachineLocksTest, AdoptingIsTriedAgainUnlessItIsASingleTry) {
  const CallId once = Acquire(Adopts(Duration{}));
  Flush();
  Refuse(Last<ExtendRequest>().id, Reason::kQuorumUnavailable);
  EXPECT_FAILED(once, Reason::kQuorumUnavailable);
  const CallId call = Acquire(Adopts(seconds(1)));
  Flush();
  Refuse(Last<ExtendRequest>().id, Reason::kQuorumUnavailable);
  Pass(milliseconds(100));
  Flush();
  EXPECT_EQ(Count<ExtendRequest>(), 3U);
  Refuse(Last<ExtendRequest>().id, Reason::kQuorumUnavailable);
  Pass(milliseconds(50));
  Live(seconds(2));
  EXPECT_FAILED(call, Reason::kQuorumUnavailable);
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  EXPECT_EQ(Count<CancelRequest>(), 0U);
}

// Others may still trust a lock that the token held before the call.
TEST_F(MachineLocksTest, AFailedHandOverReleasesNothing) {
  for (const AcquireCommand& command : {Adopts(), AcquiresOrExtends()}) {
    const CallId call = Acquire(command);
    Flush();
    Move();  // unanswered
    GiveUp(call);
    Live(seconds(2));
    EXPECT_FAILED(call, Reason::kCancelled);
    EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  }
}

TEST_F(MachineLocksTest, AcquireOrExtendAdoptsALockThatTheTokenHolds) {
  const CallId call = Acquire(AcquiresOrExtends());
  Flush();
  EXPECT_EQ(Last<ExtendRequest>().body.retry->max_retries, 0);
  GrantTo(Last<ExtendRequest>().id, seconds(29), 20);
  Flush();
  EXPECT_EQ(Count<AcquireRequest>(), 0U);
  EXPECT_FALSE(leases.contains(call));
  EXPECT_GT(Last<AdoptRequest>().body.sequence, 20U);
  Adopted(Last<AdoptRequest>().id, 20);
  EXPECT_TRUE(leases.contains(call));
}

TEST_F(MachineLocksTest, AcquireOrExtendAcquiresIfTheTokenHoldsNothing) {
  const CallId call = Acquire(AcquiresOrExtends());
  Flush();
  Refuse(Last<ExtendRequest>().id, Reason::kLockNotHeld);
  Flush();
  EXPECT_EQ(Last<AcquireRequest>().body.token, "mine");
  EXPECT_FALSE(Last<AcquireRequest>().body.extend_if_held);
  GrantTo(Last<AcquireRequest>().id);
  EXPECT_TRUE(leases.contains(call));
}

TEST_F(MachineLocksTest, AnAcquireOrExtendThatIsGivenUpGivesUpWhatItHasAcquired) {
  const CallId call = Acquire(AcquiresOrExtends());
  Flush();
  Refuse(Last<ExtendRequest>().id, Reason::kLockNotHeld);
  Flush();
  GiveUp(call);
  EXPECT_EQ(Count<CancelRequest>(), 1U);
  GrantTo(Last<AcquireRequest>().id);
  Flush();
  EXPECT_FAILED(call, Reason::kCancelled);
  EXPECT_EQ(Last<GiveUpRequest>().body.token, "mine");
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
}

TEST_F(MachineLocksTest, AGrantThatCrossesGivingUpAHandOverCounts) {
  const CallId call = Acquire(AcquiresOrExtends());
  Flush();
  GiveUp(call);
  EXPECT_EQ(Count<CancelRequest>(), 0U) << "an extension cannot be cancelled";
  GrantTo(Last<ExtendRequest>().id, seconds(29), 20);
  Flush();
  Adopted(Last<AdoptRequest>().id, 20);
  EXPECT_TRUE(leases.contains(call));
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
}

// An extension that nobody waits for leaves nothing behind that a daemon keeps alive.
TEST_F(MachineLocksTest, AHandOverThatIsGivenUpDuringTheExtensionGivesNothingUp) {
  for (const AcquireCommand& command : {Adopts(), AcquiresOrExtends()}) {
    const CallId call = Acquire(command);
    Flush();
    GiveUp(call);
    Live(seconds(1));
    EXPECT_FAILED(call, Reason::kCancelled);
    GrantTo(Last<ExtendRequest>().id, seconds(29), 20);
    Flush();
    EXPECT_EQ(Count<GiveUpRequest>(), 0U);
  }
}

// A call that is given up while it adopts what its extension has found.
class GivenUpWhileAdopting : public MachineLocksTest {
 protected:
  void Begin(const AcquireCommand& command) {
    Extended(command);
    GiveUp(call);
    Live(seconds(1));
    EXPECT_FAILED(call, Reason::kCancelled);
    Adopted(Last<AdoptRequest>().id, 20);
  }
  // Begins a call, and lets it adopt.
  void Extended(const AcquireCommand& command) {
    call = Acquire(command);
    Flush();
    GrantTo(Last<ExtendRequest>().id, seconds(29), 20);
    Flush();
  }
  CallId call{};
};

// The daemon would keep alive what this Session has adopted.
TEST_F(GivenUpWhileAdopting, AdoptGivesTheLockUp) {
  Begin(Adopts());
  Flush();
  EXPECT_EQ(Last<GiveUpRequest>().body.token, "mine");
}

// What the token looks like does not matter: the caller may use it again.
TEST_F(GivenUpWhileAdopting, AdoptGivesUpALockWhoseTokenWasMade) {
  AcquireCommand command = Adopts();
  command.token = "rl-1";
  Begin(command);
  Flush();
  EXPECT_EQ(Last<GiveUpRequest>().body.token, "rl-1");
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
}

// The caller may still trust a lock that acquire_or_extend has found.
TEST_F(GivenUpWhileAdopting, AcquireOrExtendSparesTheLock) {
  Begin(AcquiresOrExtends());
  Live(seconds(27));
  Flush();
  EXPECT_EQ(Count<GiveUpRequest>(), 0U);
  Live(seconds(1));
  Flush();
  EXPECT_EQ(Count<GiveUpRequest>(), 1U);
}

TEST_F(GivenUpWhileAdopting, ALaterCallThatFailsDoesNotKeepTheLock) {
  Begin(AcquiresOrExtends());
  Live(seconds(27));
  const CallId later = Acquire(AcquiresOrExtends());
  Flush();
  Live(seconds(3));
  EXPECT_EQ(Count<GiveUpRequest>(), 0U) << "the later call may get the lock";
  GiveUp(later);
  Live(seconds(2));
  EXPECT_FAILED(later, Reason::kCancelled);
  Flush();
  EXPECT_EQ(Count<GiveUpRequest>(), 1U);
}

// The Session keeps the lock alive for as long as it lasts.
TEST_F(MachineLocksTest, AGiveUpWaitsForALaterCallHoweverLongThatTakes) {
  const AcquireCommand own{.key = "k", .ttl = seconds(1), .token = "mine"};
  const CallId first = Acquire(own);
  Flush();
  const auto late = Last<AcquireRequest>();
  GiveUp(first);
  Live(seconds(1));
  EXPECT_FAILED(first, Reason::kCancelled);
  Flush();
  Refuse(Last<GiveUpRequest>().id, Reason::kLockNotHeld);
  const CallId second = Acquire(own);
  Flush();
  GrantTo(late.id);
  Live(seconds(60));
  EXPECT_EQ(Count<GiveUpRequest>(), 1U);
  GiveUp(second);
  Refuse(Last<AcquireRequest>().id, Reason::kCancelled);
  EXPECT_FAILED(second, Reason::kCancelled);
  Live(seconds(2));
  EXPECT_EQ(Count<GiveUpRequest>(), 2U);
}

TEST_F(GivenUpWhileAdopting, ALaterCallKeepsALockThatWasSpared) {
  Begin(AcquiresOrExtends());
  Extended(AcquiresOrExtends());
  GrantTo(Last<AdoptRequest>().id, seconds(100), 21);
  ASSERT_TRUE(leases.contains(call));
  Live(seconds(40));
  Flush();
  EXPECT_EQ(Count<GiveUpRequest>(), 0U);
  EXPECT_TRUE(leases[call]->held());
}

TEST_F(GivenUpWhileAdopting, NothingGivesUpASparedLockOnceItsSessionHasEnded) {
  Begin(AcquiresOrExtends());
  Move();
  Live(seconds(40));
  EXPECT_EQ(Count<ReleaseRequest>() + Count<GiveUpRequest>(), 0U);
}

// --- A token with which this client holds the lock

TEST_F(MachineLocksTest, AnAcquireWithATokenThatHoldsTheLockFailsAtOnce) {
  const AcquireCommand own{.key = "k", .ttl = seconds(30), .token = "mine"};
  const CallId holder = Acquire(own);
  Flush();
  GrantTo(Last<AcquireRequest>().id);
  for (const std::optional<Duration> wait :
       {std::optional<Duration>{}, std::optional<Duration>{Duration{}},
        std::optional<Duration>{seconds(5)}}) {
    AcquireCommand command = own;
    command.wait = wait;
    const CallId call = Acquire(command);
    EXPECT_FAILED(call, Reason::kLockAlreadyHeld);
  }
  Flush();
  EXPECT_EQ(Count<AcquireRequest>(), 1U);
  EXPECT_TRUE(leases[holder]->held());
}

TEST_F(MachineLocksTest, AHandOverOfALockThatTheClientHoldsExtendsIt) {
  const CallId holder = Acquire({.key = "k", .ttl = seconds(30), .token = "mine"});
  Flush();
  GrantTo(Last<AcquireRequest>().id);
  for (const AcquireCommand& command : {Adopts(), AcquiresOrExtends()}) {
    const CallId call = Acquire(command);
    Flush();
    EXPECT_FALSE(leases.contains(call));
    GrantTo(Last<ExtendRequest>().id, seconds(29));
    ASSERT_TRUE(leases.contains(call));
    EXPECT_EQ(leases[call], leases[holder]);
    const CallId given_up = Acquire(command);
    Flush();
    GiveUp(given_up);
    EXPECT_FAILED(given_up, Reason::kCancelled);
    const CallId late = Acquire(Adopts(seconds(1)));
    Flush();
    Live(seconds(1));
    EXPECT_FAILED(late, Reason::kDeadlineExceeded);
  }
  EXPECT_EQ(Count<AdoptRequest>(), 0U);
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  EXPECT_TRUE(leases[holder]->held());
}

// Otherwise, one of them would be trusted although the other one has been released.
TEST_F(MachineLocksTest, TwoHandOversAtTheSameTimeGetTheSameLock) {
  const CallId one = Acquire(AcquiresOrExtends());
  const CallId two = Acquire(AcquiresOrExtends());
  Flush();
  for (const auto& extend : All<ExtendRequest>()) GrantTo(extend.id, seconds(29), 20);
  Flush();
  ASSERT_EQ(Count<AdoptRequest>(), 2U);
  for (const auto& adopt : All<AdoptRequest>()) Adopted(adopt.id, 20);
  ASSERT_TRUE(leases.contains(one) && leases.contains(two));
  EXPECT_EQ(leases[one], leases[two]);
  (void)Release(leases[two]);
  EXPECT_FALSE(Trusted(leases[one]));
}

TEST_F(MachineLocksTest, ALateGrantDoesNotEndALaterHoldOfTheSameToken) {
  const CallId first = Acquire(AcquiresOrExtends());
  Flush();
  Refuse(Last<ExtendRequest>().id, Reason::kLockNotHeld);
  Flush();
  const auto late = Last<AcquireRequest>();
  GiveUp(first);
  Live(seconds(1));
  EXPECT_FAILED(first, Reason::kCancelled);
  Flush();
  Ok(Last<GiveUpRequest>().id);
  const CallId second = TakeOver(AcquiresOrExtends());
  ASSERT_TRUE(leases.contains(second));
  GrantTo(late.id);
  Live(seconds(3));
  EXPECT_EQ(Count<GiveUpRequest>(), 1U);
  EXPECT_TRUE(leases[second]->held());
}

TEST_F(MachineLocksTest, AGiveUpThatTheDaemonRefusedDoesNotEndALaterHoldOfTheSameToken) {
  const CallId first = Acquire({.key = "k", .ttl = seconds(30), .token = "mine"});
  Flush();
  GiveUp(first);
  GrantTo(Last<AcquireRequest>().id);
  Flush();
  Refuse(Last<GiveUpRequest>().id, Reason::kOverloaded);
  const CallId second = TakeOver(AcquiresOrExtends());
  ASSERT_TRUE(leases.contains(second));
  Live(seconds(3));
  EXPECT_EQ(Count<GiveUpRequest>(), 1U);
  Close();
  Ok(Last<CloseRequest>().id);
  EXPECT_TRUE(closed) << "it does not wait for the lock to be given up";
}

TEST_F(MachineLocksTest, ALostLockOfTheCallersTokenIsGivenUpUnlessALaterCallHasIt) {
  const AcquireCommand own{.key = "k", .ttl = seconds(30), .token = "mine"};
  for (const bool used_again : {false, true}) {
    const LeaseRef lease = Hold(own);
    const std::size_t before = Count<GiveUpRequest>();
    Live(milliseconds(29'500));
    EXPECT_EQ(lease->state(), KeptLease::State::kLost);
    EXPECT_TRUE(Trusted(lease));
    CallId call{};
    if (used_again) {
      call = TakeOver(AcquiresOrExtends(), seconds(100));
      ASSERT_TRUE(leases.contains(call));
    }
    Live(seconds(1));
    EXPECT_FALSE(Trusted(lease));
    EXPECT_EQ(Count<GiveUpRequest>() - before, used_again ? 0U : 1U);
    EXPECT_EQ(Count<ReleaseRequest>(), 0U);
    if (used_again) {
      EXPECT_TRUE(leases[call]->held());
    }
  }
}

TEST_F(MachineLocksTest, ReleasingATokenIsRepeatedOnce) {
  machine->ReleaseToken("k", "rl-1", seconds(30));
  Collect();
  Flush();
  EXPECT_EQ(Last<ReleaseRequest>().body.token, "rl-1");
  Refuse(Last<ReleaseRequest>().id, Reason::kLockNotHeld);
  Live(milliseconds(999));
  EXPECT_EQ(Count<ReleaseRequest>(), 1U);
  Live(milliseconds(1));
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 2U) << "a daemon may have granted the cancelled call late";
  Refuse(Last<ReleaseRequest>().id, Reason::kLockNotHeld);
  Live(seconds(5));
  EXPECT_EQ(Count<ReleaseRequest>(), 2U);
}

// --- Closing

TEST_F(MachineLocksTest, AClosedClientContinuesToReleaseWhatItCouldNotRelease) {
  (void)Hold();
  Break();
  Close();
  Pass(seconds(2));
  EXPECT_TRUE(closed) << "nobody waits any longer";
  EXPECT_FALSE(finished);
  Pass(seconds(3));
  Ready();
  Flush();
  const auto release = Last<ReleaseRequest>();
  EXPECT_EQ(release.body.key, "k");
  EXPECT_FALSE(finished);
  Ok(release.id);
  EXPECT_TRUE(finished);
  EXPECT_TRUE(cancelled.contains(session));
  EXPECT_EQ(machine->NextDeadline(), kNever);
}

TEST_F(MachineLocksTest, AClosedClientStopsOnceItsLocksHaveExpired) {
  (void)Hold();
  Break();
  Close();
  Pass(seconds(36));  // the TTL and the grace
  EXPECT_TRUE(finished);
}

TEST_F(MachineLocksTest, AClosedClientStopsAtOnceIfTheProcessEnds) {
  (void)Hold();
  Break();
  Close();
  Pass(seconds(3));
  machine->Quit();
  Collect();
  EXPECT_TRUE(finished);
  EXPECT_EQ(machine->NextDeadline(), kNever);
}

}  // namespace
}  // namespace redlock::client
