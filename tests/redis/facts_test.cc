// The facts that a node reports when a connection is made.
#include <string>
#include <vector>

#include "tests/redis/node_fixture.h"

namespace redlock::redis {
namespace {

// Records the reported facts and their number.
class Observer final : public NodeObserver {
 public:
  void OnConnected(NodeIndex /*node*/, const NodeFacts& facts) override { known.push_back(facts); }
  void OnDisconnected(NodeIndex /*node*/, const std::string& /*why*/) override { ++disconnected; }
  std::vector<NodeFacts> known;
  int disconnected = 0;
};

// Makes a user of the node, who has all permissions but those that the words of an ACL rule take
// away. Returns the address with that user.
Endpoint AsUser(const RedisServer& server, Endpoint endpoint, const std::string& without) {
  (void)server.Cli("ACL SETUSER lock on '>secret' '~*' '&*' +@all " + without);
  endpoint.user = "lock";
  endpoint.password = "secret";
  return endpoint;
}

TEST_F(NodeTest, FactsAreKnownBeforeTheFirstStep) {
  RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  (void)server.Cli("SET redlockd:mark abc");
  Observer observer;
  Open(Tcp(server));
  node->ObserveWith(&observer);
  ASSERT_TRUE(RunUntil([this] { return node->ready(); }));
  ASSERT_EQ(observer.known.size(), 1U);
  const NodeFacts facts = observer.known[0];
  EXPECT_EQ(facts.run_id.size(), 40U);
  EXPECT_EQ(facts.mark, "abc");
  EXPECT_TRUE(facts.durable);
  EXPECT_LT(facts.uptime, seconds(60));
  EXPECT_TRUE(facts.clock);

  server.Kill();
  ASSERT_TRUE(RunUntil([&] { return observer.disconnected > 0; }));
  server.Start();
  ASSERT_TRUE(RunUntil([&] { return observer.known.size() == 2; }));
  EXPECT_NE(observer.known[1].run_id, facts.run_id) << "the process is another one";
  EXPECT_EQ(observer.known[1].mark, "abc") << "the data is the same";
  node->ObserveWith(nullptr);
}

TEST_F(NodeTest, TheGrantsOfOneCallShareOneReadingOfTheClock) {
  RedisServer server;
  OpenReady(Tcp(server));
  ASSERT_EQ(Acquire("held", "another", 1'000).outcome, Outcome::kGranted);
  server.Pause();
  const auto sink = std::make_shared<Recorder>();
  const MonotonicTime before = loop.Now();
  DoOnStrand([&] {
    const Owner owner;
    for (const char* key : {"held", "one", "two"}) {
      node->Acquire({Key(key), OwnerToken("token"), seconds(10), kLongest, {2'000}, {2}, owner},
                    sink);
    }
  });
  const MonotonicTime asked = loop.Now();
  server.Resume();
  ASSERT_TRUE(RunUntil([&] { return sink->replies.size() == 3; }));
  const NodeReply& held = sink->replies[0];
  const NodeReply& one = sink->replies[1];
  const NodeReply& two = sink->replies[2];
  EXPECT_EQ(held.outcome, Outcome::kHeld);
  EXPECT_FALSE(held.clock);
  EXPECT_EQ(one.outcome, Outcome::kGranted);
  EXPECT_TRUE(one.clock);
  ASSERT_TRUE(one.sent);
  EXPECT_GE(*one.sent, before);
  EXPECT_LE(*one.sent, asked) << "not when it was answered";
  EXPECT_EQ(two.outcome, Outcome::kGranted);
  EXPECT_FALSE(two.clock);
}

TEST_F(NodeTest, OnlyAppendFsyncAlwaysIsDurable) {
  for (const std::vector<std::string>& setting :
       std::vector<std::vector<std::string>>{{"--appendonly", "no", "--appendfsync", "always"},
                                             {"--appendonly", "yes", "--appendfsync", "everysec"},
                                             {"--appendonly", "yes", "--appendfsync", "always",
                                              "--no-appendfsync-on-rewrite", "yes"}}) {
    RedisServer server(setting);
    Observer observer;
    Open(Tcp(server));
    node->ObserveWith(&observer);
    ASSERT_TRUE(RunUntil([&] { return observer.known.size() == 1; }));
    EXPECT_FALSE(observer.known[0].durable) << setting[3];
    node.reset();
  }
}

TEST_F(NodeTest, AReplicaDoesNotVote) {
  RedisServer primary;
  RedisServer replica({"--replicaof", "127.0.0.1", std::to_string(primary.port())});
  Open(Tcp(replica));
  ASSERT_TRUE(RunUntil([this] { return !down_because.empty(); }));
  EXPECT_NE(down_because.find("replica"), std::string::npos) << down_because;
  EXPECT_FALSE(node->ready());
  (void)replica.Cli("REPLICAOF NO ONE");
  EXPECT_TRUE(RunUntil([this] { return node->ready(); })) << "promoted";
  // Turned into a replica again while the connection is open.
  down_because.clear();
  (void)replica.Cli("REPLICAOF 127.0.0.1 " + std::to_string(primary.port()));
  EXPECT_NE(Acquire("k", "t", 1).outcome, Outcome::kGranted);
  EXPECT_TRUE(RunUntil([this] { return down_because.find("replica") != std::string::npos; }))
      << down_because;
}

TEST_F(NodeTest, AServerInClusterModeIsRefusedInWords) {
  if (IsRedis6(RedisServer())) GTEST_SKIP() << "its cluster port is not free to choose";
  RedisServer server(
      {"--cluster-enabled", "yes", "--cluster-port", std::to_string(redlock::testing::FreePort())});
  Open(Tcp(server));
  ASSERT_TRUE(RunUntil([this] { return !down_because.empty(); }));
  EXPECT_NE(down_because.find("cluster mode"), std::string::npos) << down_because;
}

TEST_F(NodeTest, ATrialProvesThatTheNodeCanGrant) {
  RedisServer server;
  OpenReady(Tcp(server));
  const auto try_grant = [this] { return Ask([this](auto sink) { node->TryGrant(sink); }); };
  EXPECT_EQ(try_grant().outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("DBSIZE"), "0") << "it leaves nothing";
  (void)server.Cli("CONFIG SET maxmemory 1");
  NodeReply reply = try_grant();
  EXPECT_EQ(reply.outcome, Outcome::kError);
  EXPECT_NE(reply.message.find("raise maxmemory"), std::string::npos) << reply.message;
  (void)server.Cli("CONFIG SET maxmemory 0");
  (void)server.Cli("CONFIG SET min-replicas-to-write 1");
  reply = try_grant();
  EXPECT_NE(reply.message.find("min-replicas-to-write"), std::string::npos) << reply.message;
  (void)server.Cli("CONFIG SET min-replicas-to-write 0");
  EXPECT_EQ(try_grant().outcome, Outcome::kGranted);
}

TEST_F(NodeTest, ATrialNamesThePermissionsThatLack) {
  RedisServer server;
  if (IsRedis6(server)) GTEST_SKIP() << "it does not say which permissions lack";
  const Endpoint endpoint = AsUser(server, Tcp(server), "-zadd -zscore -subscribe");
  OpenReady(endpoint);
  const auto try_grant = [this] { return Ask([this](auto sink) { node->TryGrant(sink); }); };
  NodeReply reply = try_grant();
  EXPECT_EQ(reply.outcome, Outcome::kError);
  EXPECT_NE(reply.message.find("missing: +zadd +zscore ("), std::string::npos) << reply.message;
  (void)server.Cli("ACL SETUSER lock +zadd +zscore");
  reply = try_grant();
  EXPECT_EQ(reply.outcome, Outcome::kGranted) << reply.message;
  EXPECT_NE(reply.message.find("+subscribe &redlockd:*"), std::string::npos) << reply.message;
  (void)server.Cli("ACL SETUSER lock +subscribe");
  EXPECT_EQ(try_grant().message, "");
  EXPECT_EQ(server.Cli("ACL LOG"), "") << "a look is not a refused command";
}

TEST_F(NodeTest, ARefusalIsNotTakenForAMark) {
  RedisServer server;
  (void)server.Cli("SET redlockd:mark 'stamp mark'");
  const Endpoint endpoint = AsUser(server, Tcp(server), "");
  OpenReady(endpoint);
  const auto look = [this] { return Ask([this](auto sink) { node->ReadMark(sink); }); };
  EXPECT_EQ(look().mark, "mark");
  for (const char* rule : {"resetkeys '~app:*'", "allkeys -get", "+get -time"}) {
    (void)server.Cli(std::string("ACL SETUSER lock ") + rule);
    const NodeReply reply = look();
    EXPECT_EQ(reply.outcome, Outcome::kError) << rule;
    EXPECT_NE(reply.message.find("NOPERM"), std::string::npos) << rule << ": " << reply.message;
  }
  (void)server.Cli("ACL SETUSER lock +time");
  (void)server.Cli("DEL redlockd:mark");
  (void)server.Cli("LPUSH redlockd:mark 1");
  EXPECT_EQ(look().outcome, Outcome::kError) << "of another type";
}

TEST_F(NodeTest, TheGuardReportsThatItNeedsInfo) {
  RedisServer server;
  const Endpoint endpoint = AsUser(server, Tcp(server), "-info");
  Observer observer;
  Open(endpoint);
  node->ObserveWith(&observer);
  ASSERT_TRUE(RunUntil([this] { return !down_because.empty(); }));
  EXPECT_TRUE(down_because.starts_with("INFO: ")) << down_because;
  EXPECT_NE(down_because.find("permission"), std::string::npos) << down_because;
  node.reset();
  OpenReady(endpoint);  // without a guard
}

TEST_F(NodeTest, SettingsThatChangeOnALivingConnectionAreRead) {
  RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  Observer observer;
  Open(Tcp(server));
  node->ObserveWith(&observer);
  ASSERT_TRUE(RunUntil([this] { return node->ready(); }));
  const auto look = [this] {
    const NodeReply reply = Ask([this](auto sink) { node->ReadSettings(sink); });
    EXPECT_TRUE(reply.settings) << reply.message;
    return reply.settings.value_or(NodeSettings{});
  };
  EXPECT_TRUE(look().durable);
  (void)server.Cli("CONFIG SET appendfsync everysec");
  EXPECT_FALSE(look().durable);
  (void)server.Cli("CONFIG SET appendfsync always");
  EXPECT_TRUE(look().durable);
  (void)server.Cli("CONFIG SET appendonly no");
  EXPECT_FALSE(look().durable);

  (void)server.Cli("CONFIG SET maxmemory-policy allkeys-lru");
  EXPECT_EQ(look().eviction.policy, "") << "there is no bound";
  EXPECT_EQ(look().eviction.evicted, 0U);
  (void)server.Cli("SET key value");
  (void)server.Cli("CONFIG SET maxmemory 1");
  (void)server.Cli("GET key");
  EXPECT_EQ(look().eviction.policy, "allkeys-lru");
  EXPECT_TRUE(RunUntil([&] { return look().eviction.evicted > 0; }));
  node->ObserveWith(nullptr);
}

TEST_F(NodeTest, ANodeThatForbidsConfigCountsAsNotDurable) {
  RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  const Endpoint endpoint = AsUser(server, Tcp(server), "");
  Observer observer;
  Open(endpoint);
  node->ObserveWith(&observer);
  ASSERT_TRUE(RunUntil([&] { return observer.known.size() == 1; }));
  EXPECT_TRUE(observer.known[0].durable);
  (void)server.Cli("ACL SETUSER lock -config");
  const NodeReply reply = Ask([this](auto sink) { node->ReadSettings(sink); });
  ASSERT_TRUE(reply.settings) << reply.message;
  EXPECT_FALSE(reply.settings->durable);
  node->ObserveWith(nullptr);
}

TEST_F(NodeTest, AnEvictionPolicyThatMayDropLocksCausesAWarning) {
  RedisServer server({"--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"});
  OpenReady(Tcp(server));
  EXPECT_NE(problem.find("volatile-lru"), std::string::npos) << problem;
}

}  // namespace
}  // namespace redlock::redis
