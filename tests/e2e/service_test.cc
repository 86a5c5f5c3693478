// The unary calls and the processes, as clients see them: over gRPC, on real nodes, with faults.
#include "tests/e2e/service_fixture.h"

namespace redlock::testing {
namespace {

TEST_F(ServiceTest, ALockIsAcquiredExtendedAndReleased) {
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
  EXPECT_EQ(held.DebugString().find(lease.token()), std::string::npos)
      << "the response must not contain the token";

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

TEST_F(ServiceTest, FencesGrowAcrossDaemons) {
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

TEST_F(ServiceTest, OneDeadNodeDoesNotAffectClients) {
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
               [](const v1::Vote& vote) { return vote.outcome() != v1::VOTE_OUTCOME_ERROR; }) &&
           seen.votes_size() == 3;
  })) << "the daemon reconnects by itself";
}

TEST_F(ServiceTest, WithoutAQuorumNoKeyIsReportedAsFree) {
  StartDaemon();
  EXPECT_FALSE(Inspect("key").undecided());
  nodes[2]->Kill();
  EXPECT_FALSE(Inspect("key").undecided()) << "two nodes have reported that the key is free";
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  EXPECT_TRUE(Inspect("key").held());
  nodes[1]->Kill();
  for (const char* key : {"key", "other"}) {
    const v1::InspectResponse seen = Inspect(key);
    EXPECT_FALSE(seen.held());
    EXPECT_TRUE(seen.undecided()) << key;
    EXPECT_EQ(seen.votes_size(), 3);
  }
  const Finished inspected = daemon->Ctl("inspect other");
  EXPECT_EQ(inspected.status, 5);
  EXPECT_NE(inspected.output.find("other may be held: too few nodes can tell"), std::string::npos)
      << inspected.output;
  EXPECT_EQ(daemon->Ctl("force-release other --why test").status, 5);
  EXPECT_EQ(daemon->Ctl("force-release key --why test").status, 5)
      << "only one node of three has released it";
}

TEST_F(ServiceTest, TwoDeadNodesAreReportedAndTheGrantIsRolledBack) {
  StartDaemon();
  nodes[0]->Kill();
  nodes[2]->Kill();
  const Failure failure = MustNotAcquire(Wants("key", seconds(10)));
  EXPECT_EQ(failure.code, grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(failure.reason, "QUORUM_UNAVAILABLE");
  EXPECT_TRUE(failure.retry_after.has_value());
  std::set<std::string> at_fault;
  std::string messages;  // the same text is given once
  for (const v1::Vote& vote : failure.votes.votes()) {
    if (vote.outcome() == v1::VOTE_OUTCOME_ERROR) {
      at_fault.insert(vote.node());
      messages += vote.message();
    }
  }
  EXPECT_FALSE(messages.empty());
  EXPECT_EQ(at_fault, (std::set<std::string>{"127.0.0.1:" + std::to_string(nodes[0]->port()),
                                             "127.0.0.1:" + std::to_string(nodes[2]->port())}));
  EXPECT_TRUE(Eventually([this] { return nodes[1]->Cli("EXISTS key") == "0"; }));
}

TEST_F(ServiceTest, AForeignLockOnAMajorityIsRespected) {
  StartDaemon();
  (void)nodes[0]->Cli("SET key stranger NX PX 400");
  (void)nodes[2]->Cli("SET key stranger NX PX 400");
  EXPECT_EQ(MustNotAcquire(Wants("key", seconds(10))).reason, "LOCK_ALREADY_HELD");
  const v1::Lease lease =
      MustAcquire(Wants("key", seconds(10), -1));  // acquired when the lock has expired
  EXPECT_EQ(nodes[0]->Cli("SET key stranger NX PX 400"), "")
      << "the foreign client respects our lock";
  EXPECT_EQ(nodes[0]->Cli("GET key"), lease.token()) << "stored as in the Redis documentation";
}

TEST_F(ServiceTest, AForeignLockOnAMinorityIsIgnored) {
  StartDaemon();
  (void)nodes[0]->Cli("SET key stranger NX PX 10000");
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  EXPECT_TRUE(Release(lease).ok());
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 1; }));
  EXPECT_EQ(nodes[0]->Cli("GET key"), "stranger");
}

