// Tests of the C++ library against real daemons.
#include "redlock/client.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>

#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "tests/client/eventually.h"
#include "tests/support/daemon.h"

namespace redlock::client {
namespace {

using redlock::testing::Daemon;
using std::chrono::milliseconds;
using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;
using Stream = grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>;

class ClientTest : public ::testing::Test {
 protected:
  void SetUp() override { first.emplace(nodes); }

  Options To(const std::vector<std::string>& endpoints) { return {.endpoints = endpoints}; }
  Client& Open(const Options& options) { return client.emplace(options); }
  Client& Open() { return Open(To({first->address()})); }
  int Holding(const std::string& key) const {
    int holding = 0;
    for (const auto& node : nodes) holding += node->Cli("EXISTS " + key) == "1" ? 1 : 0;
    return holding;
  }

  std::vector<std::unique_ptr<redlock::testing::RedisServer>> nodes =
      redlock::testing::StartNodes(3);
  std::optional<Daemon> first;
  std::optional<Client> client;
};

TEST_F(ClientTest, AcquiresExtendsAndReleasesALock) {
  Options options = To({first->address()});
  options.grace = seconds(100);
  Open(options);
  Result<Lock> lock = client->acquire("key", {.ttl = seconds(10), .owner = "tester"});
  ASSERT_TRUE(lock) << lock.error().message;
  EXPECT_EQ(lock->key(), "key");
  EXPECT_FALSE(lock->token().empty());
  EXPECT_GT(lock->fencing_token(), 0U);
  EXPECT_GT(lock->validity(), seconds(8));
  EXPECT_LE(lock->validity(), seconds(10));
  EXPECT_FALSE(lock->lost().stop_requested());
  EXPECT_EQ(Holding("key"), 3);
  EXPECT_TRUE(lock->extend(seconds(60)));
  EXPECT_GT(lock->validity(), seconds(50));
  EXPECT_TRUE(lock->release());
  EXPECT_EQ(lock->validity(), Duration{});
  EXPECT_FALSE(lock->lost().stop_requested()) << "a release is not a loss";
  EXPECT_TRUE(lock->release()) << "a second release does nothing";
  EXPECT_EQ(lock->extend(seconds(60)).error().reason, Reason::kLockNotHeld);
  EXPECT_EQ(Holding("key"), 0);
}

TEST_F(ClientTest, TrustLastsAtMostTheGraceAfterTheLastAnsweredMessage) {
  Options options = To({first->address()});
  options.grace = seconds(2);
  auto lock = Open(options).acquire("key");
  ASSERT_TRUE(lock);
  EXPECT_LE(lock->validity(), milliseconds(1978));
  std::this_thread::sleep_for(seconds(3));
  EXPECT_TRUE(lock->held()) << "pings are answered";
  options.grace = milliseconds(99);
  EXPECT_THROW(Client{options}, std::invalid_argument);
}

TEST_F(ClientTest, TheLocksOfACrashedClientAreFreeAfterTheGrace) {
  redlock::testing::Process holder({redlock::testing::kRedlockctl, "--server", first->address(),
                                    "run", "key", "--", "sleep", "10"},
                                   "/dev/null");
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 3; }));
  // The child of the process that was started holds the lock.
  const std::string pid = std::to_string(holder.pid());
  std::ifstream children("/proc/" + pid + "/task/" + pid + "/children");
  pid_t client_process = 0;
  ASSERT_TRUE(children >> client_process);
  kill(client_process, SIGKILL);
  EXPECT_EQ(holder.Wait(), 125);
  const auto start = SteadyClock::now();
  std::this_thread::sleep_for(seconds(3));
  EXPECT_EQ(Holding("key"), 3) << "the client might still reconnect";
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));
  EXPECT_LT(SteadyClock::now() - start, seconds(7)) << "far less than the TTL";
}

TEST_F(ClientTest, ALockIsReleasedByItsDestructor) {
  Open();
  {
    const auto lock = client->acquire("key");
    ASSERT_TRUE(lock);
  }
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));
  std::optional<Lock> moved;
  {
    auto lock = client->acquire("key");
    ASSERT_TRUE(lock);
    moved.emplace(std::move(*lock));
  }
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(Holding("key"), 3);
  moved.reset();
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));
}

