// Session, as clients see it.
#include <algorithm>
#include <set>

#include "tests/e2e/service_fixture.h"

namespace redlock::testing {
namespace {

class SessionTest : public WatchTest {
 protected:
  struct Session {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream;
    std::map<std::uint64_t, v1::SessionResult> results;
    std::vector<v1::WatchResponse> events;

    // Reads until the operation's result arrives.
    v1::SessionResult Await(std::uint64_t id) {
      v1::SessionResponse response;
      while (!results.contains(id) && stream->Read(&response)) {
        for (const auto& result : response.results()) results[result.id()] = result;
        events.insert(events.end(), response.events().begin(), response.events().end());
      }
      EXPECT_TRUE(results.contains(id)) << id;
      return results[id];
    }
  };
  void Open(Session& session) {
    session.context.set_deadline(std::chrono::system_clock::now() + kPatience);
    session.stream = stub->Session(&session.context);
  }
  static void AddAcquire(v1::SessionRequest& request, std::uint64_t id, const std::string& key,
                         milliseconds ttl, int max_retries = 0) {
    v1::SessionOperation& operation = *request.add_operations();
    operation.set_id(id);
    *operation.mutable_acquire() = Wants(key, ttl, max_retries);
  }
  // The first message, which agrees on a grace.
  static v1::SessionRequest WithGrace(milliseconds grace) {
    v1::SessionRequest request;
    Set(request.mutable_disconnect_grace(), grace);
    return request;
  }
  static void AddAdopt(v1::SessionRequest& request, std::uint64_t id, const v1::Lease& lease,
                       milliseconds ttl) {
    v1::SessionOperation& operation = *request.add_operations();
    operation.set_id(id);
    operation.mutable_adopt()->set_key(lease.key());
    operation.mutable_adopt()->set_token(lease.token());
    Set(operation.mutable_adopt()->mutable_ttl(), ttl);
  }
  static void AddExtend(v1::SessionRequest& request, std::uint64_t id, const v1::Lease& lease,
                        milliseconds ttl) {
    v1::SessionOperation& operation = *request.add_operations();
    operation.set_id(id);
    operation.mutable_extend()->set_key(lease.key());
    operation.mutable_extend()->set_token(lease.token());
    Set(operation.mutable_extend()->mutable_ttl(), ttl);
  }
  static void AddClose(v1::SessionRequest& request, std::uint64_t id) {
    v1::SessionOperation& operation = *request.add_operations();
    operation.set_id(id);
    operation.mutable_close();
  }
  static void AddGiveUp(v1::SessionRequest& request, std::uint64_t id, const v1::Lease& lease) {
    v1::SessionOperation& operation = *request.add_operations();
    operation.set_id(id);
    operation.mutable_give_up()->set_key(lease.key());
    operation.mutable_give_up()->set_token(lease.token());
  }
  static void AddRelease(v1::SessionRequest& request, std::uint64_t id, const v1::Lease& lease) {
    v1::SessionOperation& operation = *request.add_operations();
    operation.set_id(id);
    operation.mutable_release()->set_key(lease.key());
    operation.mutable_release()->set_token(lease.token());
  }
};

TEST_F(SessionTest, AnswersManyOperationsInAnyOrder) {
  StartDaemon({"--shards", "2"});
  Session session;
  Open(session);
  v1::SessionRequest request;
  AddAcquire(request, 1, "a", seconds(10));
  AddAcquire(request, 2, "a", seconds(10), -1);  // waits without delaying other operations
  AddAcquire(request, 3, "b", seconds(10));
  AddAcquire(request, 4, "", seconds(10));
  AddAcquire(request, 3, "c", seconds(10));  // an id that is under way
  session.stream->Write(request);
  const v1::Lease first = session.Await(1).lease();
  EXPECT_FALSE(first.token().empty());
  EXPECT_EQ(session.Await(4).status().reason(), "INVALID_ARGUMENT");
  EXPECT_NE(session.Await(4).status().message().find("acquire.key"), std::string::npos);
  (void)session.Await(3);
  EXPECT_FALSE(session.results.contains(2));
  v1::SessionRequest release;
  AddRelease(release, 5, first);
  v1::SessionOperation& extend = *release.add_operations();
  extend.set_id(6);
  extend.mutable_extend()->set_key("b");
  extend.mutable_extend()->set_token("wrong");
  Set(extend.mutable_extend()->mutable_ttl(), seconds(5));
  session.stream->Write(release);
  EXPECT_GT(session.Await(2).lease().fencing_token(), first.fencing_token());
  EXPECT_TRUE(session.Await(5).status().reason().empty());
  EXPECT_EQ(session.Await(6).status().reason(), "LOCK_NOT_HELD");
}

TEST_F(SessionTest, AnIdIsInUseUntilItsOperationIsAnswered) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(20)));
  Session session;
  Open(session);
  const auto acquire = [&session](std::uint64_t id, const std::string& key) {
    v1::SessionRequest request;
    AddAcquire(request, id, key, seconds(20), -1);
    session.stream->Write(request);
  };
  acquire(1, "key");  // waits
  for (const char* const key : {"second", "third"}) {
    acquire(1, key);
    EXPECT_EQ(session.Await(1).status().reason(), "INVALID_ARGUMENT") << key;
    session.results.clear();
  }
  EXPECT_TRUE(Release(lease).ok());
  EXPECT_EQ(session.Await(1).lease().key(), "key");
  session.results.clear();
  acquire(1, "second");
  EXPECT_EQ(session.Await(1).lease().key(), "second") << "the id is free again";
  EXPECT_EQ(Holding("third"), 0);
}

