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
  EXPECT_TRUE(Logs(*daemon, "quarantined for another 2 s")) << daemon->Log();
  const Finished status = daemon->Ctl("status");
  EXPECT_EQ(status.status, 0);
  EXPECT_NE(status.output.find("2 of 3 nodes are up; the quorum is 2"), std::string::npos)
      << status.output;
  EXPECT_NE(status.output.find("quarantined for another "), std::string::npos) << status.output;
  (void)MustAcquire(Wants("key", seconds(1)));
  EXPECT_EQ(nodes[1]->Cli("EXISTS key"), "0");
  EXPECT_TRUE(BecomesTrusted(1));
  EXPECT_TRUE(Logs(*daemon, "trusted again"));
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
  // A vote may say "quarantined for another 0 ms" while the mark is being written.
  EXPECT_EQ(daemon->Log().find(": quarantined"), std::string::npos) << daemon->Log();
}

TEST_F(GuardTest, ANodeThatIsNoLongerDurableIsQuarantinedAfterARestart) {
  nodes.clear();
  for (int i = 0; i < 3; ++i) {
    nodes.push_back(std::make_unique<RedisServer>(
        std::vector<std::string>{"--appendonly", "yes", "--appendfsync", "always"}));
  }
  StartDaemon({"--max-ttl", kMaxTtl});
  const auto mark = [this] { return nodes[0]->Cli("GET redlockd:mark"); };
  EXPECT_TRUE(Eventually([&] { return mark().ends_with('+'); })) << mark();
  (void)nodes[0]->Cli("CONFIG SET appendfsync no");
  EXPECT_TRUE(Eventually([&] { return !mark().ends_with('+'); })) << mark();
  EXPECT_EQ(VoteOf(0).outcome(), v1::VOTE_OUTCOME_NOT_HELD)
      << "it still has all its data, but: " << VoteOf(0).message();
  Restart(0);  // the command line still says always
  EXPECT_TRUE(BecomesQuarantined(0));
}

TEST_F(GuardTest, ANodeThatMayEvictLocksIsQuarantined) {
  StartDaemon({"--max-ttl", kMaxTtl});
  (void)MustAcquire(Wants("key", seconds(1)));
  (void)nodes[0]->Cli("CONFIG SET maxmemory-policy allkeys-lru");
  (void)nodes[0]->Cli("CONFIG SET maxmemory 100mb");
  ASSERT_TRUE(BecomesQuarantined(0));
  const std::string remedy = "maxmemory-policy is allkeys-lru; set it to noeviction";
  EXPECT_NE(VoteOf(0).message().find(remedy), std::string::npos) << VoteOf(0).message();
  EXPECT_TRUE(Logs(*daemon, remedy)) << daemon->Log();
  // A daemon that starts later finds it at once.
  StartDaemon({"--max-ttl", kMaxTtl});
  ASSERT_TRUE(BecomesQuarantined(0));
  (void)nodes[0]->Cli("CONFIG SET maxmemory-policy noeviction");
  EXPECT_TRUE(BecomesTrusted(0));
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
  EXPECT_EQ(daemon->Log().find("quarantined"), std::string::npos) << daemon->Log();
}

// A node set as users meet it: what a daemon is configured with does not decide who votes.
class NodeSetTest : public GuardTest {};

TEST_F(NodeSetTest, ADaemonWithMoreNodesUsesTheRecordOfTheSet) {
  StartDaemon();
  (void)MustAcquire(Wants("key", seconds(10)));
  auto more = std::move(nodes);
  for (auto& node : StartNodes(2)) more.push_back(std::move(node));
  nodes = std::move(more);
  Daemon other(nodes);
  const Finished status = other.Ctl("status");
  EXPECT_NE(status.output.find("the quorum is 2"), std::string::npos) << status.output;
  EXPECT_NE(status.output.find("not a member of the node set"), std::string::npos) << status.output;
  EXPECT_EQ(other.Ctl("acquire key --ttl 5s --try").status, 3) << "it is held";
  for (std::size_t node = 3; node < 5; ++node) EXPECT_EQ(nodes[node]->Cli("EXISTS key"), "0");
}

TEST_F(NodeSetTest, ADaemonWithoutAQuorumOfMembersNamesTheMismatch) {
  StartDaemon();
  std::vector<std::unique_ptr<RedisServer>> few;
  few.push_back(std::move(nodes[0]));
  Daemon other(few);
  const Finished refused = other.Ctl("acquire key --ttl 5s --try");
  EXPECT_EQ(refused.status, 5) << refused.output;
  EXPECT_NE(refused.output.find("of 3 members, of which no quorum is configured"),
            std::string::npos)
      << refused.output;
  nodes[0] = std::move(few[0]);
}

TEST_F(NodeSetTest, TheLongestTtlIsThatOfTheSet) {
  StartDaemon({"--max-ttl", "2s"});
  Daemon other(nodes, {"--max-ttl", "60s"});
  const auto other_stub = v1::LockService::NewStub(
      grpc::CreateChannel(other.address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::AcquireResponse response;
  const grpc::Status refused = other_stub->Acquire(&context, Wants("key", seconds(60)), &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(refused.error_message().find("must be from 10 ms to 2 s"), std::string::npos)
      << refused.error_message();
  EXPECT_TRUE(Logs(other, "which is in force")) << other.Log();
}

TEST_F(NodeSetTest, ANodeWhoseMarkWasDeletedIsQuarantinedAndReadmitted) {
  StartDaemon({"--max-ttl", "2s"});
  (void)nodes[0]->Cli("DEL redlockd:mark");
  EXPECT_TRUE(BecomesQuarantined(0));
  (void)MustAcquire(Wants("key", seconds(1)));
  EXPECT_TRUE(BecomesTrusted(0));
}

// As in deploy/OPERATIONS.md, "Change the members".
TEST_F(NodeSetTest, ASetCanBeCreatedAnew) {
  StartDaemon();
  const v1::Lease first = MustAcquire(Wants("key", seconds(1)));
  EXPECT_TRUE(Release(first).ok());
  daemon.reset();
  nodes[2] = std::make_unique<RedisServer>();
  for (const auto& node : nodes) (void)node->Cli("DEL redlockd:node redlockd:mark redlockd:wait");
  StartDaemon();
  EXPECT_GT(MustAcquire(Wants("key", seconds(1))).fencing_token(), first.fencing_token());
  EXPECT_EQ(daemon->Log().find("quarantined"), std::string::npos) << daemon->Log();
}

// As in deploy/OPERATIONS.md: a new empty machine at the same address.
TEST_F(NodeSetTest, ALostMachineIsReplacedInPlace) {
  StartDaemon({"--max-ttl", "2s"});
  nodes[1]->Kill();
  StartDaemon({"--max-ttl", "2s"});  // this daemon has never seen the lost machine
  nodes[1]->Start();                 // without persistence: it is empty
  EXPECT_TRUE(BecomesQuarantined(1));
  EXPECT_TRUE(BecomesTrusted(1));
}

TEST_F(NodeSetTest, OneServerGivenTwiceMakesNoNewSet) {
  const std::string port = std::to_string(nodes[0]->port());
  const Finished refused =
      Shell("timeout 2 " + kRedlockd + " --listen 127.0.0.1:" + std::to_string(FreePort()) +
            " --node redis://127.0.0.1:" + port + " --node redis://localhost:" + port +
            " --node redis://127.0.0.1:" + std::to_string(nodes[1]->port()));
  EXPECT_NE(refused.output.find("are the same server: configure each node once"), std::string::npos)
      << refused.output;
}

}  // namespace
}  // namespace redlock::testing