TEST_F(ClientTest, ASingleTryReportsWhenTheLockMayBeFree) {
  Open();
  const auto lock = client->acquire("key", {.ttl = seconds(10)});
  ASSERT_TRUE(lock);
  const auto second = client->acquire("key", {.ttl = seconds(10), .wait = seconds(0)});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().reason, Reason::kLockAlreadyHeld);
  EXPECT_GT(second.error().retry_after, seconds(5));
}

TEST_F(ClientTest, WaitersAreServedInOrderAndLearnTheirPosition) {
  Open();
  auto lock = client->acquire("key");
  ASSERT_TRUE(lock);
  std::vector<std::future<Result<Lock>>> waiting;
  std::atomic<int> last_position = -1;
  for (int i = 0; i < 3; ++i) {
    waiting.push_back(client->acquire_async(
        "key", {.queued = [&last_position](int position) { last_position = position; }}));
    EXPECT_TRUE(Eventually([&] { return last_position == i; })) << last_position;
  }
  std::uint64_t fence = lock->fencing_token();
  EXPECT_TRUE(lock->release());
  for (auto& one : waiting) {
    auto next = one.get();
    ASSERT_TRUE(next);
    EXPECT_GT(next->fencing_token(), std::exchange(fence, next->fencing_token()));
  }
}

TEST_F(ClientTest, GivesUpWhenTheWaitEnds) {
  Open();
  const auto lock = client->acquire("key");
  ASSERT_TRUE(lock);
  const auto start = SteadyClock::now();
  const auto second = client->acquire("key", {.wait = milliseconds(200)});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().reason, Reason::kDeadlineExceeded);
  EXPECT_GE(SteadyClock::now() - start, milliseconds(200));
}

TEST_F(ClientTest, GivesUpWhenAStopIsRequested) {
  Open();
  auto lock = client->acquire("key");
  ASSERT_TRUE(lock);
  std::stop_source stop;
  std::atomic<bool> queued = false;
  auto second = client->acquire_async(
      "key", {.stop = stop.get_token(), .queued = [&queued](int) { queued = true; }});
  EXPECT_TRUE(Eventually([&queued] { return queued.load(); }));
  stop.request_stop();
  EXPECT_EQ(second.get().error().reason, Reason::kCancelled);
  // A quick daemon could grant it before the client has looked.
  for (int i = 0; i < 200; ++i) {
    const auto late = client->acquire("other", {.stop = stop.get_token()});
    ASSERT_FALSE(late) << "although the stop was requested before";
    EXPECT_EQ(late.error().reason, Reason::kCancelled);
  }
  EXPECT_TRUE(lock->release());
  EXPECT_TRUE(Eventually([this] { return Holding("key") + Holding("other") == 0; }));
}

TEST_F(ClientTest, WithLockReleasesEvenIfTheFunctionThrows) {
  Open();
  const auto seven = client->with_lock("key", {}, [this](const Lock& lock) {
    EXPECT_TRUE(lock.held());
    EXPECT_EQ(Holding("key"), 3);
    return 7;
  });
  ASSERT_TRUE(seven);
  EXPECT_EQ(*seven, 7);
  EXPECT_EQ(Holding("key"), 0);
  EXPECT_TRUE(client->with_lock("key", {}, [](const Lock&) {}));
  EXPECT_THROW((void)client->with_lock("key", {}, [](const Lock&) { throw 1; }), int);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));
}

