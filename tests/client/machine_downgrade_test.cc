// The client's state machine (client/PROTOCOL.md): an exclusive lock is downgraded to a share.
#include "client/cpp/core/keys.h"
#include "tests/client/machine_harness.h"

namespace redlock::client {
namespace {

class MachineDowngradeTest : public MachineLocksTest {
 protected:
  CallId Downgrade(const LeaseRef& lease) {
    const CallId call = machine->Downgrade(lease);
    Collect();
    Flush();
    return call;
  }
  // Both messages are answered.
  void Granted() {
    GrantTo(Last<ExtendRequest>().id);
    Flush();
    Adopted(Last<AdoptRequest>().id);
  }
};

TEST_F(MachineDowngradeTest, TrustEndsBeforeTheDowngradeIsSent) {
  const auto writer = Hold(together({"a", "b"}));
  const CallId call = machine->Downgrade(writer);
  EXPECT_FALSE(Trusted(writer));
  EXPECT_EQ(Count<ExtendRequest>(), 0U);
  Collect();
  Flush();
  const auto extend = Last<ExtendRequest>();
  EXPECT_EQ(extend.body.key, shared(writer->key()));
  EXPECT_EQ(extend.body.token, writer->token());
  EXPECT_EQ(extend.body.downgrade_from, 7U);
  GrantTo(extend.id);
  Flush();
  EXPECT_FALSE(leases.contains(call)) << "an extension alone is not kept alive";
  const auto adopt = Last<AdoptRequest>();
  EXPECT_EQ(adopt.body.key, shared(writer->key()));
  EXPECT_EQ(adopt.body.downgrade_from, 7U);
  EXPECT_GT(adopt.body.sequence, 8U);
  Adopted(adopt.id);
  ASSERT_TRUE(leases.contains(call));
  const auto share = leases[call];
  EXPECT_TRUE(Trusted(share));
  EXPECT_EQ(share->token(), writer->token());
  EXPECT_EQ(share->ttl(), writer->ttl());
  EXPECT_FALSE(Trusted(writer));
  EXPECT_TRUE(lost.empty());
  EXPECT_TRUE(done.contains(Release(writer)));
  EXPECT_EQ(Count<ReleaseRequest>(), 0U) << "the share is still held";
  Release(share);
  EXPECT_EQ(Last<ReleaseRequest>().body.token, share->token());
}

TEST_F(MachineDowngradeTest, ADowngradeContinuesAtAnotherDaemon) {
  const auto writer = Hold();
  const CallId call = Downgrade(writer);
  Move();
  EXPECT_EQ(Count<AdoptRequest>(), 0U) << "the exclusive lock is not adopted";
  EXPECT_EQ(All<ExtendRequest>(session).size(), 1U);
  EXPECT_EQ(Last<ExtendRequest>().body.downgrade_from, 7U);
  GrantTo(Last<ExtendRequest>().id);
  Flush();
  const auto first = Last<AdoptRequest>().body.sequence;
  Move();
  GrantTo(Last<ExtendRequest>().id);
  Flush();
  EXPECT_GT(Last<AdoptRequest>().body.sequence, first);
  EXPECT_EQ(Last<AdoptRequest>().body.downgrade_from, 7U);
  Adopted(Last<AdoptRequest>().id);
  EXPECT_TRUE(leases.contains(call));
}

TEST_F(MachineDowngradeTest, AnAdoptionUnderWayDoesNotReleaseTheShare) {
  const auto writer = Hold();
  Move();
  const auto adoption = Last<AdoptRequest>();
  const CallId call = Downgrade(writer);
  Adopted(adoption.id);
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), 0U);
  EXPECT_FALSE(Trusted(writer));
  GrantTo(Last<ExtendRequest>().id);
  Flush();
  EXPECT_GT(Last<AdoptRequest>().body.sequence, adoption.body.sequence);
  Adopted(Last<AdoptRequest>().id);
  ASSERT_TRUE(leases.contains(call));
  EXPECT_TRUE(Trusted(leases[call]));
}

TEST_F(MachineDowngradeTest, AFailureReleasesTheTokenWhoeverMadeIt) {
  for (const std::string token : {"", "mine"}) {
    const auto writer = Hold({.key = "k", .ttl = seconds(30), .token = token});
    const auto before = Count<ReleaseRequest>();
    const CallId call = Downgrade(writer);
    Refuse(Last<ExtendRequest>().id, Reason::kQuorumUnavailable);
    Live(seconds(31));
    EXPECT_FAILED(call, Reason::kQuorumUnavailable);
    EXPECT_EQ(failed[call].message.find("token must not be used again") != std::string::npos,
              !token.empty())
        << failed[call].message;
    ASSERT_EQ(Count<ReleaseRequest>(), before + 1);
    EXPECT_EQ(Last<ReleaseRequest>().body.token, writer->token());
    EXPECT_EQ(Count<GiveUpRequest>(), 0U);
    Ok(Last<ReleaseRequest>().id);
  }
}

TEST_F(MachineDowngradeTest, GivingUpReleasesTheToken) {
  const auto writer = Hold();
  const CallId call = Downgrade(writer);
  GiveUp(call);
  Pass(seconds(1));
  Flush();
  EXPECT_FAILED(call, Reason::kCancelled);
  EXPECT_EQ(Last<ReleaseRequest>().body.token, writer->token());
}