TEST_F(SessionTest, CancelsOfAnyIdLeaveNothing) {
  StartDaemon({"--shards", "2"});
  const v1::Lease lease = MustAcquire(Wants("key", seconds(20)));
  Session session;
  Open(session);
  v1::SessionRequest request;
  const auto cancel = [&request](std::uint64_t id) {
    request.add_operations()->set_id(id);
    request.mutable_operations(request.operations_size() - 1)->mutable_cancel();
  };
  cancel(1);  // nothing has this id yet
  AddAcquire(request, 1, "key", seconds(20), -1);
  cancel(1);
  cancel(1);
  cancel(7);
  AddAcquire(request, 2, "free", seconds(20));
  cancel(2);
  session.stream->Write(request);
  EXPECT_EQ(session.Await(1).status().reason(), "CANCELLED");
  const v1::SessionResult free = session.Await(2);
  EXPECT_EQ(free.status().reason(), free.has_lease() ? "" : "CANCELLED");
  request.clear_operations();
  cancel(2);  // has been answered
  AddAcquire(request, 3, "other", seconds(20));
  session.stream->Write(request);
  EXPECT_TRUE(session.Await(3).has_lease());
  EXPECT_TRUE(Eventually([&] { return Holding("free") == (free.has_lease() ? 3 : 0); }));
  EXPECT_EQ(Inspect("key").waiters(), 0);
  EXPECT_TRUE(Release(lease).ok());
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));
}

TEST_F(SessionTest, AMessageCanCancelItsOwnAcquire) {
  // Hundreds of acquisitions at once: on a busy machine a node may answer late.
  StartDaemon({"--shards", "2", "--node-timeout", "2s"});
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  Session session;
  Open(session);
  v1::SessionRequest request;
  AddAcquire(request, 1, "key", seconds(10), -1);
  v1::SessionOperation& cancel = *request.add_operations();
  cancel.set_id(1);
  cancel.mutable_cancel();
  // More operations than the daemon accepts at a time.
  for (std::uint64_t id = 2; id < 500; ++id) {
    AddAcquire(request, id, "key" + std::to_string(id), seconds(10));
  }
  session.stream->Write(request);
  EXPECT_EQ(session.Await(1).status().reason(), "CANCELLED");
  for (std::uint64_t id = 2; id < 500; ++id) EXPECT_TRUE(session.Await(id).has_lease()) << id;
  EXPECT_EQ(Inspect("key").waiters(), 0);
  v1::SessionRequest close;
  AddClose(close, 500);
  session.stream->Write(close);
  EXPECT_TRUE(session.Await(500).status().reason().empty());
  EXPECT_TRUE(EndOf(*session.stream).ok());
  std::string keys;
  for (std::uint64_t id = 2; id < 500; ++id) keys += " key" + std::to_string(id);
  EXPECT_TRUE(Eventually([&] {
    return std::ranges::all_of(
        nodes, [&keys](const auto& node) { return node->Cli("EXISTS" + keys) == "0"; });
  })) << "all are released, although they exceed one batch";
}

