// What the steps do on real nodes.
#include <string>

#include "tests/redis/node_fixture.h"
#include "tests/sim/server.h"

namespace redlock::redis {
namespace {

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

TEST_F(NodeTest, KeyOfAnotherTypeIsAnErrorInWords) {
  RedisServer server;
  OpenReady(Tcp(server));
  (void)server.Cli("LPUSH k x");
  const NodeReply reply = Acquire("k", "mine", 1);
  EXPECT_EQ(reply.outcome, Outcome::kError);
  EXPECT_NE(reply.message.find("WRONGTYPE"), std::string::npos) << reply.message;
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

}  // namespace
}  // namespace redlock::redis
