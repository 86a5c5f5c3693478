// Announcements of releases, sent and received.
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/redis/node_fixture.h"

namespace redlock::redis {
namespace {

class Announcements final : public AnnouncementSink {
 public:
  void OnListening(NodeIndex /*node*/, Topic /*topic*/, const Key& key) override {
    listening.push_back(key.str());
  }
  void OnDeaf(NodeIndex /*node*/) override { ++deaf; }
  void OnAnnounced(NodeIndex /*node*/, Topic topic, const Key& key) override {
    (topic == Topic::kReleases ? heard : changed).push_back(key.str());
  }
  std::vector<std::string> listening;
  std::vector<std::string> heard;  // released
  std::vector<std::string> changed;
  int deaf = 0;
};

TEST_F(NodeTest, ReleasesAreAnnouncedToSubscribers) {
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
  EXPECT_EQ(cli("CLIENT LIST TYPE pubsub"), "") << "no connection before the first subscription";
  DoOnStrand([&] { node->Subscribe(Topic::kReleases, Key("k")); });
  ASSERT_TRUE(RunUntil([&] { return sink.listening.size() == 1; }));
  (void)Acquire("k", "mine", 2);
  ASSERT_EQ(Acquire("k", "other", 3).outcome, Outcome::kHeld) << "it waits";
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
  DoOnStrand([&] { node->Unsubscribe(Topic::kReleases, Key("k")); });
  EXPECT_TRUE(RunUntil([&] { return cli("PUBSUB NUMSUB redlockd:released:k").ends_with("0"); }));
  node->ListenTo(nullptr);
}

TEST_F(NodeTest, ChangesAreAnnouncedWhileSomebodyObserves) {
  RedisServer server;
  OpenReady(Tcp(server));
  Announcements sink;
  node->ListenTo(&sink);
  DoOnStrand([&] {
    node->Subscribe(Topic::kChanges, Key("k"));
    node->Subscribe(Topic::kReleases, Key("k"));
  });
  ASSERT_TRUE(RunUntil([&] { return sink.listening.size() == 2; }));
  const Key key("k");
  const auto inspect = [&](bool observe) {
    return Ask([&](auto to) { node->Inspect({.key = key, .observe = observe}, to); });
  };
  (void)inspect(false);
  (void)Acquire("k", "mine", 1);
  EXPECT_EQ(server.Cli("EXISTS redlockd:observers"), "0");
  (void)Release("k", "mine");
  (void)inspect(true);
  const std::string left = server.Cli("PTTL redlockd:observers");
  EXPECT_GT(std::stoi(left), 9'000) << left;
  (void)Acquire("k", "mine", 2);
  ASSERT_TRUE(RunUntil([&] { return !sink.changed.empty(); }));
  EXPECT_EQ(sink.changed, std::vector<std::string>{"k"}) << "not what happened before";
  (void)Extend("k", "mine", seconds(20));
  (void)Extend("k", "mine", seconds(20), 5);
  ASSERT_TRUE(RunUntil([&] { return sink.changed.size() == 2; })) << "the fence was raised";
  DoOnStrand([&] { node->Unsubscribe(Topic::kChanges, Key("k")); });
  ASSERT_EQ(Acquire("k", "other", 6).outcome, Outcome::kHeld) << "it waits";
  (void)Ask([&](auto to) {
    node->Release({Key("k"), OwnerToken("mine"), std::nullopt, {}, true}, to);
  });
  ASSERT_TRUE(RunUntil([&] { return !sink.heard.empty(); })) << "the other subscription remains";
  EXPECT_EQ(sink.changed.size(), 2U);
  EXPECT_EQ(server.Cli("PEXPIRE redlockd:observers 6000"), "1");
  (void)inspect(true);
  EXPECT_LE(std::stoi(server.Cli("PTTL redlockd:observers")), 6'000) << "written now and then";
  EXPECT_EQ(server.Cli("PEXPIRE redlockd:observers 4000"), "1");
  (void)inspect(true);
  EXPECT_GT(std::stoi(server.Cli("PTTL redlockd:observers")), 9'000);
  node->ListenTo(nullptr);
}

// A batch finds out whether anybody observes or waits together with what it compares.
TEST_F(NodeTest, AnnouncementsCostNothingWhileNobodyObservesOrWaits) {
  RedisServer server;
  OpenReady(Tcp(server));
  const auto calls = [&](const std::string& command) {
    const std::string stats = server.Cli("INFO commandstats");
    const std::string name = "cmdstat_" + command + ":calls=";
    const std::size_t at = stats.find(name);
    return at == std::string::npos ? 0 : std::stoi(stats.substr(at + name.size()));
  };
  (void)Acquire("k", "mine", 1);
  const auto sink = std::make_shared<Recorder>();
  const Owner owner;
  DoOnStrand([&] {
    for (int i = 0; i < 10; ++i) {
      const Key key("key-" + std::to_string(i));
      node->Acquire({key, OwnerToken("mine"), seconds(10), kLongest, {1}, {1}, owner}, sink);
    }
    node->Release({Key("k"), OwnerToken("mine"), std::nullopt, {}, true}, sink);
  });
  ASSERT_TRUE(RunUntil([&] { return sink->replies.size() == 11; }));
  EXPECT_EQ(calls("exists"), 0);
  EXPECT_EQ(calls("publish"), 0);
}

TEST_F(NodeTest, ReleasesAreAnnouncedAfterSomebodyFoundALockHeld) {
  RedisServer server;
  OpenReady(Tcp(server));
  Announcements sink;
  node->ListenTo(&sink);
  DoOnStrand([&] { node->Subscribe(Topic::kReleases, Key("k")); });
  ASSERT_TRUE(RunUntil([&] { return !sink.listening.empty(); }));
  const auto release = [&](const std::string& key) {
    return Ask([&](auto to) {
      node->Release({Key(key), OwnerToken("mine"), std::nullopt, {}, true}, to);
    });
  };
  (void)Acquire("k", "mine", 1);
  EXPECT_EQ(release("k").listeners, 0) << "nobody waits";
  EXPECT_EQ(server.Cli("EXISTS redlockd:waiters"), "0");
  (void)Acquire("k", "mine", 2);
  EXPECT_EQ(Acquire("k", "other", 3).outcome, Outcome::kHeld);
  const int left = std::stoi(server.Cli("PTTL redlockd:waiters"));
  EXPECT_GT(left, 15'000) << "the TTL of the lock, and some more";
  EXPECT_LE(left, 20'000);
  EXPECT_EQ(release("k").listeners, 1);
  ASSERT_TRUE(RunUntil([&] { return !sink.heard.empty(); }));
  node->ListenTo(nullptr);
}

TEST_F(NodeTest, AUserWithoutPermissionToPublishCanRelease) {
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

// Passwords are often changed on the node before the file changes, or after.
TEST_F(NodeTest, ASubscriberThatCouldNotLogInTriesAgainWithTheNewPassword) {
  RedisServer server({"--requirepass", "second"});
  const testing::TemporaryDirectory directory;
  const std::string path = directory.path() + "/password";
  std::ofstream(path) << "first\n";
  Endpoint endpoint = Tcp(server);
  endpoint.password_file = std::make_shared<secrets::PasswordFile>(path);
  Subscriber subscriber(loop, 0, endpoint, nullptr);
  Announcements sink;
  subscriber.ListenTo(&sink);
  DoOnStrand([&] { subscriber.Subscribe(Topic::kReleases, Key("k")); });
  Run(milliseconds(200));
  EXPECT_TRUE(sink.listening.empty());
  std::ofstream(path) << "second\n";
  EXPECT_TRUE(RunUntil([&] { return !sink.listening.empty(); }));
}

}  // namespace
}  // namespace redlock::redis