TEST_F(ServiceTest, ADeadlineThatPassesWhileWaitingLeavesNoLock) {
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  const Failure failure = MustNotAcquire(Wants("key", seconds(10), -1), milliseconds(300));
  EXPECT_EQ(failure.code, grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([this] { return Inspect("key").waiters() == 0; }));
  EXPECT_TRUE(Release(lease).ok());
  std::this_thread::sleep_for(milliseconds(400));  // longer than the pause between two attempts
  EXPECT_EQ(Holding("key"), 0);
}

TEST_F(ServiceTest, ACancelledAcquireLeavesNoLock) {
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

TEST_F(ServiceTest, ARepeatedAcquireWithTheSameTokenGetsTheSameLock) {
  StartDaemon();
  v1::AcquireRequest request = Wants("key", seconds(10));
  request.set_token("my own");
  request.set_extend_if_held(true);
  const v1::Lease first = MustAcquire(request);
  const v1::Lease second = MustAcquire(request);
  EXPECT_EQ(second.token(), "my own");
  EXPECT_EQ(second.fencing_token(), first.fencing_token());
}

TEST_F(ServiceTest, ALockExpiresWhenItsTtlHasPassed) {
  StartDaemon();
  (void)MustAcquire(Wants("key", milliseconds(100)));
  const v1::Lease next = MustAcquire(Wants("key", seconds(10), -1));
  EXPECT_GT(next.fencing_token(), 0U);
}

TEST_F(ServiceTest, AShortTtlOnSlowNodesExpiresAndIsRolledBack) {
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
      << "it is rolled back and does not just expire";
}

TEST_F(ServiceTest, InvalidInputIsReportedAndStoresNothing) {
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
  for (const auto& node : nodes) EXPECT_EQ(node->Cli("DBSIZE"), "2");
}

class ProcessTest : public ServiceTest {};

TEST_F(ProcessTest, RedlockctlReportsTheResultByItsExitStatus) {
  StartDaemon();
  const Finished acquired = daemon->Ctl("acquire job --ttl 10s --token secret-word --owner me");
  EXPECT_EQ(acquired.status, 0) << acquired.output;
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
  EXPECT_EQ(daemon->Log().find("secret-word"), std::string::npos) << "a token must not be logged";
}

TEST_F(ProcessTest, RedlockctlRunExecutesACommandWhileItHoldsTheLock) {
  StartDaemon();
  const Finished done =
      daemon->Ctl("run job -- sh -c 'echo key $REDLOCK_KEY fence $REDLOCK_FENCING_TOKEN; exit 7'");
  EXPECT_EQ(done.status, 7) << "the exit status of the command";
  EXPECT_NE(done.output.find("key job fence 1"), std::string::npos) << done.output;
  EXPECT_EQ(Holding("job"), 0) << "released before the program exits";
  EXPECT_EQ(daemon->Ctl("run job -- /no/such/command").status, 127);
  const v1::Lease lease = MustAcquire(Wants("job", seconds(30)));
  EXPECT_EQ(daemon->Ctl("run job --try -- true").status, 123);
  EXPECT_EQ(daemon->Ctl("run job --wait 50ms -- true").status, 123);
  const Finished retried =
      daemon->Ctl("acquire job --max-retries 1 --min-delay 10ms --max-jitter 10ms");
  EXPECT_EQ(retried.status, 3);
  EXPECT_NE(retried.output.find("retries are used up"), std::string::npos) << retried.output;
  EXPECT_EQ(daemon->Ctl("run job --timeout 100ms -- true").status, 123);
  EXPECT_TRUE(Release(lease).ok());

  TemporaryDirectory directory;
  Process running(
      {kRedlockctl, "--server", daemon->address(), "run", "job", "--ttl", "1s", "--grace", "200ms",
       "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"},
      directory.path() + "/log");
  ASSERT_TRUE(Eventually([this] { return Holding("job") == 3; }));
  for (const auto& node : nodes) node->Pause();
  EXPECT_EQ(running.Wait(), 122) << "after the loss the command was ended, finally by SIGKILL";
  for (const auto& node : nodes) node->Resume();
}

TEST_F(ProcessTest, TokensAreNotLoggedAtAnyLevel) {
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

TEST_F(ProcessTest, LogLinesContainTheRequestId) {
  StartDaemon({"--log-level", "debug", "--log-format", "json"});
  const auto acquire = [this](const std::string& key, const std::string& id) {
    grpc::ClientContext context;
    if (!id.empty()) context.AddMetadata("x-request-id", id);
    context.AddMetadata("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    v1::AcquireResponse response;
    (void)stub->Acquire(&context, Wants(key, seconds(10)), &response);
    const auto& trailer = context.GetServerTrailingMetadata();
    const auto found = trailer.find("x-request-id");
    return found == trailer.end() ? "" : std::string(found->second.data(), found->second.size());
  };
  EXPECT_EQ(acquire("one\nline", "order-17"), "") << "only failed calls are logged";
  EXPECT_EQ(acquire("one\nline", "order-18"), "order-18");
  EXPECT_EQ(acquire("one\nline", "not fit for a log").size(), 16U)
      << "the daemon made an identifier";
  EXPECT_TRUE(Eventually(
      [this] { return daemon->Log().find(R"("request_id":"order-18")") != std::string::npos; }));
  const std::string log = daemon->Log();
  EXPECT_NE(log.find(R"(Acquire \"one\u000aline\": OK after)"), std::string::npos) << log;
  EXPECT_NE(log.find(R"("request_id":"order-17","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",)"
                     R"("span_id":"00f067aa0ba902b7"})"),
            std::string::npos)
      << log;
  EXPECT_NE(log.find("LOCK_ALREADY_HELD"), std::string::npos) << log;
}

TEST_F(ProcessTest, InvalidConfigurationIsRejectedAtStartup) {
  const auto refused = [](const std::string& arguments) {
    const Finished finished = Shell(kRedlockd + " " + arguments);
    EXPECT_NE(finished.status, 0);
    return finished.output;
  };
  EXPECT_NE(refused("--node http://a:1").find("--node #1: the scheme"), std::string::npos);
  EXPECT_NE(refused("--node redis://a:1 --node redis://a:1").find("a:1: given twice"),
            std::string::npos);
  EXPECT_NE(refused("").find("--node"), std::string::npos);
  EXPECT_NE(refused("--node redis://a:1 --shards 0").find("--shards"), std::string::npos);
}

TEST_F(ProcessTest, ASecondDaemonOnTheSamePortFails) {
  StartDaemon();
  const Finished second = Shell(kRedlockd + " --listen " + daemon->address() +
                                " --node redis://127.0.0.1:" + std::to_string(nodes[0]->port()));
  EXPECT_NE(second.status, 0);
  EXPECT_NE(second.output.find(daemon->address()), std::string::npos) << second.output;
}

TEST_F(ProcessTest, UnreachableNodesAreNotFatal) {
  StartDaemon();  // the first start of a node set needs all nodes
  nodes[0]->Kill();
  StartDaemon();
  const v1::Lease lease = MustAcquire(Wants("key", seconds(10)));
  EXPECT_TRUE(Release(lease).ok());
  EXPECT_TRUE(Logs(*daemon, "not connected"));
}

TEST_F(ProcessTest, DevModeStopsItsNodesWhenItExits) {
  TemporaryDirectory directory;
  const auto start = [this, &directory] {
    const std::string address = "127.0.0.1:" + std::to_string(FreePort());
    auto dev = std::make_unique<Process>(
        std::vector<std::string>{"/usr/bin/env", "TMPDIR=" + directory.path(), kRedlockd, "--dev",
                                 "--listen", address},
        directory.path() + "/log");
    const std::string acquire = kRedlockctl + " --server " + address + " acquire key --try";
    EXPECT_TRUE(Eventually([&] { return Shell(acquire).status == 0; }));
    return dev;
  };
  const auto directories = [&directory] {
    return Shell("cd " + directory.path() + " && echo redlockd-dev-*").output;
  };
  const auto first = start();
  Process& dev = *first;
  const std::string children =
      Shell("cat /proc/" + std::to_string(dev.pid()) + "/task/*/children").output;
  EXPECT_FALSE(children.empty());
  dev.Signal(SIGKILL);
  (void)dev.Wait();
  EXPECT_TRUE(Eventually([&] { return Shell("kill -0 " + children).status != 0; }))
      << "even if it is killed";
  const std::string left = directories();
  const auto second = start();
  const std::string of_second = directories();
  EXPECT_NE(of_second, left) << "the next daemon has not removed what the first has left";
  const auto third = start();
  EXPECT_TRUE(Eventually([&] { return directories().size() == of_second.size() * 2; }))
      << directories() << ": a daemon that lives needs its directory";
  second->Signal(SIGTERM);
  third->Signal(SIGTERM);
  (void)second->Wait();
  (void)third->Wait();
  EXPECT_EQ(directories(), "redlockd-dev-*\n");
}

}  // namespace
}  // namespace redlock::testing
