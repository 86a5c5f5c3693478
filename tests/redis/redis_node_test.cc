// A node over real redis-server processes: scripts, log-in, faults.
#include "server/redis/redis_node.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/sim/server.h"
#include "tests/support/process.h"

namespace redlock::redis {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::RedisServer;
using testing::TemporaryDirectory;

class Recorder final : public ReplySink {
 public:
  void OnReply(NodeIndex /*node*/, NodeReply reply) override {
    replies.push_back(std::move(reply));
  }
  std::vector<NodeReply> replies;
};

// Runs the loop in the test's own thread, a slice at a time.
class NodeTest : public ::testing::Test {
 protected:
  void Open(Endpoint endpoint, const TlsOptions* tls = nullptr) {
    node.emplace(loop, 0, std::move(endpoint), tls == nullptr ? nullptr : MakeTlsContext(*tls),
                 NodeOptions{}, [this](bool connected, const std::string& why) {
                   (connected ? amiss : down_because) = why;
                 });
  }
  void OpenReady(Endpoint endpoint, const TlsOptions* tls = nullptr) {
    Open(std::move(endpoint), tls);
    ASSERT_TRUE(RunUntil([this] { return node->ready(); })) << down_because;
  }
  static Endpoint Tcp(const RedisServer& server) {
    return {.kind = Endpoint::Kind::kTcp, .host = "127.0.0.1", .port = server.port()};
  }