TEST_F(SessionTest, ExtendsItsLeasesAndLeavesThemToExpireWhenItBreaks) {
  StartDaemon();
  {
    Session session;
    Open(session);
    v1::SessionRequest request;
    for (int i = 0; i < 50; ++i) {
      AddAcquire(request, static_cast<std::uint64_t>(i), "key" + std::to_string(i), seconds(1));
    }
    session.stream->Write(request);
    for (std::uint64_t i = 0; i < 50; ++i) EXPECT_TRUE(session.Await(i).has_lease());
    std::this_thread::sleep_for(milliseconds(1500));
    for (int i = 0; i < 50; ++i) EXPECT_EQ(Holding("key" + std::to_string(i)), 3) << i;
    session.context.TryCancel();
  }
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(Holding("key7"), 3);
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(Eventually([&] { return Holding("key" + std::to_string(i)) == 0; }));
  }
}

// Many of them are extended together.
TEST_F(SessionTest, TellsOfTheExtensionsOfAllLeasesOfSeveralKeys) {
  StartDaemon();
  Session session;
  Open(session);
  constexpr std::uint64_t kLeases = 100;
  v1::SessionRequest request;
  for (std::uint64_t id = 1; id <= kLeases; ++id) {
    AddAcquire(request, id, "", milliseconds(900));
    auto& keys = *request.mutable_operations(static_cast<int>(id) - 1)->mutable_acquire();
    keys.add_keys("a" + std::to_string(id));
    keys.add_keys("b" + std::to_string(id));
  }
  session.stream->Write(request);
  for (std::uint64_t id = 1; id <= kLeases; ++id) (void)session.Await(id);
  std::set<std::string> extended;
  const auto end = std::chrono::steady_clock::now() + milliseconds(1'500);
  v1::SessionResponse response;
  while (std::chrono::steady_clock::now() < end && session.stream->Read(&response)) {
    for (const v1::WatchResponse& event : response.events()) {
      if (event.type() == v1::EVENT_TYPE_EXTENDED) extended.insert(event.keys(0));
    }
  }
  EXPECT_EQ(extended.size(), kLeases);
}

TEST_F(SessionTest, CloseAnswersAndReleasesWhatIsUnderWay) {
  StartDaemon();
  const v1::Lease adopted = MustAcquire(Wants("adopted", seconds(30)));
  const v1::Lease released = MustAcquire(Wants("released", seconds(30)));
  Session session;
  Open(session);
  v1::SessionRequest close;
  AddAdopt(close, 1, adopted, seconds(30));
  AddRelease(close, 2, released);
  AddClose(close, 3);
  session.stream->Write(close);
  EXPECT_TRUE(session.Await(1).has_lease());
  EXPECT_EQ(session.Await(2).status().reason(), "");
  EXPECT_EQ(session.Await(3).status().reason(), "");
  EXPECT_TRUE(EndOf(*session.stream).ok());
  EXPECT_EQ(Holding("adopted"), 0);
  EXPECT_EQ(Holding("released"), 0);
}

TEST_F(SessionTest, LeasesOfABrokenSessionAreReleasedAfterItsGrace) {
  StartDaemon();
  Session session;
  Open(session);
  v1::SessionRequest request = WithGrace(milliseconds(600));
  AddAcquire(request, 1, "key", seconds(30));
  session.stream->Write(request);
  EXPECT_TRUE(session.Await(1).has_lease());
  session.context.TryCancel();
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(Holding("key"), 3);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, milliseconds(1500)));
}

TEST_F(SessionTest, LeasesOfASilentSessionAreReleasedWhileItIsOpen) {
  StartDaemon();
  Session session;
  Open(session);
  v1::SessionRequest request = WithGrace(milliseconds(500));
  AddAcquire(request, 1, "key", seconds(30));
  session.stream->Write(request);
  EXPECT_TRUE(session.Await(1).has_lease());
  // Messages keep the Session alive.
  for (std::uint64_t id = 2; id < 8; ++id) {
    std::this_thread::sleep_for(milliseconds(150));
    v1::SessionRequest ping;
    ping.add_operations()->set_id(id);
    ping.mutable_operations(0)->mutable_ping();
    session.stream->Write(ping);
    (void)session.Await(id);
  }
  EXPECT_EQ(Holding("key"), 3);
  EXPECT_EQ(Decode(EndOf(*session.stream)).reason, "DEADLINE_EXCEEDED");
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, milliseconds(500)));
}

