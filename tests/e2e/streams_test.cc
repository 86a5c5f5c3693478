// Watch and Hold, as clients see them.
#include <future>

#include "tests/e2e/service_fixture.h"

namespace redlock::testing {
namespace {

TEST_F(WatchTest, KeepsALockAliveWhileTheStreamIsOpen) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", milliseconds(300)));
  Stream stream;
  Open(stream, Request({lease}, milliseconds(300)));
  for (int i = 0; i < 5; ++i) {
    const v1::WatchResponse event = stream.Next();
    EXPECT_EQ(event.type(), v1::EVENT_TYPE_EXTENDED);
    EXPECT_EQ(event.lease().fencing_token(), lease.fencing_token());
  }
  EXPECT_EQ(Holding("key"), 3);
  stream.context.TryCancel();
  EXPECT_EQ(EndOf(*stream.reader).error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, seconds(2)))
      << "the TTL ends the lock";
}

TEST_F(WatchTest, LossIsReportedBeforeTheTtlHasPassedIfAllNodesStop) {
  StartDaemon({"--node-timeout", "250ms"});
  constexpr milliseconds kTtl(1500);
  const v1::Lease lease = MustAcquire(Wants("key", kTtl));
  Stream stream;
  Open(stream, Request({lease}, kTtl));
  (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
  const auto extended = SteadyClock::now();
  for (const auto& node : nodes) node->Pause();
  const v1::WatchResponse failed = stream.Await(v1::EVENT_TYPE_EXTEND_FAILED);
  EXPECT_EQ(failed.reason(), "QUORUM_UNAVAILABLE");
  // Two silent nodes decide the round, possibly before the third node's vote is known.
  EXPECT_GE(failed.votes_size(), 2);
  for (const v1::Vote& vote : failed.votes()) {
    EXPECT_TRUE(vote.outcome() == v1::VOTE_OUTCOME_TIMEOUT ||
                vote.outcome() == v1::VOTE_OUTCOME_ERROR)
        << vote.DebugString();
  }
  const v1::WatchResponse lost = stream.Await(v1::EVENT_TYPE_LOST);
  // The simulation proves the exact bound. Here the event also waits until this process runs.
  EXPECT_LT(SteadyClock::now() - extended, kTtl + milliseconds(500));
  EXPECT_EQ(lost.reason(), "VALIDITY_EXPIRED");
  EXPECT_EQ(Decode(EndOf(*stream.reader)).reason, "LOCK_NOT_HELD");
  for (const auto& node : nodes) node->Resume();
}

TEST_F(WatchTest, SurvivesAnOutageOfTwoNodesThatIsShorterThanTheTtl) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(3)));
  v1::WatchRequest request = Request({lease}, seconds(3));
  Set(request.mutable_items(0)->mutable_interval(), milliseconds(500));
  Stream stream;
  Open(stream, request);
  (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
  nodes[0]->Pause();
  nodes[1]->Pause();
  (void)stream.Await(v1::EVENT_TYPE_EXTEND_FAILED);
  std::this_thread::sleep_for(seconds(1));
  nodes[0]->Resume();
  nodes[1]->Resume();
  const v1::WatchResponse event = stream.Await(v1::EVENT_TYPE_EXTENDED);
  EXPECT_EQ(event.lease().fencing_token(), lease.fencing_token());
  EXPECT_EQ(Holding("key"), 3);
}

TEST_F(WatchTest, ADenialByAQuorumIsReportedAsALossAtOnce) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(30)));
  v1::WatchRequest request = Request({lease}, seconds(30));
  Set(request.mutable_items(0)->mutable_interval(), milliseconds(100));
  Stream stream;
  Open(stream, request);
  (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
  // Not deleted, because an extension between the two commands would restore the key on the first
  // node.
  (void)nodes[0]->Cli("SET key stranger");
  (void)nodes[1]->Cli("SET key stranger");
  EXPECT_EQ(stream.Await(v1::EVENT_TYPE_LOST).reason(), "LOCK_NOT_HELD");
}

TEST_F(WatchTest, ANodeThatLostTheKeyIsRepaired) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(30)));
  (void)nodes[0]->Cli("DEL key");
  v1::ExtendResponse response;
  ASSERT_TRUE(Extend(lease, seconds(30), response).ok());
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 3; }));
  EXPECT_EQ(nodes[0]->Cli("GET key"), lease.token());
}