  bool RunUntil(const std::function<bool()>& condition, Duration patience = seconds(5)) {
    const MonotonicTime give_up = loop.Now() + patience;
    while (!condition()) {
      if (loop.Now() > give_up) return false;
      { const EventLoop::Turn turn(loop); }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return true;
  }
  void Run(Duration time) {
    (void)RunUntil([] { return false; }, time);
  }

  template <typename Send>
  NodeReply Ask(Send send) {
    const auto sink = std::make_shared<Recorder>();
    send(sink);
    EXPECT_TRUE(RunUntil([&] { return !sink->replies.empty(); }));
    return sink->replies.empty() ? NodeReply{} : sink->replies.front();
  }
  NodeReply Acquire(const std::string& key, const std::string& token, std::uint64_t fence,
                    Duration ttl = seconds(10), std::uint64_t attempt = 1, bool adopt = false) {
    return Ask([&](auto sink) {
      const OwnerLabel owner("label");
      node->Acquire({Key(key), OwnerToken(token), ttl, {fence}, {attempt}, owner, adopt}, sink);
    });
  }
  NodeReply Extend(const std::string& key, const std::string& token, Duration ttl,
                   std::uint64_t raise_to = 0, std::optional<AttemptId> adopt_by = {}) {
    return Ask([&](auto sink) {
      node->Extend({Key(key), OwnerToken(token), ttl, {raise_to}, adopt_by}, sink);
    });
  }
  NodeReply Release(const std::string& key, const std::string& token,
                    std::optional<AttemptId> only = {}, std::uint64_t seal = 0,
                    std::optional<AttemptId> unless_adopted_from = {}) {
    return Ask([&](auto sink) {
      node->Release({Key(key), OwnerToken(token), only, {seal}, false, unless_adopted_from}, sink);
    });
  }

  EventLoop loop;
  std::optional<RedisNode> node;
  std::string down_because;
  std::string amiss;  // although it is connected
};

// The simulation's model of a node and the real scripts must give the same answers.
TEST_F(NodeTest, ScriptsAndTheSimulatedServerAgree) {
  RedisServer server;
  OpenReady(Tcp(server));
  sim::World world(1);
  sim::Server model(world, 1.0);

  int step = 0;
  const auto agree = [&step](const NodeReply& real, const NodeReply& simulated) {
    ++step;
    EXPECT_EQ(ToString(real.outcome), ToString(simulated.outcome))
        << "step " << step << real.message;
    EXPECT_EQ(real.fence, simulated.fence) << "step " << step;
    EXPECT_LT(std::chrono::abs(real.remaining - simulated.remaining), seconds(2))
        << "step " << step;
  };
  const auto acquire = [&](const char* token, std::uint64_t fence, std::uint64_t attempt,
                           bool adopt) {
    agree(Acquire("k", token, fence, seconds(10), attempt, adopt),
          model.Acquire("k", token, seconds(10), {fence}, {attempt}, adopt));
  };
  const auto extend = [&](const char* token, int ttl_s, std::uint64_t raise_to,
                          std::optional<AttemptId> adopt_by = {}) {
    agree(Extend("k", token, seconds(ttl_s), raise_to, adopt_by),
          model.Extend("k", token, seconds(ttl_s), {raise_to}, adopt_by));
  };
  const auto release = [&](const char* token, std::optional<AttemptId> only, std::uint64_t seal) {
    agree(Release("k", token, only, seal), model.Release("k", token, only, {seal}, false));
  };
  const auto release_unless_adopted = [&](const char* token, std::uint64_t from,
                                          std::uint64_t seal = 0) {
    agree(Release("k", token, {}, seal, AttemptId{from}),
          model.Release("k", token, {}, {seal}, false, AttemptId{from}));
  };
  const auto inspect = [&] {
    const NodeReply real = Ask([&](auto sink) { node->Inspect(Key("k"), sink); });
    const NodeReply simulated = model.Inspect("k");
    agree(real, simulated);
    EXPECT_EQ(real.holder, simulated.holder);
  };
  const auto hand_over = [&](const char* from, const char* to, std::uint64_t fence,
                             std::uint64_t attempt) {
    const NodeReply real = Ask([&](auto sink) {
      const OwnerLabel owner("label");
      node->HandOver(
          {Key("k"), OwnerToken(from), OwnerToken(to), seconds(10), {fence}, {attempt}, owner},
          sink);
    });
    const NodeReply simulated = model.HandOver("k", from, to, seconds(10), {fence}, {attempt});
    agree(real, simulated);
    EXPECT_EQ(real.handed_over, simulated.handed_over) << "step " << step;
  };
  const auto heal = [&](const char* token, std::uint64_t fence) {
    NodeReply real = Ask([&](auto sink) {
      node->Heal({Key("k"), OwnerToken(token), seconds(10), {fence}}, sink);
    });
    NodeReply simulated = model.Heal("k", token, seconds(10), {fence});
    real.remaining = simulated.remaining = {};
    agree(real, simulated);
  };

  inspect();
  acquire("a", 100, 1, false);
  inspect();
  acquire("b", 200, 2, false);    // held
  acquire("a", 200, 3, false);    // held, by itself
  release("b", std::nullopt, 0);  // another's
  release("a", AttemptId{9}, 0);  // another attempt's roll-back
  acquire("a", 200, 4, true);     // adopted: keeps its fence
  release("a", AttemptId{1}, 0);  // too late: confirmed meanwhile
  extend("a", 20, 0);
  extend("a", 1, 0);  // never shortens
  inspect();
  extend("b", 20, 0);
  extend("a", 20, 150);  // raised
  release("a", std::nullopt, 0);
  release("a", std::nullopt, 0);  // again
  inspect();
  acquire("b", 150, 5, false);  // stale
  acquire("b", 151, 6, false);
  release("b", AttemptId{6}, 0);  // roll-back
  acquire("b", 152, 7, false);
  extend("b", 10, 0);
  release("b", AttemptId{7}, 0);   // too late: extended
  hand_over("a", "c", 500, 20);    // held by another
  hand_over("b", "c", 152, 20);    // stale
  hand_over("b", "c", 153, 20);    // handed over
  hand_over("b", "c", 154, 20);    // the same attempt again: raised
  hand_over("b", "c", 155, 21);    // another attempt: held
  release("b", std::nullopt, 0);   // late: the token does not hold it any more
  release("c", AttemptId{20}, 0);  // rolled back
  hand_over("b", "c", 154, 22);    // stale, though nobody holds it
  hand_over("b", "c", 155, 22);    // taken where nobody held it
  hand_over("c", "b", 156, 23);
  release("b", std::nullopt, 152);  // sealed below: a later hold
  release("b", std::nullopt, 300);  // sealed
  acquire("c", 300, 8, false);      // stale, by the seal
  heal("d", 250);                   // never lowers the fence
  heal("e", 400);                   // held
  release("d", AttemptId{8}, 0);    // no attempt's
  release("d", std::nullopt, 0);
  heal("e", 400);
  extend("e", 10, 0);
  inspect();
  release_unless_adopted("e", 30);       // by nobody
  acquire("f", 500, 31, true);           // afresh
  release_unless_adopted("f", 31);       // by nobody
  acquire("f", 600, 32, true);           // afresh
  acquire("f", 700, 33, true);           // adopted
  release_unless_adopted("f", 32);       // by another
  release_unless_adopted("f", 32, 650);  // and not sealed either
  release_unless_adopted("f", 33, 650);  // by itself
  inspect();
  acquire("f", 710, 35, false);
  extend("f", 20, 0, AttemptId{36});    // adopted by an extension
  release_unless_adopted("f", 35);      // by another
  extend("f", 20, 720, AttemptId{37});  // raised and adopted
  release_unless_adopted("f", 36);      // by another
  extend("b", 20, 0, AttemptId{38});    // another's
  release_unless_adopted("f", 37);      // by itself
  acquire("g", 800, 34, false);         // an adoption of the holder before is none of this one
  release_unless_adopted("g", 34);
  inspect();
}

TEST_F(NodeTest, WritesWhatOtherRedlockLibrariesWrite) {
  RedisServer server;
  OpenReady(Tcp(server));
  ASSERT_EQ(Acquire("k", "mine", 1, seconds(10)).outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("GET k"), "mine");
  EXPECT_GT(std::stol(server.Cli("PTTL k")), 9'000);
  EXPECT_EQ(server.Cli("SET k theirs NX PX 1000"), "");
  EXPECT_EQ(server.Cli("HGET 'redlockd:meta:{k}' f"), "1");
  EXPECT_EQ(server.Cli("HGET 'redlockd:meta:{k}' h"), "1 label");
  EXPECT_GT(std::stol(server.Cli("TTL 'redlockd:meta:{k}'")), 86'000);
  EXPECT_EQ(server.Cli("SET theirs x NX PX 5000"), "OK");
  const NodeReply held = Acquire("theirs", "mine", 1);
  EXPECT_EQ(held.outcome, Outcome::kHeld);
  EXPECT_GT(held.remaining, seconds(4));
}

TEST_F(NodeTest, AGrantComparesTheGuardsMark) {
  RedisServer server;
  OpenReady(Tcp(server));
  sim::World world(1);
  sim::Server model(world, 1.0);
  const auto mark = [&](const std::string& from, const std::string& to) {
    const NodeReply real = Ask([&](auto sink) { node->Mark({from, to}, sink); });
    const NodeReply simulated = model.Mark(from, to);
    EXPECT_EQ(ToString(real.outcome), ToString(simulated.outcome));
    EXPECT_EQ(real.mark, simulated.mark);
    EXPECT_TRUE(real.clock);
    return real.mark;
  };
  const auto acquire = [&](const std::string& key, const std::string& expected) {
    const NodeReply real = Ask([&](auto sink) {
      const OwnerLabel owner;
      node->Acquire({Key(key), OwnerToken("t"), seconds(5), {1}, {1}, owner, false, expected},
                    sink);
    });
    const NodeReply simulated = model.Acquire(key, "t", seconds(5), {1}, {1}, false, expected);
    EXPECT_EQ(ToString(real.outcome), ToString(simulated.outcome)) << real.message;
    EXPECT_EQ(real.mark, simulated.mark);
    EXPECT_EQ(real.clock.has_value(), simulated.clock.has_value());
    return real.outcome;
  };
  const auto hand_over = [&](const std::string& key, const std::string& expected) {
    const NodeReply real = Ask([&](auto sink) {
      const OwnerLabel owner;
      node->HandOver(
          {Key(key), OwnerToken("t"), OwnerToken("u"), seconds(5), {9}, {2}, owner, expected},
          sink);
    });
    const NodeReply simulated = model.HandOver(key, "t", "u", seconds(5), {9}, {2}, expected);
    EXPECT_EQ(ToString(real.outcome), ToString(simulated.outcome)) << real.message;
    EXPECT_EQ(real.clock.has_value(), simulated.clock.has_value());
    return real.outcome;
  };
  EXPECT_EQ(acquire("k", "m1"), Outcome::kQuarantined) << "there is none yet";
  EXPECT_EQ(mark("other", "m1"), "");
  EXPECT_EQ(mark("", "m1"), "m1");
  EXPECT_EQ(mark("", "m2"), "m1");
  EXPECT_EQ(acquire("k", "m2"), Outcome::kQuarantined);
  EXPECT_EQ(server.Cli("EXISTS k 'redlockd:meta:{k}'"), "0") << "and nothing was changed";
  EXPECT_EQ(acquire("k", "m1"), Outcome::kGranted);
  EXPECT_EQ(hand_over("k", "m2"), Outcome::kQuarantined);
  EXPECT_EQ(hand_over("k", "m1"), Outcome::kGranted);
  EXPECT_EQ(acquire("j", ""), Outcome::kGranted) << "not looked at";

  const NodeReply look = Ask([&](auto sink) { node->Look(sink); });
  EXPECT_EQ(look.mark, "m1");
  ASSERT_TRUE(look.clock);
  EXPECT_LT(std::chrono::abs(*look.clock - loop.WallNow().time_since_epoch()), seconds(10));
  EXPECT_EQ(server.Cli("FLUSHALL"), "OK");
  model.LoseData();
  EXPECT_EQ(acquire("i", "m1"), Outcome::kQuarantined);
}

TEST_F(NodeTest, AProbeTellsWhetherAKeyIsFree) {
  RedisServer server;
  OpenReady(Tcp(server));
  const auto probe = [&] { return Ask([&](auto sink) { node->Probe(Key("k"), sink); }).outcome; };
  EXPECT_EQ(probe(), Outcome::kNotHeld);
  (void)Acquire("k", "mine", 1);
  EXPECT_EQ(probe(), Outcome::kHeld);
}

// What the node says of itself, and how often.
class Observer final : public NodeObserver {
 public:
  void OnConnected(NodeIndex /*node*/, const NodeFacts& facts) override { known.push_back(facts); }
  void OnDisconnected(NodeIndex /*node*/) override { ++disconnected; }
  std::vector<NodeFacts> known;
  int disconnected = 0;
};

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
  EXPECT_NE(observer.known[1].run_id, facts.run_id) << "another process";
  EXPECT_EQ(observer.known[1].mark, "abc") << "with the same data";
  node->ObserveWith(nullptr);
}

TEST_F(NodeTest, OnlyAFileThatIsAlwaysWrittenIsDurable) {
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

TEST_F(NodeTest, AReplicaHasNoVote) {
  RedisServer primary;
  RedisServer replica({"--replicaof", "127.0.0.1 " + std::to_string(primary.port())});
  Open(Tcp(replica));
  ASSERT_TRUE(RunUntil([this] { return !down_because.empty(); }));
  EXPECT_NE(down_because.find("replica"), std::string::npos) << down_because;
  EXPECT_FALSE(node->ready());
  (void)replica.Cli("REPLICAOF NO ONE");
  EXPECT_TRUE(RunUntil([this] { return node->ready(); })) << "promoted";
  // Made one again under the living connection.
  down_because.clear();
  (void)replica.Cli("REPLICAOF 127.0.0.1 " + std::to_string(primary.port()));
  EXPECT_NE(Acquire("k", "t", 1).outcome, Outcome::kGranted);
  EXPECT_TRUE(RunUntil([this] { return down_because.find("replica") != std::string::npos; }))
      << down_because;
}

TEST_F(NodeTest, TheGuardNeedsInfoAndSaysSo) {
  RedisServer server;
  (void)server.Cli("ACL SETUSER lock on '>secret' '~*' '&*' +@all -info");
  Endpoint endpoint = Tcp(server);
  endpoint.user = "lock";
  endpoint.password = "secret";
  Observer observer;
  Open(endpoint);
  node->ObserveWith(&observer);
  ASSERT_TRUE(RunUntil([this] { return !down_because.empty(); }));
  EXPECT_TRUE(down_because.starts_with("INFO: ")) << down_because;
  EXPECT_NE(down_because.find("permission"), std::string::npos) << down_because;
  node.reset();
  OpenReady(endpoint);  // without a guard
}

TEST_F(NodeTest, AServerThatMayDropLocksIsWarnedOf) {
  RedisServer server({"--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"});
  OpenReady(Tcp(server));
  EXPECT_NE(amiss.find("volatile-lru"), std::string::npos) << amiss;
}

TEST_F(NodeTest, KeyOfAnotherTypeIsAnErrorInWords) {
  RedisServer server;
  OpenReady(Tcp(server));
  (void)server.Cli("LPUSH k x");
  const NodeReply reply = Acquire("k", "mine", 1);
  EXPECT_EQ(reply.outcome, Outcome::kError);
  EXPECT_NE(reply.message.find("WRONGTYPE"), std::string::npos) << reply.message;
}

TEST_F(NodeTest, AServerThatDiedJustBeforeItIsWrittenToIsNoticedAtOnce) {
  RedisServer server;
  OpenReady(Tcp(server));
  // It dies with something unread, which resets the connection: the next write fails.
  server.Pause();
  const auto first = std::make_shared<Recorder>();
  node->Inspect(Key("k"), first);
  { const EventLoop::Turn turn(loop); }
  server.Kill();
  const NodeReply reply = Ask([&](auto sink) { node->Inspect(Key("k"), sink); });
  EXPECT_EQ(reply.outcome, Outcome::kError);
  EXPECT_EQ(reply.message.find("no answer"), std::string::npos) << reply.message;
}

TEST_F(NodeTest, ScriptsAreLoadedAgainAfterAFlush) {
  RedisServer server;
  OpenReady(Tcp(server));
  EXPECT_EQ(server.Cli("SCRIPT FLUSH"), "OK");
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
  EXPECT_EQ(Release("k", "mine").outcome, Outcome::kGranted);
}

TEST_F(NodeTest, CommandsOfOneTurnGoOutInOneWrite) {
  RedisServer server;
  OpenReady(Tcp(server));
  const auto reads = [&] {
    const std::string info = server.Cli("INFO stats");
    return std::stol(info.substr(info.find("total_reads_processed:") + 22));
  };
  const auto sink = std::make_shared<Recorder>();
  const long before = reads();
  constexpr std::size_t kCommands = 100;
  for (std::size_t i = 0; i < kCommands; ++i) node->Inspect(Key("k" + std::to_string(i)), sink);
  ASSERT_TRUE(RunUntil([&] { return sink->replies.size() == kCommands; }));
  // A write of 10 kB may arrive in a few pieces; reads() costs two itself.
  EXPECT_LE(reads() - before, 6);
}

TEST_F(NodeTest, DownNodeFailsAtOnceAndComesBack) {
  RedisServer server;
  OpenReady(Tcp(server));
  server.Kill();
  ASSERT_TRUE(RunUntil([&] { return !node->ready(); }));
  const MonotonicTime start = loop.Now();
  const NodeReply reply = Acquire("k", "mine", 1);
  EXPECT_EQ(reply.outcome, Outcome::kError);
  EXPECT_NE(reply.message.find("not connected"), std::string::npos) << reply.message;
  EXPECT_LT(loop.Now() - start, milliseconds(500));  // far below any time-out of seconds
  server.Start();
  ASSERT_TRUE(RunUntil([&] { return node->ready(); }));
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
}

TEST_F(NodeTest, SilentNodeIsRefusedWhileItIsSilent) {
  RedisServer server;
  OpenReady(Tcp(server));
  server.Pause();
  const auto pending = std::make_shared<Recorder>();
  node->Inspect(Key("k"), pending);
  Run(milliseconds(80));  // over node_timeout
  const NodeReply refused = Acquire("k", "mine", 1);
  EXPECT_EQ(refused.outcome, Outcome::kError);
  EXPECT_NE(refused.message.find("no answer for"), std::string::npos) << refused.message;
  server.Resume();
  ASSERT_TRUE(RunUntil([&] { return !pending->replies.empty(); }));
  EXPECT_EQ(pending->replies[0].outcome, Outcome::kNotHeld);
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
}

TEST_F(NodeTest, LongSilenceEndsTheConnectionAndEveryCallIsAnswered) {
  RedisServer server;
  OpenReady(Tcp(server));
  server.Pause();
  const auto pending = std::make_shared<Recorder>();
  node->Inspect(Key("k"), pending);
  ASSERT_TRUE(RunUntil([&] { return !pending->replies.empty(); }));
  EXPECT_EQ(pending->replies[0].outcome, Outcome::kError);
  EXPECT_FALSE(node->ready());
  server.Resume();
  ASSERT_TRUE(RunUntil([&] { return node->ready(); }));
}

class Announcements final : public AnnouncementSink {
 public:
  void OnListening(NodeIndex /*node*/, const Key& key) override {
    listening.push_back(key.value());
  }
  void OnDeaf(NodeIndex /*node*/) override { ++deaf; }
  void OnAnnounced(NodeIndex /*node*/, const Key& key) override { heard.push_back(key.value()); }
  std::vector<std::string> listening;
  std::vector<std::string> heard;
  int deaf = 0;
};

TEST_F(NodeTest, ReleasesAreAnnouncedToThoseWhoSubscribed) {
  RedisServer server({"--requirepass", "s3cret"});
  Endpoint endpoint = Tcp(server);
  endpoint.password = "s3cret";
  OpenReady(endpoint);
  Announcements sink;
  node->ListenTo(&sink);
  const auto cli = [&](const std::string& command) {
    return server.Cli("--pass s3cret --no-auth-warning " + command);
  };
  const auto release = [&](bool announce) {
    return Ask([&](auto to) {
      node->Release({Key("k"), OwnerToken("mine"), std::nullopt, {}, announce}, to);
    });
  };
  (void)Acquire("k", "mine", 1);
  EXPECT_EQ(release(true).listeners, 0);
  EXPECT_EQ(cli("CLIENT LIST TYPE pubsub"), "") << "no connection before somebody waits";
  node->Subscribe(Key("k"));
  ASSERT_TRUE(RunUntil([&] { return sink.listening.size() == 1; }));
  (void)Acquire("k", "mine", 2);
  EXPECT_EQ(release(true).listeners, 1);
  ASSERT_TRUE(RunUntil([&] { return !sink.heard.empty(); }));
  EXPECT_EQ(sink.heard, std::vector<std::string>{"k"});
  (void)Acquire("k", "mine", 3);
  EXPECT_EQ(release(false).listeners, 0);
  EXPECT_EQ(release(true).outcome, Outcome::kNotHeld) << "nothing to announce";

  (void)cli("CLIENT KILL TYPE pubsub");
  ASSERT_TRUE(RunUntil([&] { return sink.deaf == 1; }));
  ASSERT_TRUE(RunUntil([&] { return sink.listening.size() == 2; })) << "subscribes again";
  (void)Acquire("k", "mine", 4);
  EXPECT_EQ(release(true).listeners, 1);
  ASSERT_TRUE(RunUntil([&] { return sink.heard.size() == 2; }));
  node->Unsubscribe(Key("k"));
  EXPECT_TRUE(RunUntil([&] { return cli("PUBSUB NUMSUB redlockd:released:k").ends_with("0"); }));
  node->ListenTo(nullptr);
}

TEST_F(NodeTest, AUserWhoMayNotPublishStillReleases) {
  RedisServer server({"--user", "locker", "on", ">pass", "~*", "resetchannels", "+@all"});
  Endpoint endpoint = Tcp(server);
  endpoint.user = "locker";
  endpoint.password = "pass";
  OpenReady(endpoint);
  (void)Acquire("k", "mine", 1);
  const NodeReply released = Ask([&](auto to) {
    node->Release({Key("k"), OwnerToken("mine"), std::nullopt, {}, true}, to);
  });
  EXPECT_EQ(released.outcome, Outcome::kGranted) << released.message;
  EXPECT_EQ(server.Cli("EXISTS k"), "0");
}

TEST_F(NodeTest, LogsInWithUserPasswordAndDatabase) {
  RedisServer server(
      {"--requirepass", "s3cret", "--user", "locker", "on", ">pass", "~*", "&*", "+@all"});
  Endpoint endpoint = Tcp(server);
  endpoint.user = "locker";
  endpoint.password = "pass";
  endpoint.database = 3;
  OpenReady(endpoint);
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("--user locker --pass pass --no-auth-warning -n 3 GET k"), "mine");

  Endpoint default_user = Tcp(server);
  default_user.password = "s3cret";
  OpenReady(default_user);
}

TEST_F(NodeTest, WrongPasswordIsReportedWithoutShowingIt) {
  RedisServer server({"--requirepass", "s3cret"});
  Endpoint endpoint = Tcp(server);
  endpoint.password = "wr0ng";
  Open(endpoint);
  ASSERT_TRUE(RunUntil([&] { return !down_because.empty(); }));
  EXPECT_NE(down_because.find("WRONGPASS"), std::string::npos) << down_because;
  EXPECT_EQ(down_because.find("wr0ng"), std::string::npos);
  EXPECT_FALSE(node->ready());
}

TEST_F(NodeTest, ConnectsToAUnixSocketAndByName) {
  RedisServer server;
  OpenReady({.kind = Endpoint::Kind::kUnix, .path = server.socket()});
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
  Endpoint by_name = Tcp(server);
  by_name.host = "localhost";
  OpenReady(by_name);
}

// Not Redis at all: says one thing to whoever connects first.
class HostileServer {
 public:
  explicit HostileServer(std::string reply) : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener_, raw, size), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    EXPECT_EQ(getsockname(listener_, raw, &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, reply = std::move(reply)] {
      peer_ = accept(listener_, nullptr, nullptr);
      EXPECT_GT(send(peer_, reply.data(), reply.size(), MSG_NOSIGNAL), 0);
    });
  }
  ~HostileServer() {
    thread_.join();
    close(peer_);
    close(listener_);
  }
  HostileServer(const HostileServer&) = delete;
  HostileServer& operator=(const HostileServer&) = delete;
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  const int listener_;
  int peer_ = -1;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

TEST_F(NodeTest, HostileRepliesEndTheConnectionOnly) {
  for (const char* const reply : {"*100000000\r\n", "$-7\r\n", "hello\r\n",
                                  "+OK\r\n+OK\r\n+OK\r\n+OK\r\n"
                                  "+OK\r\n+OK\r\n+OK\r\n"}) {
    HostileServer server(reply);
    down_because.clear();
    Open({.kind = Endpoint::Kind::kTcp, .host = "127.0.0.1", .port = server.port()});
    EXPECT_TRUE(RunUntil([&] { return !down_because.empty(); })) << reply;
    EXPECT_FALSE(node->ready());
    node.reset();
  }
}

// Certificates of a throw-away CA, made by the openssl command.
class TlsTest : public NodeTest {
 protected:
  void SetUp() override {
    const std::string& dir = directory.path();
    const std::string make =
        "cd " + dir +
        " && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out "
        "ca.crt"
        " && for n in server client; do"
        " openssl req -newkey rsa:2048 -nodes -subj /CN=$n -keyout $n.key -out $n.csr"
        " && printf 'subjectAltName=DNS:localhost' > ext"
        " && openssl x509 -req -in $n.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2"
        " -extfile ext -out $n.crt || exit 1; done";
    ASSERT_EQ(std::system(("(" + make + ") >/dev/null 2>&1").c_str()), 0);
    tls_port = testing::FreePort();
    server.emplace(std::vector<std::string>{
        "--tls-port", std::to_string(tls_port), "--tls-cert-file", dir + "/server.crt",
        "--tls-key-file", dir + "/server.key", "--tls-ca-cert-file", dir + "/ca.crt"});
    options = {.ca_file = dir + "/ca.crt",
               .cert_file = dir + "/client.crt",
               .key_file = dir + "/client.key"};
  }
  Endpoint Tls(const std::string& host) const {
    return {.kind = Endpoint::Kind::kTls, .host = host, .port = tls_port};
  }

  TemporaryDirectory directory;
  std::uint16_t tls_port = 0;
  std::optional<RedisServer> server;
  TlsOptions options;
};

TEST_F(TlsTest, ConnectsWithAClientCertificate) {
  OpenReady(Tls("localhost"), &options);
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
}

TEST_F(TlsTest, RefusesANameThatIsNotInTheCertificate) {
  Open(Tls("127.0.0.1"), &options);
  ASSERT_TRUE(RunUntil([&] { return !down_because.empty(); }));
  EXPECT_NE(down_because.find("certificate"), std::string::npos) << down_because;
  EXPECT_FALSE(node->ready());
}

TEST_F(TlsTest, RefusesAnUnknownCa) {
  options.ca_file = options.cert_file;  // not a CA that signed anything
  Open(Tls("localhost"), &options);
  ASSERT_TRUE(RunUntil([&] { return !down_because.empty(); }));
  EXPECT_FALSE(node->ready());
}

TEST_F(TlsTest, MissingFileIsNamed) {
  options.ca_file = "/nowhere/ca.crt";
  try {
    (void)MakeTlsContext(options);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere/ca.crt"), std::string::npos);
  }
}

}  // namespace
}  // namespace redlock::redis