TEST_F(SessionTest, TheGraceIsValidatedAndOnlyTheFirstMessageSetsIt) {
  StartDaemon();
  {
    Session session;
    Open(session);
    session.stream->Write(WithGrace(milliseconds(99)));
    EXPECT_TRUE(Decode(EndOf(*session.stream)).fields.contains("disconnect_grace"));
  }
  Session session;
  Open(session);
  session.stream->Write(WithGrace(seconds(1)));
  session.stream->Write(WithGrace(seconds(1)));
  EXPECT_TRUE(Decode(EndOf(*session.stream)).fields.contains("disconnect_grace"));
}

TEST_F(SessionTest, AdoptsHeldLeasesAndAcquiresNothing) {
  StartDaemon({"--shards", "2"});
  const v1::Lease lease = MustAcquire(Wants("key", milliseconds(800)));
  Session session;
  Open(session);
  v1::SessionRequest request;
  AddAdopt(request, 1, lease, milliseconds(800));
  session.stream->Write(request);
  EXPECT_EQ(session.Await(1).lease().fencing_token(), lease.fencing_token());
  std::this_thread::sleep_for(milliseconds(1200));
  EXPECT_EQ(Holding("key"), 3) << "the adoption extends it";
  EXPECT_TRUE(Release(lease).ok());
  request.mutable_operations(0)->set_id(2);
  session.stream->Write(request);
  EXPECT_EQ(session.Await(2).status().reason(), "LOCK_NOT_HELD");
  EXPECT_EQ(Holding("key"), 0);
}

TEST_F(SessionTest, CloseReleasesOnlyTheLeasesOfItsOwnSession) {
  StartDaemon({"--shards", "2"});
  Session first;
  Open(first);
  v1::SessionRequest request;
  for (std::uint64_t id = 1; id <= 20; ++id) {
    AddAcquire(request, id, "key" + std::to_string(id), seconds(30));
  }
  first.stream->Write(request);
  for (std::uint64_t id = 1; id <= 20; ++id) EXPECT_TRUE(first.Await(id).has_lease());
  Session second;
  Open(second);
  v1::SessionRequest adopt;
  AddAdopt(adopt, 1, first.Await(7).lease(), seconds(30));
  second.stream->Write(adopt);
  EXPECT_TRUE(second.Await(1).has_lease());
  v1::SessionRequest close;
  AddAcquire(close, 21, "key7", seconds(30), -1);  // waits
  AddClose(close, 22);
  first.stream->Write(close);
  EXPECT_EQ(first.Await(21).status().reason(), "CANCELLED");
  EXPECT_TRUE(first.Await(22).status().reason().empty());
  EXPECT_TRUE(EndOf(*first.stream).ok());
  for (std::uint64_t id = 1; id <= 20; ++id) {
    EXPECT_EQ(Holding("key" + std::to_string(id)), id == 7 ? 3 : 0) << id;
  }
}

TEST_F(SessionTest, GivingUpReleasesOnlyALeaseOfTheSession) {
  StartDaemon({"--shards", "2"});
  Session session;
  Open(session);
  v1::SessionRequest request;
  AddAcquire(request, 1, "mine", seconds(30));
  AddAcquire(request, 2, "adopted", seconds(30));
  session.stream->Write(request);
  const v1::Lease mine = session.Await(1).lease();
  const v1::Lease adopted = session.Await(2).lease();
  Session other;
  Open(other);
  v1::SessionRequest adopt;
  AddAdopt(adopt, 1, adopted, seconds(30));
  other.stream->Write(adopt);
  EXPECT_TRUE(other.Await(1).has_lease());

  v1::SessionRequest give_up;
  AddGiveUp(give_up, 3, mine);
  AddGiveUp(give_up, 4, adopted);
  AddGiveUp(give_up, 5, {});
  session.stream->Write(give_up);
  EXPECT_EQ(session.Await(3).status().reason(), "");
  EXPECT_EQ(session.Await(4).status().reason(), "LOCK_NOT_HELD");
  EXPECT_EQ(session.Await(5).status().reason(), "INVALID_ARGUMENT");
  EXPECT_NE(session.Await(5).status().message().find("give_up.key"), std::string::npos);
  EXPECT_EQ(Holding("mine"), 0);
  EXPECT_EQ(Holding("adopted"), 3);
}

