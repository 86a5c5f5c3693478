// The client's state machine (client/PROTOCOL.md): adoption and extension.
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

// --- Adopting

TEST_F(MachineLocksTest, EveryHeldLockIsAdoptedByTheNextDaemon) {
  const auto first = Hold("first");
  const auto second = Hold("second");
  const TimePoint frozen = first->TrustedUntil();
  Pass(milliseconds(500));
  Move();
  const auto adoptions = All<AdoptRequest>();
  ASSERT_EQ(adoptions.size(), 2U);
  EXPECT_EQ(Count<AcquireRequest>(), 2U) << "nothing is acquired again";
  EXPECT_EQ(adoptions[0].body.key, "first");
  EXPECT_EQ(adoptions[0].body.token, first->token());
  EXPECT_EQ(adoptions[0].body.ttl, seconds(30));
  EXPECT_EQ(adoptions[0].body.sequence, 7U + 1 + 1)
      << "above the fencing token, which may have grown each time the acquire was sent";
  EXPECT_EQ(first->TrustedUntil(), frozen) << "the new Session does not extend trust";
  Adopted(adoptions[1].id, 12);
  EXPECT_GT(second->TrustedUntil(), frozen);
  EXPECT_EQ(second->fencing_token(), 12U);
  EXPECT_EQ(first->TrustedUntil(), frozen);
  Adopted(adoptions[0].id, 3);
  EXPECT_GT(first->TrustedUntil(), frozen);
  EXPECT_EQ(first->fencing_token(), 7U) << "it never decreases";
  Live(seconds(20));
  EXPECT_TRUE(lost.empty());
}

TEST_F(MachineLocksTest, TheSequenceGrowsWithEveryAdoptionAtAnyDaemon) {
  const auto lease = Hold();
  for (std::uint64_t sequence = 9; sequence < 13; ++sequence) {
    Move();
    EXPECT_EQ(Last<AdoptRequest>().body.sequence, sequence);
    Refuse(Last<AdoptRequest>().id, Reason::kQuorumUnavailable);
    ++sequence;
    Pass(milliseconds(99));
    EXPECT_EQ(Last<AdoptRequest>().body.sequence, sequence - 1) << "again after 100 ms";
    Pass(milliseconds(1));
    Flush();
    EXPECT_EQ(Last<AdoptRequest>().body.sequence, sequence);
  }
  Adopted(Last<AdoptRequest>().id, 40);
  Move();
  EXPECT_EQ(Last<AdoptRequest>().body.sequence, 41U) << "above the current fencing token";
}

