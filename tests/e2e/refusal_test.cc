// What an acquire that fails says, as clients see it: the holder's label, and why the last attempt
// failed.
#include <algorithm>

#include "tests/e2e/service_fixture.h"

namespace redlock::testing {
namespace {

using Metadata = std::map<std::string, std::string>;

Metadata HeldBy(const std::string& owner) {
  return {{"last_reason", "LOCK_ALREADY_HELD"}, {"owner", owner}};
}
Metadata Only(const std::string& last_reason) { return {{"last_reason", last_reason}}; }
// Without where the holder comes from, and for how long it has held the lock: test_who.py tests
// these.
Metadata LabelIn(Metadata metadata) {
  for (const char* const name : {"daemon", "held_for", "identity", "peer"}) metadata.erase(name);
  return metadata;
}
Metadata Of(const v1::OperationStatus& status) {
  return LabelIn({status.metadata().begin(), status.metadata().end()});
}

// The nodes of a busy machine answer late.
const std::vector<std::string> kPatient = {"--node-timeout", "2s"};
constexpr seconds kWait{1};

class RefusalTest : public ServiceTest {
 protected:
  void StartPatient(std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.end(), kPatient.begin(), kPatient.end());
    StartDaemon(std::move(arguments));
  }
  // Whether the daemon reports that too few nodes are able to grant.
  bool KnowsOfOutage() {
    return Eventually([this] { return daemon->Ctl("health").status != 0; }, seconds(30));
  }
  static v1::AcquireRequest By(const std::string& owner, const std::string& key = "key",
                               int max_retries = 0) {
    v1::AcquireRequest request = Wants(key, seconds(60), max_retries);
    request.set_owner(owner);
    return request;
  }
  // Waits until the deadline.
  Failure Awaits() {
    return AnsweredInTime([this] { return MustNotAcquire(By("waiter", "key", -1), kWait); });
  }
  // Holds until the deadline.
  Failure AwaitsOnHold() {
    return AnsweredInTime([this] { return MustNotHold(-1, kWait); });
  }
  // The daemon answers at most 20 ms before the caller's deadline. If a busy machine delays the
  // answer, gRPC's own error is the first one and has no details: the call is then repeated.
  static Failure AnsweredInTime(const std::function<Failure()>& call) {
    constexpr int kCalls = 10;
    Failure failure = call();
    for (int calls = 1; calls < kCalls && failure.reason.empty(); ++calls) failure = call();
    return failure;
  }

  struct Session {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream;
    std::map<std::uint64_t, v1::SessionResult> results;
    std::set<std::uint64_t> waiting;

    void Acquire(std::uint64_t id, const v1::AcquireRequest& acquire) {
      v1::SessionRequest request;
      request.add_operations()->set_id(id);
      *request.mutable_operations(0)->mutable_acquire() = acquire;
      stream->Write(request);
    }
    void Cancel(std::uint64_t id) {
      v1::SessionRequest request;
      request.add_operations()->set_id(id);
      request.mutable_operations(0)->mutable_cancel();
      stream->Write(request);
    }
    void Read() {
      v1::SessionResponse response;
      ASSERT_TRUE(stream->Read(&response));
      for (const auto& result : response.results()) results[result.id()] = result;
      for (const auto& place : response.positions()) waiting.insert(place.id());
    }
    void AwaitWaiting(std::uint64_t id) {
      while (!waiting.contains(id) && !::testing::Test::HasFailure()) Read();
    }
    v1::SessionResult Await(std::uint64_t id) {
      while (!results.contains(id) && !::testing::Test::HasFailure()) Read();
      return results[id];
    }
  };
  void Open(Session& session) {
    session.context.set_deadline(std::chrono::system_clock::now() + kPatience);
    session.stream = stub->Session(&session.context);
  }
  // The end of a Hold that does not get the lock.
  Failure MustNotHold(int max_retries, milliseconds patience = kPatience) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + patience);
    v1::HoldRequest request;
    request.set_key("key");
    Set(request.mutable_ttl(), seconds(10));
    request.mutable_retry()->set_max_retries(max_retries);
    Set(request.mutable_retry()->mutable_max_jitter(), milliseconds(10));
    const auto reader = stub->Hold(&context, request);
    return Decode(EndOf(*reader));
  }
};