TEST_F(SessionTest, LossIsReported) {
  StartDaemon();
  Session session;
  Open(session);
  v1::SessionRequest request;
  AddAcquire(request, 1, "key", milliseconds(400));
  session.stream->Write(request);
  (void)session.Await(1);
  for (const auto& node : nodes) (void)node->Cli("SET key stranger");
  v1::SessionResponse response;
  bool lost = false;
  while (!lost && session.stream->Read(&response)) {
    for (const auto& event : response.events()) lost = lost || event.type() == v1::EVENT_TYPE_LOST;
  }
  EXPECT_TRUE(lost);
}

TEST_F(SessionTest, ItsLeasesMoveToAnotherDaemon) {
  StartDaemon({"--drain-timeout", "5s"});
  Daemon other(nodes);
  Session session;
  Open(session);
  v1::SessionRequest request;
  AddAcquire(request, 1, "key", seconds(2));
  session.stream->Write(request);
  const v1::Lease lease = session.Await(1).lease();
  daemon->process().Signal(SIGTERM);
  while (session.events.empty() || session.events.back().type() != v1::EVENT_TYPE_DRAINING) {
    v1::SessionResponse response;
    ASSERT_TRUE(session.stream->Read(&response));
    session.events.insert(session.events.end(), response.events().begin(), response.events().end());
  }
  const auto other_stub = v1::LockService::NewStub(
      grpc::CreateChannel(other.address(), grpc::InsecureChannelCredentials()));
  Session moved;
  moved.stream = other_stub->Session(&moved.context);
  v1::SessionRequest adopt;
  AddAdopt(adopt, 1, lease, seconds(2));
  moved.stream->Write(adopt);
  EXPECT_EQ(moved.Await(1).lease().fencing_token(), lease.fencing_token());
  session.stream->WritesDone();
  EXPECT_TRUE(EndOf(*session.stream).ok());
  EXPECT_EQ(daemon->process().Wait(), 0);
  EXPECT_EQ(Holding("key"), 3);
}

// A client that dies with requests under way: the nodes have them in their buffers when the stream
// breaks, and process them afterwards.
class CrashTest : public SessionTest {
 protected:
  void SetUp() override { StartDaemon({"--node-timeout", "2s"}); }

  // The nodes read the request only after the client has died.
  void DieDuring(const v1::SessionRequest& request) {
    for (const auto& node : nodes) node->Pause();
    session.stream->Write(request);
    std::this_thread::sleep_for(milliseconds(100));  // until the request is under way
    session.context.TryCancel();
    std::this_thread::sleep_for(milliseconds(100));
    for (const auto& node : nodes) node->Resume();
  }
  v1::Lease Acquired(milliseconds ttl) {
    v1::SessionRequest request = WithGrace(milliseconds(500));
    AddAcquire(request, 1, "key", ttl);
    session.stream->Write(request);
    return session.Await(1).lease();
  }
  void ExpectFreeLongBeforeTheTtl() {
    EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, seconds(3)));
    (void)MustAcquire(Wants("key", seconds(5)));
  }

  Session session;
};

TEST_F(CrashTest, AClientThatDiesDuringAnAcquireLeavesNoLock) {
  Open(session);
  v1::SessionRequest request = WithGrace(milliseconds(500));
  AddAcquire(request, 1, "key", seconds(30));
  DieDuring(request);
  ExpectFreeLongBeforeTheTtl();
}

TEST_F(CrashTest, AClientThatDiesDuringAnExtensionLeavesNoLock) {
  Open(session);
  const v1::Lease lease = Acquired(seconds(30));
  v1::SessionRequest request;
  v1::SessionOperation& operation = *request.add_operations();
  operation.set_id(2);
  operation.mutable_extend()->set_key(lease.key());
  operation.mutable_extend()->set_token(lease.token());
  Set(operation.mutable_extend()->mutable_ttl(), seconds(60));
  DieDuring(request);
  ExpectFreeLongBeforeTheTtl();
}

TEST_F(CrashTest, AClientThatDiesDuringAReleaseLeavesNoLock) {
  Open(session);
  v1::SessionRequest request;
  AddRelease(request, 2, Acquired(seconds(30)));
  DieDuring(request);
  ExpectFreeLongBeforeTheTtl();
}