TEST_F(WatchTest, ItemsOfOneStreamAreIndependent) {
  StartDaemon({"--shards", "2"});
  std::vector<v1::Lease> leases;
  for (const char* key : {"a", "b", "c"}) leases.push_back(MustAcquire(Wants(key, seconds(10))));
  v1::WatchRequest request = Request(leases, seconds(10));
  for (v1::WatchItem& item : *request.mutable_items()) {
    Set(item.mutable_interval(), milliseconds(50));
  }
  Stream stream;
  Open(stream, request);
  EXPECT_TRUE(Release(leases[1]).ok());
  std::set<std::string> alive;
  while (alive.size() < 2) alive.insert(stream.Await(v1::EVENT_TYPE_EXTENDED).key());
  for (const auto& node : nodes) (void)node->Cli("SET a stranger");
  EXPECT_EQ(stream.Await(v1::EVENT_TYPE_LOST).key(), "a");
  EXPECT_TRUE(Release(leases[2]).ok());
  EXPECT_TRUE(EndOf(*stream.reader).ok()) << "the last one was released";
}

TEST_F(WatchTest, KeepsWatchingAfterALossUntilTheLockIsAcquiredAgain) {
  StartDaemon();
  v1::Lease lease;
  lease.set_key("key");
  lease.set_token("mine");
  v1::WatchRequest request = Request({lease}, seconds(10));
  Set(request.mutable_items(0)->mutable_interval(), milliseconds(50));
  request.set_keep_watching_after_loss(true);
  Stream stream;
  Open(stream, request);  // before the lock is acquired
  (void)stream.Await(v1::EVENT_TYPE_LOST);
  v1::AcquireRequest acquire = Wants("key", seconds(10));
  acquire.set_token("mine");
  (void)MustAcquire(acquire);
  (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
}

TEST_F(WatchTest, LeavesTheLockToExpireAndEndsWithARelease) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  {
    Stream stream;
    Open(stream, Request({lease}, seconds(10)));
    (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
    stream.context.TryCancel();
  }
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(Holding("key"), 3);
  Stream stream;
  Open(stream, Request({lease}, seconds(10)));
  (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
  EXPECT_TRUE(Release(lease).ok());
  EXPECT_TRUE(EndOf(*stream.reader).ok());
  EXPECT_EQ(Holding("key"), 0);
}

TEST_F(WatchTest, NoValidityExceedsItsLifetime) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", milliseconds(100)));
  v1::WatchRequest request = Request({lease}, seconds(10));
  Set(request.mutable_max_lifetime(), milliseconds(400));
  Stream stream;
  Open(stream, request);
  EXPECT_EQ(stream.Await(v1::EVENT_TYPE_EXTENDED).lease().validity().seconds(), 0);
  EXPECT_EQ(Decode(EndOf(*stream.reader)).reason, "DEADLINE_EXCEEDED");
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, milliseconds(500)))
      << "its TTL was cut";
}

