// The daemon as its clients see it: over gRPC, on real nodes, through faults.
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "tests/support/daemon.h"

namespace redlock::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;

// What a failed call said.
struct Failure {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string reason;
  v1::Votes votes;
  std::optional<milliseconds> retry_after;
  std::map<std::string, std::string> fields;  // of BadRequest
  std::string message;
};

milliseconds ToMillis(const google::protobuf::Duration& duration) {
  return seconds(duration.seconds()) + milliseconds(duration.nanos() / 1'000'000);
}

void Set(google::protobuf::Duration* out, milliseconds duration) {
  out->set_seconds(duration.count() / 1000);
  out->set_nanos(static_cast<std::int32_t>(duration.count() % 1000) * 1'000'000);
}

Failure Decode(const grpc::Status& status) {
  Failure failure;
  failure.code = status.error_code();
  failure.message = status.error_message();
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    google::rpc::BadRequest bad;
    if (detail.UnpackTo(&info)) {
      EXPECT_EQ(info.domain(), "redlock.v1");
      failure.reason = info.reason();
    } else if (detail.UnpackTo(&retry)) {
      failure.retry_after = ToMillis(retry.retry_delay());
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& fault : bad.field_violations()) {
        failure.fields[fault.field()] = fault.description();
      }
    } else {
      EXPECT_TRUE(detail.UnpackTo(&failure.votes));
    }
  }
  return failure;
}

class ServiceTest : public ::testing::Test {
 protected:
  void StartDaemon(std::vector<std::string> arguments = {}) {
    daemon.emplace(nodes, std::move(arguments));
    stub = v1::LockService::NewStub(
        grpc::CreateChannel(daemon->address(), grpc::InsecureChannelCredentials()));
  }

  // A single try, unless told otherwise.
  static v1::AcquireRequest Wants(const std::string& key, milliseconds ttl, int max_retries = 0) {
    v1::AcquireRequest request;
    request.set_key(key);
    Set(request.mutable_ttl(), ttl);
    request.mutable_retry()->set_max_retries(max_retries);
    return request;
  }
  v1::Lease MustAcquire(const v1::AcquireRequest& request) {
    grpc::ClientContext context;
    v1::AcquireResponse response;
    const grpc::Status status = stub->Acquire(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.lease();
  }
  Failure MustNotAcquire(const v1::AcquireRequest& request, milliseconds patience = seconds(10)) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + patience);
    v1::AcquireResponse response;
    return Decode(stub->Acquire(&context, request, &response));
  }
  grpc::Status Extend(const v1::Lease& lease, milliseconds ttl, v1::ExtendResponse& response) {
    v1::ExtendRequest request;
    request.set_key(lease.key());
    request.set_token(lease.token());
    Set(request.mutable_ttl(), ttl);
    request.mutable_retry()->set_max_retries(0);
    grpc::ClientContext context;
    return stub->Extend(&context, request, &response);
  }
  grpc::Status Release(const v1::Lease& lease) {
    v1::ReleaseRequest request;
    request.set_key(lease.key());
    request.set_token(lease.token());
    grpc::ClientContext context;
    v1::ReleaseResponse response;
    return stub->Release(&context, request, &response);
  }
  v1::InspectResponse Inspect(const std::string& key) {
    v1::InspectRequest request;
    request.set_key(key);
    grpc::ClientContext context;
    v1::InspectResponse response;
    EXPECT_TRUE(stub->Inspect(&context, request, &response).ok());
    return response;
  }

  // Nodes on which the key exists.
  int Holding(const std::string& key) const {
    int holding = 0;
    for (const auto& node : nodes) holding += node->Cli("EXISTS " + key) == "1" ? 1 : 0;
    return holding;
  }
  bool Eventually(const std::function<bool()>& condition, milliseconds patience = seconds(5)) {
    const auto give_up = SteadyClock::now() + patience;
    while (!condition()) {
      if (SteadyClock::now() > give_up) return false;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return true;
  }

  std::vector<std::unique_ptr<RedisServer>> nodes = StartNodes(3);
  std::optional<Daemon> daemon;
  std::unique_ptr<v1::LockService::Stub> stub;
};