TEST_F(RefusalTest, EveryCallNamesTheHolderAtAnotherDaemon) {
  StartPatient();
  const Daemon other(nodes, kPatient);
  const Finished acquired =
      other.Ctl("acquire key --ttl 60s --token secret-word --owner 'w\xc3\xb6rker \"7\"'");
  ASSERT_EQ(acquired.status, 0) << acquired.output;
  const std::string owner = "w\xc3\xb6rker \"7\"";
  const std::string words = "another holder has the lock: \"w\xc3\xb6rker \\\"7\\\"\"";

  const Failure tried = MustNotAcquire(By("me"));
  EXPECT_EQ(tried.reason, "LOCK_ALREADY_HELD");
  EXPECT_EQ(LabelIn(tried.metadata), (Metadata{{"owner", owner}}));
  EXPECT_NE(tried.message.find(words), std::string::npos) << tried.message;
  EXPECT_EQ(tried.message.find("secret-word"), std::string::npos);
  v1::AcquireRequest twice = By("me", "key", 2);
  Set(twice.mutable_retry()->mutable_max_jitter(), milliseconds(10));
  const Failure retried = MustNotAcquire(twice);
  EXPECT_EQ(retried.reason, "MAX_RETRIES_EXCEEDED");
  EXPECT_EQ(LabelIn(retried.metadata), (Metadata{{"owner", owner}}));
  const Failure late = Awaits();
  EXPECT_EQ(late.reason, "DEADLINE_EXCEEDED");
  EXPECT_EQ(LabelIn(late.metadata), HeldBy(owner));
  EXPECT_NE(late.message.find("not acquired before the deadline: " + words), std::string::npos)
      << late.message;

  EXPECT_EQ(LabelIn(MustNotHold(0).metadata), (Metadata{{"owner", owner}}));
  EXPECT_EQ(LabelIn(MustNotHold(1).metadata), (Metadata{{"owner", owner}}));
  EXPECT_EQ(LabelIn(AwaitsOnHold().metadata), HeldBy(owner));

  Session session;
  Open(session);
  session.Acquire(1, By("me"));
  EXPECT_EQ(session.Await(1).status().reason(), "LOCK_ALREADY_HELD");
  EXPECT_EQ(Of(session.Await(1).status()), (Metadata{{"owner", owner}}));
  session.Acquire(2, By("head", "key", -1));
  session.Acquire(3, By("follower", "key", -1));
  session.AwaitWaiting(3);
  for (const std::uint64_t id : {3U, 2U}) {
    session.Cancel(id);
    EXPECT_EQ(session.Await(id).status().reason(), "CANCELLED");
    EXPECT_EQ(Of(session.Await(id).status()), HeldBy(owner));
    EXPECT_NE(session.Await(id).status().message().find(words), std::string::npos);
  }
  for (const char* const command : {"acquire key --try", "acquire key --timeout 2s"}) {
    const Finished shown = daemon->Ctl(command);
    EXPECT_EQ(shown.status, 3);
    EXPECT_NE(shown.output.find(words), std::string::npos) << shown.output;
  }
  EXPECT_EQ(daemon->Log().find("secret-word"), std::string::npos);
}

TEST_F(RefusalTest, AHolderOfAnotherLibraryHasNoLabel) {
  StartPatient();
  EXPECT_TRUE(Release(MustAcquire(By("before"))).ok());
  for (const auto& node : nodes) EXPECT_EQ(node->Cli("SET key theirs NX PX 60000"), "OK");
  const Failure tried = MustNotAcquire(By("me"));
  EXPECT_EQ(tried.reason, "LOCK_ALREADY_HELD");
  EXPECT_EQ(tried.metadata, Metadata());
  EXPECT_NE(tried.message.find("another holder has the lock ("), std::string::npos)
      << tried.message;
  EXPECT_EQ(Awaits().metadata, Only("LOCK_ALREADY_HELD"));
}

TEST_F(RefusalTest, AHolderWithoutALabelHasNone) {
  StartPatient();
  (void)MustAcquire(By(""));
  EXPECT_EQ(LabelIn(MustNotAcquire(By("me")).metadata), Metadata());
}

// Any program can write to the nodes.
TEST_F(RefusalTest, ALabelFromTheNodesIsCutToUtf8) {
  StartPatient();
  (void)MustAcquire(By("x"));
  const std::string stored = nodes[0]->Cli("GET 'redlockd:meta:{key}'");
  const std::size_t at = stored.find(" x ");  // the time of the acquisition follows
  ASSERT_NE(at, std::string::npos) << stored;
  const auto store = [&](const std::string& label) {
    const std::string text = stored.substr(0, at + 1) + label + stored.substr(at + 2);
    for (const auto& node : nodes) {
      EXPECT_EQ(node->Cli("SET 'redlockd:meta:{key}' '" + text + "'"), "OK");
    }
  };
  const std::string longest(126, 'y');
  store(longest + "\xe2\x82\xac");
  EXPECT_EQ(LabelIn(MustNotAcquire(By("me")).metadata), (Metadata{{"owner", longest}}));
  store(
      "ab\xff"
      "cd");
  EXPECT_EQ(LabelIn(MustNotAcquire(By("me")).metadata), (Metadata{{"owner", "ab"}}));
  EXPECT_EQ(Inspect("key").owner(), "ab");
}