TEST_F(SessionTest, OnlyAcquiresAreRefusedForLoad) {
  constexpr std::uint64_t kMost = 500;
  StartDaemon({"--max-session-operations", std::to_string(kMost)});
  Session session;
  Open(session);
  v1::SessionRequest acquire;
  for (std::uint64_t id = 1; id <= 4; ++id) {
    AddAcquire(acquire, id, "key-" + std::to_string(id), seconds(30));
  }
  session.stream->Write(acquire);
  std::vector<v1::Lease> leases;
  for (std::uint64_t id = 1; id <= 4; ++id) leases.push_back(session.Await(id).lease());
  v1::SessionRequest wait;
  for (std::uint64_t i = 0; i <= kMost; ++i) AddAcquire(wait, 1'000 + i, "key-1", seconds(30), -1);
  session.stream->Write(wait);
  EXPECT_EQ(session.Await(1'000 + kMost).status().reason(), "OVERLOADED");
  v1::SessionRequest held;
  AddExtend(held, 11, leases[0], seconds(30));
  AddAdopt(held, 12, leases[1], seconds(30));
  AddRelease(held, 13, leases[2]);
  AddGiveUp(held, 14, leases[3]);
  held.add_operations()->set_id(15);
  held.mutable_operations(4)->mutable_ping();
  session.stream->Write(held);
  for (std::uint64_t id = 11; id <= 15; ++id) {
    EXPECT_EQ(session.Await(id).status().reason(), "") << id;
  }
  // More at once than are handled at the same time, in one message and in many.
  leases[1].set_token("not-held");
  std::uint64_t id = 10'000;
  for (const std::uint64_t size : {4 * kMost, kMost / 10}) {
    const std::uint64_t end = id + 4 * kMost;
    while (id < end) {
      v1::SessionRequest releases;
      for (std::uint64_t i = 0; i < size; ++i) AddRelease(releases, id++, leases[1]);
      session.stream->Write(releases);
    }
  }
  for (std::uint64_t one = 10'000; one < id; ++one) {
    EXPECT_EQ(session.Await(one).status().reason(), "LOCK_NOT_HELD");
  }
}

// A message costs more than the operation that it carries. Sessions that are behind take turns, and
// each takes in many messages in its turn. So its results share messages.
TEST_F(SessionTest, SmallMessagesThatHaveArrivedAreAnsweredTogether) {
  constexpr int kSessions = 30;
  constexpr std::uint64_t kMessages = 16;
  StartDaemon();
  std::vector<Session> sessions(kSessions);
  for (Session& session : sessions) {
    Open(session);
    v1::SessionRequest first;
    first.add_operations()->mutable_ping();
    session.stream->Write(first);
    (void)session.Await(0);
  }
  daemon->process().Signal(SIGSTOP);
  for (int i = 0; i < kSessions; ++i) {
    for (std::uint64_t id = 1; id <= kMessages; ++id) {
      v1::SessionRequest request;
      AddAcquire(request, id, std::to_string(i) + "." + std::to_string(id), seconds(30));
      sessions[static_cast<std::size_t>(i)].stream->Write(request);
    }
  }
  daemon->process().Signal(SIGCONT);
  int messages = 0;
  for (Session& session : sessions) {
    v1::SessionResponse response;
    for (std::size_t results = 0; results < kMessages; ++messages) {
      ASSERT_TRUE(session.stream->Read(&response));
      results += static_cast<std::size_t>(response.results_size());
    }
  }
  EXPECT_LT(messages, kSessions * static_cast<int>(kMessages) / 3);
}

TEST_F(SessionTest, AClientThatDoesNotReadIsDisconnected) {
  StartDaemon({"--max-session-operations", "100"});
  Session session;
  Open(session);
  bool open = true;
  for (std::uint64_t id = 0; open && id < 400'000; id += 100) {
    v1::SessionRequest request;
    for (std::uint64_t i = 0; i < 100; ++i) AddAcquire(request, id + i, "key", seconds(1), -1);
    open = session.stream->Write(request);
  }
  session.stream->WritesDone();
  EXPECT_EQ(Decode(EndOf(*session.stream)).reason, "OVERLOADED");
  EXPECT_TRUE(MustNotAcquire(Wants("other", seconds(1))).reason.empty())
      << "other clients are served";
}

}  // namespace
}  // namespace redlock::testing