TEST_F(ServiceTest, ALockIsTakenExtendedAndGivenBack) {
  StartDaemon();
  v1::AcquireRequest request = Wants("key", seconds(10));
  request.set_owner("a person");
  const v1::Lease lease = MustAcquire(request);
  EXPECT_EQ(lease.key(), "key");
  EXPECT_GT(lease.fencing_token(), 0U);
  EXPECT_GT(ToMillis(lease.validity()), seconds(8));
  EXPECT_LT(ToMillis(lease.validity()), seconds(10));
  EXPECT_EQ(Holding("key"), 3);

  const v1::InspectResponse held = Inspect("key");
  EXPECT_TRUE(held.held());
  EXPECT_EQ(held.owner(), "a person");
  EXPECT_EQ(held.fencing_token(), lease.fencing_token());
  EXPECT_EQ(held.DebugString().find(lease.token()), std::string::npos) << "shows no token";

  const Failure refused = MustNotAcquire(Wants("key", seconds(10)));
  EXPECT_EQ(refused.code, grpc::StatusCode::ABORTED);
  EXPECT_EQ(refused.reason, "LOCK_ALREADY_HELD");
  EXPECT_GT(refused.retry_after.value_or(milliseconds(0)), seconds(8)) << "the rest of the TTL";
  EXPECT_GE(refused.votes.votes_size(), 2);

  v1::ExtendResponse extended;
  ASSERT_TRUE(Extend(lease, seconds(60), extended).ok());
  EXPECT_EQ(extended.lease().fencing_token(), lease.fencing_token());
  EXPECT_GT(ToMillis(extended.lease().validity()), seconds(50));

  EXPECT_TRUE(Release(lease).ok());
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));
  EXPECT_EQ(Decode(Release(lease)).reason, "LOCK_NOT_HELD");
  EXPECT_EQ(Decode(Extend(lease, seconds(1), extended)).reason, "LOCK_NOT_HELD");
  EXPECT_FALSE(Inspect("key").held());
}

TEST_F(ServiceTest, FencesGrowOverDaemons) {
  StartDaemon();
  Daemon other(nodes);
  auto other_stub = v1::LockService::NewStub(
      grpc::CreateChannel(other.address(), grpc::InsecureChannelCredentials()));
  std::uint64_t last = 0;
  for (int i = 0; i < 20; ++i) {
    stub.swap(other_stub);
    const v1::Lease lease = MustAcquire(Wants("key", seconds(10), -1));
    EXPECT_GT(lease.fencing_token(), last);
    last = lease.fencing_token();
    EXPECT_TRUE(Release(lease).ok());
  }
}

TEST_F(ServiceTest, RetriesAreCounted) {
  StartDaemon();
  (void)MustAcquire(Wants("key", seconds(10)));
  v1::AcquireRequest request = Wants("key", seconds(10), 2);
  Set(request.mutable_retry()->mutable_max_jitter(), milliseconds(5));
  const Failure failure = MustNotAcquire(request);
  EXPECT_EQ(failure.reason, "MAX_RETRIES_EXCEEDED");
  EXPECT_EQ(failure.code, grpc::StatusCode::ABORTED);
}

TEST_F(ServiceTest, OneNodeDeadIsNotNoticed) {
  StartDaemon();
  nodes[1]->Kill();
  for (int i = 0; i < 50; ++i) {
    const v1::Lease lease = MustAcquire(Wants("key" + std::to_string(i), seconds(10)));
    EXPECT_TRUE(Release(lease).ok());
  }
  nodes[1]->Start();
  EXPECT_TRUE(Eventually([this] {
    const v1::InspectResponse seen = Inspect("probe");
    return std::all_of(
               seen.votes().begin(), seen.votes().end(),
               [](const v1::Vote& vote) { return vote.outcome() == v1::VOTE_OUTCOME_NOT_HELD; }) &&
           seen.votes_size() == 3;
  })) << "the daemon reconnects by itself";
}

TEST_F(ServiceTest, TwoNodesDeadIsNamedAndRolledBack) {
  StartDaemon();
  nodes[0]->Kill();
  nodes[2]->Kill();
  const Failure failure = MustNotAcquire(Wants("key", seconds(10)));
  EXPECT_EQ(failure.code, grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(failure.reason, "QUORUM_UNAVAILABLE");
  EXPECT_TRUE(failure.retry_after.has_value());
  std::set<std::string> at_fault;
  for (const v1::Vote& vote : failure.votes.votes()) {
    if (vote.outcome() == v1::VOTE_OUTCOME_ERROR) {
      at_fault.insert(vote.node());
      EXPECT_FALSE(vote.message().empty());
    }
  }
  EXPECT_EQ(at_fault, (std::set<std::string>{"127.0.0.1:" + std::to_string(nodes[0]->port()),
                                             "127.0.0.1:" + std::to_string(nodes[2]->port())}));
  EXPECT_TRUE(Eventually([this] { return nodes[1]->Cli("EXISTS key") == "0"; }));
}

TEST_F(ServiceTest, AForeignLockOnAMajorityIsRespected) {
  StartDaemon();
  (void)nodes[0]->Cli("SET key stranger NX PX 400");
  (void)nodes[2]->Cli("SET key stranger NX PX 400");
  EXPECT_EQ(MustNotAcquire(Wants("key", seconds(10))).reason, "LOCK_ALREADY_HELD");
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10), -1));  // once it has expired
  EXPECT_EQ(nodes[0]->Cli("SET key stranger NX PX 400"), "") << "and it respects ours";
  EXPECT_EQ(nodes[0]->Cli("GET key"), lease.token()) << "stored as the Redis documentation does";
}