TEST_F(ClientTest, InvalidInputIsReported) {
  Open();
  const auto no_key = client->acquire("");
  EXPECT_EQ(no_key.error().reason, Reason::kInvalidArgument);
  EXPECT_NE(no_key.error().message.find("key"), std::string::npos) << no_key.error().message;
  const auto short_ttl = client->acquire("key", {.ttl = milliseconds(1)});
  EXPECT_NE(short_ttl.error().message.find("ttl"), std::string::npos) << short_ttl.error().message;
  EXPECT_THROW(Client({.endpoints = {}}), std::invalid_argument);
  EXPECT_THROW(Client({.endpoints = {"127.0.0.1:1", "127.0.0.1:65536"}}), std::invalid_argument);
  EXPECT_THROW(Client({.ca_file = "/nowhere"}), std::invalid_argument);
  EXPECT_THROW((void)client->acquire("").value(), LockError);
}

// The client refuses some values, and the daemon the others.
TEST_F(ClientTest, AnInvalidCallCostsNoOtherLock) {
  Open();
  auto lock = client->acquire("held");
  ASSERT_TRUE(lock);
  const std::vector<std::pair<std::string, AcquireOptions>> invalid = {
      {"", {}},
      {"\xff", {}},
      {std::string(513, 'k'), {}},
      {"redlockd:set", {}},
      {"k", {.ttl = Duration(0)}},
      {"k", {.ttl = Duration(-1)}},
      {"k", {.ttl = std::chrono::hours(1'000)}},
      {"k", {.ttl = Duration::max()}},
      {"k", {.token = "\xff"}},
      {"k", {.token = std::string(129, 't')}},
      {"k", {.owner = "\xc3"}},
      {"k", {.owner = std::string(129, 'o')}},
      {"k", {.margin = Duration(-1)}},
      {"k", {.margin = Duration::max()}},
  };
  for (const auto& [key, options] : invalid) {
    const auto refused = client->acquire(key, options);
    ASSERT_FALSE(refused) << key;
    EXPECT_EQ(refused.error().reason, Reason::kInvalidArgument) << refused.error().message;
  }
  for (const Duration ttl : {Duration(0), Duration(std::chrono::hours(1'000)), Duration::max()}) {
    EXPECT_EQ(lock->extend(ttl).error().reason, Reason::kInvalidArgument);
  }
  EXPECT_TRUE(lock->held());
  EXPECT_TRUE(lock->extend(seconds(60)));
  EXPECT_TRUE(client->acquire("k"));
}

TEST_F(ClientTest, ASingleTryReportsAnUnreachableDaemonAtOnce) {
  const auto lock = Open(To({"127.0.0.1:1"})).try_acquire("key");
  ASSERT_FALSE(lock);
  EXPECT_EQ(lock.error().reason, Reason::kUnreachable);
  EXPECT_NE(lock.error().message.find("127.0.0.1:1"), std::string::npos) << lock.error().message;
}

TEST_F(ClientTest, TheSecondEndpointIsUsedIfTheFirstIsUnreachable) {
  EXPECT_TRUE(Open(To({"127.0.0.1:1", first->address()})).acquire("key"));
}

TEST_F(ClientTest, LocksMoveToAnotherDaemonWhenTheirDaemonIsKilled) {
  Daemon second(nodes);
  Open(To({first->address(), second.address()}));
  auto lock = client->acquire("key", {.ttl = seconds(6)});
  ASSERT_TRUE(lock);
  auto waiting = client->acquire_async("other", {.ttl = seconds(6)});
  ASSERT_TRUE(waiting.get());
  first->process().Signal(SIGKILL);
  (void)first->process().Wait();
  // Much longer than the TTL.
  const auto end = SteadyClock::now() + seconds(9);
  while (SteadyClock::now() < end) {
    ASSERT_TRUE(lock->held()) << lock->loss()->message;
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_NE(second.Ctl("leases").output.find("key"), std::string::npos);
  EXPECT_TRUE(lock->release());
  EXPECT_EQ(Holding("key"), 0);
}

TEST_F(ClientTest, LocksAndWaitersMoveWhenTheirDaemonIsDrained) {
  Daemon second(nodes);
  Open(To({first->address(), second.address()}));
  auto lock = client->acquire("key", {.ttl = seconds(4)});
  ASSERT_TRUE(lock);
  auto waiting = client->acquire_async("key", {.ttl = seconds(4)});
  std::this_thread::sleep_for(milliseconds(100));
  first->process().Signal(SIGTERM);
  EXPECT_EQ(first->process().Wait(), 0);
  std::this_thread::sleep_for(seconds(5));
  EXPECT_TRUE(lock->held()) << lock->loss()->message;
  const std::uint64_t fence = lock->fencing_token();
  EXPECT_TRUE(lock->release());
  auto next = waiting.get();
  ASSERT_TRUE(next) << next.error().message;
  EXPECT_GT(next->fencing_token(), fence);
}

// Announces that it drains, and answers earlier operations only after the client has repeated them
// at another daemon.
class LateDaemon final : public v1::LockService::Service {
 public:
  LateDaemon() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  [[nodiscard]] const std::string& address() const { return address_; }
  // Returns when the client has received the answer, or is about to.
  void AnswerNow() {
    now_.set_value();
    answered_.get_future().wait();
  }

  grpc::Status Session(grpc::ServerContext* /*context*/, Stream* stream) override {
    v1::SessionRequest request;
    std::uint64_t acquire = 0;
    while (acquire == 0 && stream->Read(&request)) {
      for (const v1::SessionOperation& operation : request.operations()) {
        if (operation.has_acquire()) {
          acquire = operation.id();
        } else {
          stream->Write(ResultOf(operation.id()));
        }
      }
    }
    v1::SessionResponse draining = Response();
    draining.add_events()->set_type(v1::EVENT_TYPE_DRAINING);
    stream->Write(draining);
    now_.get_future().wait();
    v1::SessionResponse late = ResultOf(acquire);
    late.mutable_results(0)->mutable_status()->set_reason("DRAINING");
    stream->Write(late);
    answered_.set_value();
    return grpc::Status::OK;
  }

 private:
  static v1::SessionResponse Response() {
    v1::SessionResponse response;
    const auto now = SteadyClock::now().time_since_epoch();
    response.mutable_clock()->set_seconds(std::chrono::floor<seconds>(now).count());
    return response;
  }
  static v1::SessionResponse ResultOf(std::uint64_t id) {
    v1::SessionResponse response = Response();
    response.add_results()->set_id(id);
    return response;
  }

  std::string address_;
  std::promise<void> now_;
  std::promise<void> answered_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(ClientTest, ALateRefusalByADrainedDaemonIsIgnored) {
  LateDaemon late;
  Client holder(To({first->address()}));
  auto held = holder.acquire("key");
  ASSERT_TRUE(held);
  Open(To({late.address(), first->address()}));
  auto waiting = client->acquire_async("key");
  EXPECT_TRUE(Eventually([this] {
    return first->Ctl("inspect key").output.find("waiting here   1") != std::string::npos;
  }));
  late.AnswerNow();
  std::this_thread::sleep_for(milliseconds(100));
  // Lets the client check its pending operations at the end of that time.
  EXPECT_TRUE(client->acquire("other", {.wait = milliseconds(50)}));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_TRUE(held->release());
  const auto lock = waiting.get();
  EXPECT_TRUE(lock) << lock.error().message;
}

TEST_F(ClientTest, LocksAreAdoptedByTheirRestartedDaemon) {
  const std::string address = first->address();
  Open();
  auto lock = client->acquire("key", {.ttl = seconds(10)});
  ASSERT_TRUE(lock);
  first->process().Signal(SIGKILL);
  (void)first->process().Wait();
  first.reset();
  first.emplace(nodes, std::vector<std::string>{"--listen", address});
  std::this_thread::sleep_for(seconds(11));
  EXPECT_TRUE(lock->held()) << lock->loss()->message;
}

TEST_F(ClientTest, LossIsSignalledBeforeTheValidityEndsIfNoDaemonAnswers) {
  Open();
  auto lock = client->acquire("key", {.ttl = seconds(3), .margin = milliseconds(700)});
  ASSERT_TRUE(lock);
  SteadyClock::time_point lost;
  const std::stop_callback callback(lock->lost(), [&lost] { lost = SteadyClock::now(); });
  first->process().Signal(SIGSTOP);  // silent, but the connection stays open
  const auto until = SteadyClock::now() + lock->validity();
  EXPECT_TRUE(Eventually([&lock] { return lock->lost().stop_requested(); }));
  EXPECT_LE(lost, until - milliseconds(500));
  EXPECT_FALSE(lock->held());
  EXPECT_EQ(lock->loss()->reason, Reason::kValidityExpired);
  EXPECT_EQ(lock->release().error().reason, Reason::kLockNotHeld);
  first->process().Signal(SIGCONT);
}

TEST_F(ClientTest, LossIsSignalledAfterAForcedRelease) {
  Open();
  auto lock = client->acquire("key", {.ttl = seconds(2)});
  ASSERT_TRUE(lock);
  EXPECT_EQ(first->Ctl("force-release key --why test").status, 0);
  const Result<Lock> other = client->acquire("key2");
  EXPECT_TRUE(Eventually([&lock] { return lock->lost().stop_requested(); }));
  EXPECT_EQ(lock->loss()->reason, Reason::kLockNotHeld) << lock->loss()->message;
}

// The lock is force-released at another daemon before the client moves.
TEST_F(ClientTest, ALockThatWasReleasedMeanwhileIsNotReacquiredByAMove) {
  Daemon second(nodes);
  Open(To({first->address(), second.address()}));
  auto lock = client->acquire("key", {.ttl = seconds(8)});
  ASSERT_TRUE(lock);
  EXPECT_EQ(second.Ctl("force-release key --why test").status, 0);
  first->process().Signal(SIGKILL);
  (void)first->process().Wait();
  EXPECT_TRUE(Eventually([&lock] { return lock->lost().stop_requested(); }));
  EXPECT_EQ(lock->loss()->reason, Reason::kLockNotHeld);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }))
      << "the move does not acquire the lock again";
}

TEST_F(ClientTest, DestroyingTheClientReleasesItsLocksAndFailsPendingCalls) {
  Open();
  auto lock = client->acquire("key");
  ASSERT_TRUE(lock);
  auto waiting = client->acquire_async("key");
  const auto start = SteadyClock::now();
  client.reset();
  EXPECT_LT(SteadyClock::now() - start, seconds(1)) << "far less than the time limit of closing";
  EXPECT_TRUE(lock->lost().stop_requested());
  EXPECT_EQ(waiting.get().error().reason, Reason::kCancelled);
  EXPECT_TRUE(Eventually([this] { return Holding("key") == 0; }));
}

TEST_F(ClientTest, ManyThreadsShareOneClient) {
  Open();
  std::atomic<int> inside = 0;
  std::atomic<int> turns = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 50; ++turn) {
        const auto done = client->with_lock("key", {.ttl = seconds(10)}, [&](const Lock&) {
          EXPECT_EQ(++inside, 1);
          --inside;
          ++turns;
        });
        EXPECT_TRUE(done);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(turns, 400);
}

TEST_F(ClientTest, SendsItsBearerToken) {
  const redlock::testing::TemporaryDirectory directory;
  const std::string made =
      redlock::testing::Shell(redlock::testing::kRedlockctl + " token me --output json").output;
  const auto field = [&made](const std::string& name) {
    const auto begin = made.find("\"" + name + "\":\"") + name.size() + 4;
    return made.substr(begin, made.find('"', begin) - begin);
  };
  std::ofstream(directory.path() + "/tokens") << field("line") << "\n";
  std::ofstream(directory.path() + "/mine") << field("token") << "\n";
  setenv("REDLOCK_AUTH_TOKEN_FILE", (directory.path() + "/mine").c_str(), 1);  // for redlockctl
  Daemon strict(nodes, {"--token-file", directory.path() + "/tokens"});
  EXPECT_EQ(Open(To({strict.address()})).acquire("key").error().reason, Reason::kUnauthenticated);
  Options options = To({strict.address()});
  options.token_file = directory.path() + "/mine";
  EXPECT_TRUE(Open(options).acquire("key"));
  unsetenv("REDLOCK_AUTH_TOKEN_FILE");
}

}  // namespace
}  // namespace redlock::client