TEST_F(WatchTest, DrainingIsReportedAndTheLeaseMovesToAnotherDaemon) {
  StartDaemon({"--drain-timeout", "5s"});
  Daemon other(nodes);
  const v1::Lease lease = MustAcquire(Wants("key", seconds(2)));
  Stream stream;
  Open(stream, Request({lease}, seconds(2)));
  (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
  daemon->process().Signal(SIGTERM);
  (void)stream.Await(v1::EVENT_TYPE_DRAINING);
  EXPECT_EQ(MustNotAcquire(Wants("other", seconds(1))).reason, "DRAINING");

  const auto other_stub = v1::LockService::NewStub(
      grpc::CreateChannel(other.address(), grpc::InsecureChannelCredentials()));
  Stream moved;
  moved.reader = other_stub->Watch(&moved.context, Request({lease}, seconds(2)));
  EXPECT_EQ(moved.Next().type(), v1::EVENT_TYPE_EXTENDED);
  stream.context.TryCancel();
  EXPECT_EQ(daemon->process().Wait(), 0);
  EXPECT_EQ(moved.Next().lease().fencing_token(), lease.fencing_token());
  EXPECT_EQ(Holding("key"), 3);
}

class HoldTest : public WatchTest {
 protected:
  struct Held {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::HoldResponse>> reader;
    v1::HoldResponse Await(v1::EventType type) {
      v1::HoldResponse event;
      while (reader->Read(&event)) {
        if (event.type() == type) return event;
      }
      ADD_FAILURE() << "the stream ended without " << v1::EventType_Name(type);
      return event;
    }
  };
  void Open(Held& held, const std::string& key, milliseconds ttl) {
    v1::HoldRequest request;
    request.set_key(key);
    Set(request.mutable_ttl(), ttl);
    Open(held, request);
  }
  void Open(Held& held, const v1::HoldRequest& request) {
    held.context.set_deadline(std::chrono::system_clock::now() + kPatience);
    held.reader = stub->Hold(&held.context, request);
  }
};

TEST_F(HoldTest, IsExtendedWhileTheStreamIsOpenAndEndsWithARelease) {
  StartDaemon();
  Held held;
  Open(held, "key", milliseconds(300));
  const v1::HoldResponse acquired = held.Await(v1::EVENT_TYPE_ACQUIRED);
  EXPECT_EQ(acquired.lease().key(), "key");
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(held.Await(v1::EVENT_TYPE_EXTENDED).lease().fencing_token(),
              acquired.lease().fencing_token());
  }
  EXPECT_EQ(Holding("key"), 3);
  EXPECT_TRUE(Release(acquired.lease()).ok());
  EXPECT_TRUE(EndOf(*held.reader).ok());
  EXPECT_EQ(Holding("key"), 0);
}

// The client may not know of the end yet, and trusts the lock until its validity has passed.
TEST_F(HoldTest, ACancelledHoldExpires) {
  StartDaemon();
  Held held;
  Open(held, "key", seconds(1));
  (void)held.Await(v1::EVENT_TYPE_ACQUIRED);
  held.context.TryCancel();
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(Holding("key"), 3);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, milliseconds(1500)));
}

TEST_F(HoldTest, ReportsTheQueuePositionAndReceivesTheLockByHandOver) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(20)));
  Held first;
  Held second;
  Open(first, "key", seconds(10));
  EXPECT_EQ(first.Await(v1::EVENT_TYPE_QUEUED).position(), 0);
  Open(second, "key", seconds(10));
  EXPECT_EQ(second.Await(v1::EVENT_TYPE_QUEUED).position(), 1);
  EXPECT_TRUE(Release(lease).ok());
  const v1::HoldResponse acquired = first.Await(v1::EVENT_TYPE_ACQUIRED);
  EXPECT_GT(acquired.lease().fencing_token(), lease.fencing_token());
  EXPECT_EQ(second.Await(v1::EVENT_TYPE_QUEUED).position(), 0);
  EXPECT_TRUE(Release(acquired.lease()).ok());
  EXPECT_GT(second.Await(v1::EVENT_TYPE_ACQUIRED).lease().fencing_token(),
            acquired.lease().fencing_token());
}

TEST_F(HoldTest, InvalidInputIsReported) {
  StartDaemon();
  Held held;
  Open(held, "", seconds(0));
  v1::HoldResponse event;
  EXPECT_FALSE(held.reader->Read(&event));
  const Failure failure = Decode(EndOf(*held.reader));
  EXPECT_TRUE(failure.fields.contains("key"));
  EXPECT_TRUE(failure.fields.contains("ttl"));
}

TEST_F(HoldTest, MovesToAnotherDaemonWhileDraining) {
  StartDaemon({"--drain-timeout", "5s"});
  Daemon other(nodes);
  Held held;
  Open(held, "key", seconds(2));
  const v1::Lease lease = held.Await(v1::EVENT_TYPE_ACQUIRED).lease();
  daemon->process().Signal(SIGTERM);
  (void)held.Await(v1::EVENT_TYPE_DRAINING);
  const auto other_stub = v1::LockService::NewStub(
      grpc::CreateChannel(other.address(), grpc::InsecureChannelCredentials()));
  Stream moved;
  moved.reader = other_stub->Watch(&moved.context, Request({lease}, seconds(2)));
  EXPECT_EQ(moved.Next().type(), v1::EVENT_TYPE_EXTENDED);
  held.context.TryCancel();
  EXPECT_EQ(daemon->process().Wait(), 0);
  EXPECT_EQ(Holding("key"), 3);
  EXPECT_EQ(moved.Next().lease().fencing_token(), lease.fencing_token());
}