TEST_F(ServiceTest, AForeignLockOnAMinorityIsNot) {
  StartDaemon();
  (void)nodes[0]->Cli("SET key stranger NX PX 10000");
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  EXPECT_TRUE(Release(lease).ok());
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 1; }));
  EXPECT_EQ(nodes[0]->Cli("GET key"), "stranger");
}

TEST_F(ServiceTest, ADeadlineThatPassesWhileWaitingLeavesNothing) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  const Failure failure = MustNotAcquire(Wants("key", seconds(10), -1), milliseconds(300));
  EXPECT_EQ(failure.code, grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([this] { return Inspect("key").waiters() == 0; }));
  EXPECT_TRUE(Release(lease).ok());
  std::this_thread::sleep_for(milliseconds(400));  // longer than any pause between attempts
  EXPECT_EQ(Holding("key"), 0);
}

TEST_F(ServiceTest, ACancelledAcquireLeavesNothing) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  grpc::ClientContext context;
  v1::AcquireResponse response;
  grpc::Status status;
  std::thread waiter(
      [&] { status = stub->Acquire(&context, Wants("key", seconds(10), -1), &response); });
  EXPECT_TRUE(Eventually([this] { return Inspect("key").waiters() == 1; }));
  context.TryCancel();
  waiter.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([this] { return Inspect("key").waiters() == 0; }));
  EXPECT_TRUE(Release(lease).ok());
  std::this_thread::sleep_for(milliseconds(400));
  EXPECT_EQ(Holding("key"), 0);
}

TEST_F(ServiceTest, ARepetitionWithItsOwnTokenGetsTheSameLock) {
  StartDaemon();
  v1::AcquireRequest request = Wants("key", seconds(10));
  request.set_token("my own");
  request.set_extend_if_held(true);
  const v1::Lease first = MustAcquire(request);
  const v1::Lease second = MustAcquire(request);
  EXPECT_EQ(second.token(), "my own");
  EXPECT_EQ(second.fencing_token(), first.fencing_token());
}

TEST_F(ServiceTest, ATtlEndsOnItsOwn) {
  StartDaemon();
  (void)MustAcquire(Wants("key", milliseconds(100)));
  const v1::Lease next = MustAcquire(Wants("key", seconds(10), -1));
  EXPECT_GT(next.fencing_token(), 0U);
}

TEST_F(ServiceTest, ASmallTtlOverSlowNodesExpiresAndIsRolledBack) {
  StartDaemon({"--node-timeout", "2s"});
  nodes[0]->Pause();
  nodes[1]->Pause();
  std::thread later([this] {
    std::this_thread::sleep_for(milliseconds(200));
    nodes[0]->Resume();
    nodes[1]->Resume();
  });
  const Failure failure = MustNotAcquire(Wants("key", milliseconds(100)));
  later.join();
  EXPECT_EQ(failure.reason, "VALIDITY_EXPIRED");
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, milliseconds(80)))
      << "rolled back, not merely expired";
}

TEST_F(ServiceTest, BadInputIsNamedAndStoresNothing) {
  StartDaemon();
  v1::AcquireRequest request = Wants("redlockd:mine", seconds(10));
  request.mutable_ttl()->set_seconds(-5);
  request.set_extend_if_held(true);
  const Failure failure = MustNotAcquire(request);
  EXPECT_EQ(failure.code, grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(failure.reason, "INVALID_ARGUMENT");
  EXPECT_TRUE(failure.fields.contains("key"));
  EXPECT_TRUE(failure.fields.contains("ttl"));
  EXPECT_TRUE(failure.fields.contains("token"));
  for (const auto& node : nodes) EXPECT_EQ(node->Cli("DBSIZE"), "0");
}

class WatchTest : public ServiceTest {
 protected:
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader;
    v1::WatchResponse Next() {
      v1::WatchResponse event;
      EXPECT_TRUE(reader->Read(&event));
      return event;
    }
    // Reads until an event of this type comes.
    v1::WatchResponse Await(v1::EventType type) {
      v1::WatchResponse event;
      while (reader->Read(&event)) {
        if (event.type() == type) return event;
      }
      ADD_FAILURE() << "the stream ended without " << v1::EventType_Name(type);
      return event;
    }
  };

  static v1::WatchRequest Request(const std::vector<v1::Lease>& leases, milliseconds ttl) {
    v1::WatchRequest request;
    for (const v1::Lease& lease : leases) {
      v1::WatchItem& item = *request.add_items();
      item.set_key(lease.key());
      item.set_token(lease.token());
      Set(item.mutable_ttl(), ttl);
    }
    return request;
  }
  void Open(Stream& stream, const v1::WatchRequest& request) {
    stream.reader = stub->Watch(&stream.context, request);
  }
};

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
  EXPECT_EQ(stream.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }, seconds(2))) << "its TTL ends it";
}

