// Nodes that lose their data, with real daemons.
#include "tests/e2e/service_fixture.h"

namespace redlock::testing {
namespace {

constexpr const char* kMaxTtl = "2s";

class GuardTest : public ServiceTest {
 protected:
  // The vote of one node on a key that is not held.
  v1::Vote VoteOf(std::size_t node) {
    const std::string name = "127.0.0.1:" + std::to_string(nodes[node]->port());
    const v1::InspectResponse seen = Inspect("probe");
    for (const v1::Vote& vote : seen.votes()) {
      if (vote.node() == name) return vote;
    }
    ADD_FAILURE() << "no vote from " << name;
    return {};
  }
  bool BecomesQuarantined(std::size_t node) {
    return Eventually([&] { return VoteOf(node).outcome() == v1::VOTE_OUTCOME_QUARANTINED; });
  }
  bool BecomesTrusted(std::size_t node) {
    return Eventually([&] { return VoteOf(node).outcome() == v1::VOTE_OUTCOME_NOT_HELD; });
  }
  void Restart(std::size_t node) {
    nodes[node]->Kill();
    nodes[node]->Start();
  }
};

TEST_F(GuardTest, ARestartedNodeIsQuarantinedForTheLongestTtl) {
  StartDaemon({"--max-ttl", kMaxTtl});
  Restart(1);
  ASSERT_TRUE(BecomesQuarantined(1));
  EXPECT_NE(VoteOf(1).message().find("its data may be lost"), std::string::npos)
      << VoteOf(1).message();
  EXPECT_NE(daemon->Log().find("quarantined for another 2 s"), std::string::npos) << daemon->Log();
  const Finished status = daemon->Ctl("status");
  EXPECT_EQ(status.status, 0);
  EXPECT_NE(status.output.find("2 of 3 nodes are up; the quorum is 2"), std::string::npos)
      << status.output;
  EXPECT_NE(status.output.find("quarantined for another "), std::string::npos) << status.output;
  (void)MustAcquire(Wants("key", seconds(1)));
  EXPECT_EQ(nodes[1]->Cli("EXISTS key"), "0");
  EXPECT_TRUE(BecomesTrusted(1));
  EXPECT_NE(daemon->Log().find("trusted again"), std::string::npos);
  (void)MustAcquire(Wants("other", seconds(1)));
  EXPECT_TRUE(Eventually([&] { return nodes[1]->Cli("EXISTS other") == "1"; }));
}

TEST_F(GuardTest, ALockOnRestartedNodesCannotBeAcquiredTwice) {
  StartDaemon({"--max-ttl", kMaxTtl});
  (void)MustAcquire(Wants("key", seconds(2)));
  Restart(0);
  Restart(1);
  // A daemon that starts after the loss has to know of it too.
  StartDaemon({"--max-ttl", kMaxTtl});
  const Failure failure = MustNotAcquire(Wants("key", seconds(2)));
  EXPECT_EQ(failure.reason, "QUORUM_UNAVAILABLE") << failure.message;
  (void)MustAcquire(Wants("key", seconds(1), -1));  // within the deadline
}

TEST_F(GuardTest, AFlushIsDetectedByTheNextGrant) {
  StartDaemon({"--max-ttl", kMaxTtl});
  (void)MustAcquire(Wants("key", seconds(2)));
  (void)nodes[0]->Cli("FLUSHALL");
  (void)nodes[2]->Cli("FLUSHALL");
  EXPECT_EQ(MustNotAcquire(Wants("key", seconds(2))).reason, "QUORUM_UNAVAILABLE");
  EXPECT_EQ(VoteOf(0).outcome(), v1::VOTE_OUTCOME_QUARANTINED);
  EXPECT_EQ(VoteOf(2).outcome(), v1::VOTE_OUTCOME_QUARANTINED);
  EXPECT_TRUE(Inspect("key").undecided()) << "the nodes lost the key";
  nodes[1]->Kill();
  EXPECT_TRUE(Eventually(
      [&] { return daemon->Ctl("status").output.find(": not connected") != std::string::npos; }));
  const Finished status = daemon->Ctl("status --output json");
  EXPECT_EQ(status.status, 5) << "no quorum";
  EXPECT_NE(status.output.find("\"state\":\"NODE_STATE_QUARANTINED\""), std::string::npos)
      << status.output;
  EXPECT_NE(status.output.find("quarantine_left"), std::string::npos) << status.output;
}

TEST_F(GuardTest, NodesThatSyncEveryWriteToDiskMayRestart) {
  nodes.clear();
  for (int i = 0; i < 3; ++i) {
    nodes.push_back(std::make_unique<RedisServer>(
        std::vector<std::string>{"--appendonly", "yes", "--appendfsync", "always"}));
  }
  StartDaemon();
  (void)MustAcquire(Wants("key", seconds(100)));
  for (std::size_t node = 0; node < 3; ++node) Restart(node);
  EXPECT_TRUE(Eventually(
      [&] { return MustNotAcquire(Wants("key", seconds(2))).reason == "LOCK_ALREADY_HELD"; }));
  (void)MustAcquire(Wants("other", seconds(2), -1));
  EXPECT_EQ(daemon->Log().find("quarantined"), std::string::npos) << daemon->Log();
}

TEST_F(GuardTest, StrictModeQuarantinesEvenANewNodeSet) {
  StartDaemon({"--max-ttl", kMaxTtl, "--node-guard", "strict"});
  EXPECT_EQ(MustNotAcquire(Wants("key", seconds(1))).reason, "QUORUM_UNAVAILABLE");
  (void)MustAcquire(Wants("key", seconds(1), -1));
}

TEST_F(GuardTest, OffModeQuarantinesNoNode) {
  StartDaemon({"--node-guard", "off"});
  for (std::size_t node = 0; node < 3; ++node) Restart(node);
  (void)MustAcquire(Wants("key", seconds(1), -1));
  EXPECT_EQ(nodes[0]->Cli("EXISTS redlockd:mark"), "0");
}

}  // namespace
}  // namespace redlock::testing