TEST_F(HoldTest, AHoldThatDoesNotMoveExpires) {
  StartDaemon({"--drain-timeout", "300ms"});
  Held held;
  Open(held, "key", seconds(2));
  (void)held.Await(v1::EVENT_TYPE_ACQUIRED);
  daemon->process().Signal(SIGTERM);
  (void)held.Await(v1::EVENT_TYPE_DRAINING);
  EXPECT_EQ(daemon->process().Wait(), 0);
  EXPECT_EQ(Holding("key"), 3);
  EXPECT_EQ(Decode(EndOf(*held.reader)).code, grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, seconds(3)));
}

TEST_F(HoldTest, TheLockOfAKilledDaemonExpiresWithItsTtlAndNotEarlier) {
  StartDaemon();
  Held held;
  Open(held, "key", seconds(1));
  (void)held.Await(v1::EVENT_TYPE_ACQUIRED);
  daemon->process().Signal(SIGKILL);
  (void)daemon->process().Wait();
  EXPECT_EQ(EndOf(*held.reader).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_GE(Holding("key"), 2);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, milliseconds(1500)));
}

TEST_F(HoldTest, AfterASuspendTheDaemonReportsTheLossFirst) {
  StartDaemon();
  Held held;
  Open(held, "key", milliseconds(500));
  (void)held.Await(v1::EVENT_TYPE_ACQUIRED);
  daemon->process().Signal(SIGSTOP);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));
  for (const auto& node : nodes) (void)node->Cli("SET key stranger NX");
  daemon->process().Signal(SIGCONT);
  std::vector<v1::EventType> events;
  for (v1::HoldResponse event; held.reader->Read(&event);) events.push_back(event.type());
  EXPECT_EQ(Decode(held.reader->Finish()).reason, "LOCK_NOT_HELD");
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back(), v1::EVENT_TYPE_LOST);
  EXPECT_EQ(std::count(events.begin(), events.end(), v1::EVENT_TYPE_EXTEND_FAILED), 0);
  for (const auto& node : nodes) EXPECT_EQ(node->Cli("GET key"), "stranger");
}

TEST_F(HoldTest, AfterASuspendDuringAnExtensionTheDaemonReportsTheLossFirst) {
  StartDaemon({"--node-timeout", "500ms"});
  Held held;
  v1::HoldRequest request;
  request.set_key("key");
  Set(request.mutable_ttl(), seconds(2));
  Set(request.mutable_interval(), milliseconds(100));
  Open(held, request);
  (void)held.Await(v1::EVENT_TYPE_ACQUIRED);
  for (const auto& node : nodes) node->Pause();
  std::this_thread::sleep_for(milliseconds(250));  // while an extension is under way
  daemon->process().Signal(SIGSTOP);
  std::this_thread::sleep_for(milliseconds(2200));
  daemon->process().Signal(SIGCONT);
  v1::EventType first = v1::EVENT_TYPE_EXTENDED;  // events from before the suspend
  for (v1::HoldResponse event; first == v1::EVENT_TYPE_EXTENDED && held.reader->Read(&event);) {
    first = event.type();
  }
  EXPECT_EQ(first, v1::EVENT_TYPE_LOST);
  for (const auto& node : nodes) node->Resume();
  EXPECT_EQ(Decode(EndOf(*held.reader)).reason, "LOCK_NOT_HELD");
}

TEST_F(HoldTest, RedlockctlHoldEndsIfTheDaemonIsSilent) {
  StartDaemon();
  auto held = std::async(std::launch::async, [this] { return daemon->Ctl("hold key --ttl 60s"); });
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 3; }));
  daemon->process().Signal(SIGSTOP);
  EXPECT_EQ(held.wait_for(seconds(20)), std::future_status::ready);
  daemon->process().Signal(SIGCONT);
  const Finished finished = held.get();
  EXPECT_EQ(finished.status, 6) << finished.output;
  EXPECT_NE(finished.output.find(daemon->address()), std::string::npos) << finished.output;
}

}  // namespace
}  // namespace redlock::testing