TEST_F(WatchTest, LossIsToldBeforeTheTtlHasPassedWhenAllNodesStop) {
  StartDaemon();
  constexpr milliseconds kTtl(1500);
  const v1::Lease lease = MustAcquire(Wants("key", kTtl));
  Stream stream;
  Open(stream, Request({lease}, kTtl));
  (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
  const auto extended = SteadyClock::now();
  for (const auto& node : nodes) node->Pause();
  const v1::WatchResponse failed = stream.Await(v1::EVENT_TYPE_EXTEND_FAILED);
  EXPECT_EQ(failed.reason(), "QUORUM_UNAVAILABLE");
  EXPECT_EQ(failed.votes_size(), 3);
  const v1::WatchResponse lost = stream.Await(v1::EVENT_TYPE_LOST);
  EXPECT_LT(SteadyClock::now() - extended, kTtl);
  EXPECT_EQ(lost.reason(), "VALIDITY_EXPIRED");
  EXPECT_EQ(Decode(stream.reader->Finish()).reason, "LOCK_NOT_HELD");
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

TEST_F(WatchTest, AQuorumThatSaysNoIsLossAtOnce) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(30)));
  v1::WatchRequest request = Request({lease}, seconds(30));
  Set(request.mutable_items(0)->mutable_interval(), milliseconds(100));
  Stream stream;
  Open(stream, request);
  (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
  (void)nodes[0]->Cli("DEL key");
  (void)nodes[1]->Cli("DEL key");
  EXPECT_EQ(stream.Await(v1::EVENT_TYPE_LOST).reason(), "LOCK_NOT_HELD");
}

TEST_F(WatchTest, OneNodeThatLostTheKeyGetsItBack) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(30)));
  (void)nodes[0]->Cli("DEL key");
  v1::ExtendResponse response;
  ASSERT_TRUE(Extend(lease, seconds(30), response).ok());
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 3; }));
  EXPECT_EQ(nodes[0]->Cli("GET key"), lease.token());
}

TEST_F(WatchTest, SeveralItemsLiveAndEndOnTheirOwn) {
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
  EXPECT_EQ(stream.Await(v1::EVENT_TYPE_LOST).key(), "b");
  std::set<std::string> alive;
  while (alive.size() < 2) alive.insert(stream.Await(v1::EVENT_TYPE_EXTENDED).key());
  EXPECT_TRUE(Release(leases[0]).ok());
  EXPECT_TRUE(Release(leases[2]).ok());
  (void)stream.Await(v1::EVENT_TYPE_LOST);
  (void)stream.Await(v1::EVENT_TYPE_LOST);
  EXPECT_EQ(Decode(stream.reader->Finish()).reason, "LOCK_NOT_HELD");
}

TEST_F(WatchTest, KeepsWatchingAfterLossUntilTheLockIsBack) {
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

TEST_F(WatchTest, ReleasesOnCloseAndAtTheEndOfItsLifetime) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  v1::WatchRequest request = Request({lease}, seconds(10));
  request.set_release_on_close(true);
  {
    Stream stream;
    Open(stream, request);
    (void)stream.Await(v1::EVENT_TYPE_EXTENDED);
    stream.context.TryCancel();
  }
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));

  const v1::Lease next = MustAcquire(Wants("key", seconds(10)));
  request = Request({next}, seconds(10));
  request.set_release_on_close(true);
  Set(request.mutable_max_lifetime(), milliseconds(200));
  Stream stream;
  Open(stream, request);
  v1::WatchResponse event;
  while (stream.reader->Read(&event)) {
  }
  EXPECT_EQ(Decode(stream.reader->Finish()).reason, "DEADLINE_EXCEEDED");
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));
}