TEST_F(MachineLocksTest, TheSequenceOfAnAdoptedLockKeepsGrowing) {
  Acquire({.key = "k", .ttl = seconds(30), .token = "mine", .way = Way::kAdopt});
  Flush();
  for (int i = 0; i < 10; ++i) {  // another client has adopted it many times
    GrantTo(Last<ExtendRequest>().id);
    Flush();
    Refuse(Last<AdoptRequest>().id, Reason::kLockNotHeld);
    Flush();
  }
  GrantTo(Last<ExtendRequest>().id);
  Flush();
  const auto sequence = Last<AdoptRequest>().body.sequence;
  EXPECT_GT(sequence, 1'000U);
  Adopted(Last<AdoptRequest>().id);
  Move();
  EXPECT_EQ(Last<AdoptRequest>().body.sequence, sequence + 1);
}

TEST_F(MachineLocksTest, AnswersToAdoptionsByAbandonedDaemonsAreIgnored) {
  const auto lease = Hold();
  const TimePoint frozen = lease->TrustedUntil();
  std::vector<std::pair<SessionId, std::uint64_t>> late;
  for (int i = 0; i < 3; ++i) {
    Move();
    late.emplace_back(session, Last<AdoptRequest>().id);
    Pass(milliseconds(60));
  }
  MessageOf(late[0].first,
            {.answers = {{.id = late[0].second,
                          .error = Error{Reason::kLockNotHeld, "a higher sequence was seen"}}}});
  MessageOf(late[1].first,
            {.answers = {{.id = late[1].second, .grant = Grant{"", 9, seconds(29)}}}});
  EXPECT_EQ(lease->TrustedUntil(), frozen);
  EXPECT_TRUE(lease->held());
  EXPECT_TRUE(lost.empty());
  Adopted(late[2].second);
  EXPECT_GT(lease->TrustedUntil(), frozen);
  EXPECT_EQ(Count<ReleaseRequest>(), 0U) << "the held lock is not released";
}

TEST_F(MachineLocksTest, ALockThatIsNoLongerHeldIsLost) {
  const auto lease = Hold();
  Move();
  Refuse(Last<AdoptRequest>().id, Reason::kLockNotHeld);
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_EQ(lease->loss()->reason, Reason::kLockNotHeld);
  EXPECT_FALSE(Trusted(lease));
  Live(seconds(1));
  EXPECT_EQ(Count<AdoptRequest>(), 1U);
}

TEST_F(MachineLocksTest, AnAdoptionIsRetriedWhileTheLockIsTrusted) {
  const auto lease = Hold();
  Move();
  while (lost.empty()) {
    ASSERT_TRUE(Trusted(lease));
    Refuse(Last<AdoptRequest>().id, Reason::kOverloaded);
    Live(milliseconds(100));
    Flush();
  }
  EXPECT_EQ(lost[0], lease);
  const std::size_t adoptions = Count<AdoptRequest>();
  EXPECT_GT(adoptions, 30U);
  // A late answer does not restore the lock, and the client asks the daemon to release it.
  Adopted(Last<AdoptRequest>().id);
  EXPECT_EQ(lease->state(), KeptLease::State::kLost);
  Live(seconds(1));
  Flush();
  EXPECT_EQ(Count<AdoptRequest>(), adoptions);
  EXPECT_EQ(Count<ReleaseRequest>(), 1U);
}

TEST_F(MachineLocksTest, FrozenTrustIsNotRaisedByEventsOfTheNextDaemon) {
  const auto lease = Hold();
  const TimePoint frozen = lease->TrustedUntil();
  Pass(milliseconds(500));
  Move();
  Message({.events = {{.type = EventType::kExtended,
                       .key = "k",
                       .grant = Grant{lease->token(), 9, seconds(29)}}}});
  EXPECT_EQ(lease->TrustedUntil(), frozen);
}

// --- Extend

TEST_F(MachineLocksTest, AnExtensionRaisesTheValidity) {
  const auto lease = Hold({.key = "k", .ttl = seconds(2)});
  const CallId call = Extend(lease);
  GrantTo(Last<ExtendRequest>().id, seconds(59), 9);
  EXPECT_TRUE(done.contains(call));
  EXPECT_EQ(lease->fencing_token(), 9U);
  EXPECT_GT(lease->TrustedUntil(), clock.now + seconds(4));
  const CallId undecided = Extend(lease);
  Refuse(Last<ExtendRequest>().id, Reason::kQuorumUnavailable);
  EXPECT_FAILED(undecided, Reason::kQuorumUnavailable);
  EXPECT_TRUE(lease->held());
  const CallId gone = Extend(lease);
  Refuse(Last<ExtendRequest>().id, Reason::kLockNotHeld);
  EXPECT_FAILED(gone, Reason::kLockNotHeld);
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_FALSE(Trusted(lease));
}

TEST_F(MachineLocksTest, AnExtensionWaitsForTheAdoption) {
  const auto lease = Hold();
  Draining();
  const CallId before = Extend(lease);
  Ready();
  Flush();
  const CallId during = Extend(lease);
  EXPECT_EQ(Count<ExtendRequest>(), 0U);
  Adopted(Last<AdoptRequest>().id);
  Flush();
  ASSERT_EQ(Count<ExtendRequest>(), 2U);
  for (const auto& extension : All<ExtendRequest>()) GrantTo(extension.id, seconds(59));
  EXPECT_TRUE(done.contains(before) && done.contains(during));
}

TEST_F(MachineLocksTest, AnExtensionEndsWithItsLock) {
  const auto released = Hold("released");
  const CallId first = Extend(released);
  (void)Release(released);
  EXPECT_FAILED(first, Reason::kLockNotHeld);
  const auto losing = Hold("lost");
  const CallId second = Extend(losing);
  Flush();
  Break();
  Break();
  Pass(seconds(5));
  EXPECT_TRUE(failed.contains(second));
  const CallId third = Extend(losing);
  EXPECT_FAILED(third, Reason::kLockNotHeld);
}

}  // namespace
}  // namespace redlock::client