// Whoever acquires, and whatever happens to the lease afterwards.
TEST_F(RefusalTest, EveryWayOfAcquiringStoresTheLabel) {
  StartPatient({"--node-guard", "off"});
  const Daemon other(nodes, {"--node-guard", "off", "--node-timeout", "2s"});
  const auto label = [&other] {
    const Finished shown = other.Ctl("acquire key --try");
    const auto at = shown.output.find("has the lock: ");
    return at == std::string::npos
               ? shown.output
               : shown.output.substr(at + 14, shown.output.find(", ", at) - at - 14);
  };
  const v1::Lease unary = MustAcquire(By("unary"));
  EXPECT_EQ(label(), "\"unary\"");
  Session session;
  Open(session);
  session.Acquire(1, By("session", "key", -1));
  session.AwaitWaiting(1);
  EXPECT_TRUE(Release(unary).ok());
  const v1::Lease handed_over = session.Await(1).lease();
  EXPECT_EQ(label(), "\"session\"");
  v1::ExtendResponse extended;
  EXPECT_TRUE(Extend(handed_over, seconds(90), extended).ok());
  EXPECT_EQ(label(), "\"session\"");
  EXPECT_EQ(nodes[0]->Cli("DEL key 'redlockd:meta:{key}'"), "2");
  // No extension repairs a node while the hand-over still waits for late answers.
  EXPECT_TRUE(Eventually([&] {
    EXPECT_TRUE(Extend(handed_over, seconds(100), extended).ok());
    return Holding("key") == 3;
  }));
  EXPECT_EQ(label(), "\"session\"") << "one node was repaired";
  EXPECT_TRUE(Release(handed_over).ok());

  grpc::ClientContext context;
  v1::HoldRequest request;
  request.set_key("key");
  request.set_owner("hold");
  Set(request.mutable_ttl(), seconds(10));
  const auto reader = stub->Hold(&context, request);
  v1::HoldResponse event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(label(), "\"hold\"");
  context.TryCancel();
  (void)EndOf(*reader);
}

TEST_F(RefusalTest, WithoutAQuorumEveryWaiterSaysSo) {
  StartPatient();
  const v1::Lease lease = MustAcquire(By("holder"));
  Session session;
  Open(session);
  session.Acquire(1, By("head", "key", -1));
  session.Acquire(2, By("follower", "key", -1));
  session.AwaitWaiting(2);
  nodes[0]->Kill();
  nodes[1]->Kill();
  ASSERT_TRUE(KnowsOfOutage());
  EXPECT_EQ(MustNotAcquire(By("me")).reason, "QUORUM_UNAVAILABLE") << "a single try behind waiters";
  const Failure late = Awaits();
  EXPECT_EQ(late.reason, "DEADLINE_EXCEEDED");
  EXPECT_EQ(late.metadata, Only("QUORUM_UNAVAILABLE"));
  // The head may have asked the nodes once more while they ended. The waiter then reports what the
  // head found.
  EXPECT_TRUE(late.message.find("too few nodes are able to grant locks: 1 of 3") !=
                  std::string::npos ||
              late.message.find("too few nodes answered to decide") != std::string::npos)
      << late.message;
  EXPECT_EQ(AwaitsOnHold().metadata, Only("QUORUM_UNAVAILABLE"));
  EXPECT_EQ(daemon->Ctl("acquire key --timeout 2s").status, 5);
  for (const std::uint64_t id : {2U, 1U}) {
    session.Cancel(id);
    EXPECT_EQ(session.Await(id).status().reason(), "CANCELLED");
    EXPECT_EQ(Of(session.Await(id).status()), Only("QUORUM_UNAVAILABLE"));
  }
}

// Only the first shard finds out that nodes are connected and unable to grant.
TEST_F(RefusalTest, EveryShardKnowsThatNodesCannotGrant) {
  StartPatient({"--shards", "4"});
  Session session;
  Open(session);
  for (std::uint64_t id = 1; id <= 16; ++id) {
    const std::string key = "key" + std::to_string(id);
    (void)MustAcquire(By("holder", key));
    session.Acquire(id, By("waiter", key, -1));
    session.AwaitWaiting(id);
  }
  for (const std::size_t node : {0U, 1U}) {
    EXPECT_EQ(nodes[node]->Cli("CONFIG SET maxmemory 1"), "OK");
  }
  ASSERT_TRUE(KnowsOfOutage());
  for (std::uint64_t id = 1; id <= 16; ++id) {
    session.Cancel(id);
    EXPECT_EQ(Of(session.Await(id).status()), Only("QUORUM_UNAVAILABLE")) << id;
  }
  for (const std::size_t node : {0U, 1U}) {
    EXPECT_EQ(nodes[node]->Cli("CONFIG SET maxmemory 0"), "OK");
  }
}

TEST_F(RefusalTest, ADaemonThatHasNoQuorumOfTheMembersSaysSo) {
  StartPatient();  // creates the set
  std::vector<std::unique_ptr<RedisServer>> one;
  one.push_back(std::move(nodes.back()));
  nodes.pop_back();
  const Daemon alone(one, kPatient);
  stub = v1::LockService::NewStub(
      grpc::CreateChannel(alone.address(), grpc::InsecureChannelCredentials()));
  const Failure late = Awaits();
  EXPECT_EQ(late.reason, "DEADLINE_EXCEEDED");
  EXPECT_EQ(late.metadata, Only("NODE_SET_MISMATCH"));
}

}  // namespace
}  // namespace redlock::testing