TEST_F(WatchTest, DrainingIsToldAndTheLeaseMovesToAnotherDaemon) {
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

class ProcessTest : public ServiceTest {};

TEST_F(ProcessTest, RedlockctlSaysWhatHappened) {
  StartDaemon();
  const Finished taken = daemon->Ctl("acquire job --ttl 10s --token secret-word --owner me");
  EXPECT_EQ(taken.status, 0) << taken.output;
  EXPECT_EQ(daemon->Ctl("acquire job --try").status, 3);
  EXPECT_EQ(daemon->Ctl("acquire job --timeout 100ms").status, 3);
  EXPECT_EQ(daemon->Ctl("extend job --token wrong").status, 4);
  EXPECT_EQ(daemon->Ctl("acquire job --ttl forever").status, 2);
  EXPECT_EQ(daemon->Ctl("acquire job --ttl 0s").status, 2);
  const Finished inspected = daemon->Ctl("inspect job --output json");
  EXPECT_NE(inspected.output.find("\"held\":true"), std::string::npos) << inspected.output;
  EXPECT_EQ(inspected.output.find("secret-word"), std::string::npos);
  EXPECT_EQ(daemon->Ctl("release job --token secret-word").status, 0);
  nodes[0]->Kill();
  nodes[1]->Kill();
  const Finished failed = daemon->Ctl("acquire job --try");
  EXPECT_EQ(failed.status, 5);
  EXPECT_NE(failed.output.find(std::to_string(nodes[0]->port())), std::string::npos)
      << failed.output;
  daemon->process().Signal(SIGTERM);
  EXPECT_EQ(daemon->process().Wait(), 0);
  EXPECT_EQ(daemon->Ctl("inspect job").status, 6);
  EXPECT_EQ(daemon->Log().find("secret-word"), std::string::npos) << "no token in a log";
}

TEST_F(ProcessTest, NoTokenIsLoggedAtAnyLevel) {
  StartDaemon({"--log-level", "trace", "--log-format", "json"});
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  nodes[0]->Kill();
  v1::ExtendResponse response;
  (void)Extend(lease, seconds(10), response);
  (void)Release(lease);
  daemon->process().Signal(SIGTERM);
  (void)daemon->process().Wait();
  const std::string log = daemon->Log();
  EXPECT_NE(log.find("\"level\""), std::string::npos) << log;
  EXPECT_EQ(log.find(lease.token()), std::string::npos);
}

TEST_F(ProcessTest, BadConfigurationIsRefusedAtStart) {
  const auto refused = [](const std::string& arguments) {
    const Finished finished = Shell(kRedlockd + " " + arguments);
    EXPECT_NE(finished.status, 0);
    return finished.output;
  };
  EXPECT_NE(refused("--node http://a:1").find("http://a:1"), std::string::npos);
  EXPECT_NE(refused("--node redis://a:1 --node redis://a:1").find("a:1: given twice"),
            std::string::npos);
  EXPECT_NE(refused("").find("--node"), std::string::npos);
  EXPECT_NE(refused("--node redis://a:1 --shards 0").find("--shards"), std::string::npos);
}

TEST_F(ProcessTest, ASecondDaemonOnThePortIsRefused) {
  StartDaemon();
  const Finished second = Shell(kRedlockd + " --listen " + daemon->address() +
                                " --node redis://127.0.0.1:" + std::to_string(nodes[0]->port()));
  EXPECT_NE(second.status, 0);
  EXPECT_NE(second.output.find(daemon->address()), std::string::npos) << second.output;
}

TEST_F(ProcessTest, UnreachableNodesAreNotFatal) {
  nodes[0]->Kill();
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  EXPECT_TRUE(Release(lease).ok());
  EXPECT_NE(daemon->Log().find("not connected"), std::string::npos);
}

TEST_F(ProcessTest, DevEndsItsNodesWithItself) {
  TemporaryDirectory directory;
  const std::string address = "127.0.0.1:" + std::to_string(FreePort());
  Process dev({kRedlockd, "--dev", "--listen", address}, directory.path() + "/log");
  const std::string ctl = kRedlockctl + " --server " + address;
  EXPECT_TRUE(Eventually([&] { return Shell(ctl + " acquire key --try").status == 0; }));
  const std::string children =
      Shell("cat /proc/" + std::to_string(dev.pid()) + "/task/*/children").output;
  EXPECT_FALSE(children.empty());
  dev.Signal(SIGKILL);
  (void)dev.Wait();
  EXPECT_TRUE(Eventually([&] { return Shell("kill -0 " + children).status != 0; }))
      << "even when it is killed";
}

}  // namespace
}  // namespace redlock::testing