TEST_F(MachineDowngradeTest, AnExtendedLockIsReleasedForAsLongAsItMayBeHeld) {
  const auto writer = Hold();
  Extend(writer, seconds(60));
  GrantTo(Last<ExtendRequest>().id, seconds(59));
  const CallId call = Downgrade(writer);
  GiveUp(call);
  Pass(seconds(1));
  Flush();
  EXPECT_FAILED(call, Reason::kCancelled);
  Break();
  clock.now += seconds(40);
  Tick();
  const auto before = Count<ReleaseRequest>();
  Ready();
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), before + 1);
}

TEST_F(MachineDowngradeTest, TheShareOfAnExtendedLockIsReleasedForAsLongAsItMayBeHeld) {
  const auto writer = Hold();
  Extend(writer, seconds(60));
  GrantTo(Last<ExtendRequest>().id, seconds(59));
  const CallId call = Downgrade(writer);
  Granted();
  Release(leases.at(call));
  Break();
  Suspend(seconds(50));
  Tick();
  const auto before = Count<ReleaseRequest>();
  Ready();
  Flush();
  EXPECT_EQ(Count<ReleaseRequest>(), before + 1);
}

TEST_F(MachineDowngradeTest, ALockThatIsNoLongerHeldIsNotReleased) {
  const auto writer = Hold({.key = "k", .ttl = seconds(30), .token = "mine"});
  const CallId call = Downgrade(writer);
  Refuse(Last<ExtendRequest>().id, Reason::kLockNotHeld);
  EXPECT_FAILED(call, Reason::kLockNotHeld);
  Live(seconds(2));
  EXPECT_EQ(Count<ReleaseRequest>(), 0U) << "the caller may use its token again";
}

TEST_F(MachineDowngradeTest, ItsTokenIsRefusedUntilItHasEnded) {
  const auto writer = Hold({.key = "k", .ttl = seconds(30), .token = "mine"});
  const CallId call = Downgrade(writer);
  for (const Way way : {Way::kAcquire, Way::kAcquireOrExtend, Way::kAdopt}) {
    for (const std::string& key : {std::string("k"), shared("k")}) {
      const CallId other = Acquire({.key = key, .ttl = seconds(30), .token = "mine", .way = way});
      EXPECT_FAILED(other, Reason::kInvalidArgument);
    }
  }
  Acquire({.key = "other", .ttl = seconds(30), .token = "mine"});
  Flush();
  EXPECT_EQ(Last<AcquireRequest>().body.key, "other");
  Granted();
  ASSERT_TRUE(leases.contains(call));
  EXPECT_TRUE(done.contains(Release(writer)));
}

// Another daemon could grant the lock to that call, and carry out the downgrade afterwards.
TEST_F(MachineDowngradeTest, AnotherCallMustNotBeRequestingTheKeyWithItsToken) {
  for (const bool shares : {false, true}) {
    const std::string key = shares ? "one" : "other";
    Acquire({.key = key, .ttl = seconds(30), .token = "mine"});
    Flush();
    const auto granted = Last<AcquireRequest>();
    const CallId waiting =
        Acquire({.key = shares ? shared(key) : key, .ttl = seconds(30), .token = "mine"});
    Flush();
    GrantTo(granted.id);
    ASSERT_EQ(machine->Leases().size(), 1U);
    const auto writer = machine->Leases().front();
    CallId call = Downgrade(writer);
    EXPECT_FAILED(call, Reason::kInvalidArgument);
    EXPECT_TRUE(Trusted(writer));
    EXPECT_EQ(Count<ExtendRequest>(), shares ? 1U : 0U);
    GiveUp(waiting);
    Acquire({.key = "elsewhere", .ttl = seconds(30), .token = "mine"});
    call = Downgrade(writer);
    EXPECT_EQ(Count<ExtendRequest>(), shares ? 2U : 1U);
    Refuse(Last<ExtendRequest>().id, Reason::kLockNotHeld);
  }
}

TEST_F(MachineDowngradeTest, OnlyAHeldExclusiveLockIsDowngraded) {
  const auto writer = Hold();
  Release(writer);
  CallId call = Downgrade(writer);
  EXPECT_FAILED(call, Reason::kLockNotHeld);
  call = Downgrade(Hold(shared("k")));
  EXPECT_FAILED(call, Reason::kInvalidArgument);
  call = Downgrade(Hold(semaphore("s", 3)));
  EXPECT_FAILED(call, Reason::kInvalidArgument);
  EXPECT_EQ(Count<ExtendRequest>(), 0U);
}

TEST_F(MachineDowngradeTest, PendingExtensionsEndWithTheExclusiveLock) {
  const auto writer = Hold();
  const CallId extension = Extend(writer);
  const auto late = Last<ExtendRequest>();
  Downgrade(writer);
  EXPECT_FAILED(extension, Reason::kLockNotHeld);
  GrantTo(late.id, seconds(59));
  EXPECT_FALSE(Trusted(writer));
}

TEST_F(MachineDowngradeTest, CloseReleasesTheLock) {
  const auto writer = Hold();
  const CallId call = Downgrade(writer);
  Close();
  EXPECT_FAILED(call, Reason::kCancelled);
  EXPECT_EQ(Last<ReleaseRequest>().body.token, writer->token());
}

}  // namespace
}  // namespace redlock::client
