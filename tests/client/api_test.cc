// The API of the C++ library against the daemon of the test kit, and the test kit itself.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <redlock/client.h>
#include <redlock/election.h>
#include <redlock/mutex.h>
#include <redlock/testing.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "eventually.h"

namespace redlock::client {
namespace {

using redlock::testing::Server;

// The daemon of this build, unless the environment names another one.
redlock::testing::ServerOptions ThisBuild() {
  return {.redlockd = std::getenv("REDLOCKD") == nullptr ? REDLOCKD_PATH : ""};
}
using std::chrono::milliseconds;
using std::chrono::seconds;

// What a watch has reported.
class Heard {
 public:
  void operator()(const WatchEvent& event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
  }
  [[nodiscard]] std::size_t Count(WatchEvent::Type type) const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(
        std::count_if(events_.begin(), events_.end(),
                      [type](const WatchEvent& event) { return event.type == type; }));
  }
  [[nodiscard]] WatchEvent Last() const {
    const std::lock_guard lock(mutex_);
    return events_.back();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<WatchEvent> events_;
};

class ApiTest : public ::testing::Test {
 protected:
  [[nodiscard]] Options To() const {
    return {.endpoints = {server.address()}, .log = [this](LogLevel, const std::string& text) {
              const std::lock_guard lock(log_mutex);
              log += text + "\n";
            }};
  }
  [[nodiscard]] std::string Log() const {
    const std::lock_guard lock(log_mutex);
    return log;
  }
  // Whether another client gets the lock, and soon.
  [[nodiscard]] bool IsFree(const std::string& key) {
    Client other(To());
    return other.acquire(key, {.wait = seconds(10)}).has_value();
  }

  mutable std::mutex log_mutex;
  mutable std::string log;
  Server server{ThisBuild()};
  Client client{To()};
};

// --- Locks by key and token

TEST_F(ApiTest, ADetachedLockOutlivesItsClientAndIsHandedOver) {
  std::string key;
  std::string token;
  std::uint64_t fence = 0;
  {
    Client first(To());
    const Lease lease = first.acquire_detached("k", {.ttl = seconds(60)}).value();
    EXPECT_GT(lease.validity(), seconds(50));
    EXPECT_LT(lease.validity(), seconds(60));
    key = lease.key;
    token = lease.token;
    fence = lease.fencing_token;
  }
  EXPECT_EQ(client.try_acquire("k").error().reason, Reason::kLockAlreadyHeld);
  auto lock = client.adopt(key, token, {.ttl = seconds(2)}).value();
  EXPECT_EQ(lock.fencing_token(), fence);
  std::this_thread::sleep_for(seconds(3));
  EXPECT_TRUE(lock.held()) << "the client keeps it alive";
  EXPECT_TRUE(lock.try_extend(seconds(30)));
  EXPECT_TRUE(lock.release());
  EXPECT_EQ(client.adopt(key, token, {.wait = seconds(5)}).error().reason, Reason::kLockNotHeld);
  EXPECT_TRUE(client.try_acquire("k"));
}

TEST_F(ApiTest, ALockIsExtendedAndReleasedByItsToken) {
  const Lease lease = client.acquire_detached("k", {.ttl = seconds(5), .token = "mine"}).value();
  EXPECT_EQ(lease.token, "mine");
  EXPECT_GT(client.extend("k", "mine", seconds(30)).value().validity(), seconds(20));
  EXPECT_GT(client.try_extend("k", "mine", seconds(60)).value().validity(), seconds(50));
  EXPECT_EQ(client.extend("k", "other", seconds(30)).error().reason, Reason::kLockNotHeld);
  EXPECT_TRUE(client.release("k", "mine"));
  EXPECT_EQ(client.release("k", "mine").error().reason, Reason::kLockNotHeld);
}

TEST_F(ApiTest, SeveralKeysAreLockedTogether) {
  const std::vector<std::string> both = {"a", "b"};
  auto lock = client.acquire(together({"b", "a"}), {.ttl = seconds(30)}).value();
  EXPECT_EQ(lock.keys(), both);
  const Error refused = client.try_acquire(together({"c", "b"})).error();
  EXPECT_EQ(refused.reason, Reason::kLockAlreadyHeld);
  EXPECT_EQ(refused.message.substr(0, 6), "b, c: ");
  EXPECT_TRUE(client.try_acquire("c"));
  EXPECT_TRUE(server.lose("b"));
  EXPECT_TRUE(Eventually([&lock] { return lock.lost().stop_requested(); }));
  EXPECT_NE(Log().find("a, b: the lock is lost"), std::string::npos) << Log();
}

TEST_F(ApiTest, ALeaseOfSeveralKeysIsHandedOver) {
  const std::vector<std::string> both = {"a", "b"};
  const Lease lease = client.acquire_detached(together({"b", "a"}), {.ttl = seconds(60)}).value();
  EXPECT_EQ(lease.keys(), both);
  EXPECT_EQ(client.extend(lease.key, lease.token, seconds(60)).value().keys(), both);
  const auto heard = std::make_shared<Heard>();
  auto watch = client.watch({{lease.key, lease.token}},
                            [heard](const WatchEvent& event) { (*heard)(event); });
  EXPECT_TRUE(Eventually([&] { return heard->Count(WatchEvent::Type::kExtended) > 0; }));
  EXPECT_EQ(heard->Last().keys(), both);
  EXPECT_EQ(heard->Last().lease->keys(), both);
  watch->close();
  EXPECT_TRUE(heard->Last().keys().empty());
  auto lock = client.adopt(together(lease.keys()), lease.token).value();
  EXPECT_EQ(lock.keys(), both);
  EXPECT_TRUE(client.release(lock.key(), lock.token()));
}

TEST_F(ApiTest, AShareIsHandedOver) {
  const std::vector<std::string> keys = {"a"};
  const Lease lease = client.acquire_detached(shared("a"), {.ttl = seconds(60)}).value();
  EXPECT_EQ(lease.keys(), keys);
  EXPECT_TRUE(lease.shared());
  EXPECT_EQ(client.adopt("a", lease.token, {.wait = Duration{}}).error().reason,
            Reason::kLockNotHeld);
  auto lock = client.adopt(shared(together(lease.keys())), lease.token).value();
  EXPECT_TRUE(lock.shared());
  auto other = client.acquire(shared("a")).value();
  EXPECT_FALSE(client.try_acquire("a"));
  EXPECT_TRUE(lock.release());
  EXPECT_TRUE(other.release());
  auto exclusive = client.acquire("a").value();
  EXPECT_FALSE(exclusive.shared());
}

TEST_F(ApiTest, ASlotIsHandedOver) {
  const std::vector<std::string> keys = {"s"};
  const Lease lease = client.acquire_detached(semaphore("s", 2), {.ttl = seconds(60)}).value();
  EXPECT_EQ(lease.keys(), keys);
  EXPECT_EQ(lease.max_holders(), 2);
  EXPECT_EQ(client.adopt("s", lease.token, {.wait = Duration{}}).error().reason,
            Reason::kLockNotHeld);
  const int other_slot = lease.slot() % 2 + 1;
  EXPECT_EQ(client.extend(semaphore("s", 2, other_slot), lease.token, seconds(60)).error().reason,
            Reason::kLockNotHeld);
  EXPECT_EQ(client.extend(lease.key, lease.token, seconds(60)).value().slot(), lease.slot());
  auto lock = client.adopt(semaphore("s", 2), lease.token).value();
  EXPECT_EQ(lock.slot(), lease.slot());
  EXPECT_EQ(lock.max_holders(), 2);
  auto other = client.acquire(semaphore("s", 2)).value();
  EXPECT_EQ(other.slot(), other_slot);
  EXPECT_EQ(client.try_acquire(semaphore("s", 2)).error().reason, Reason::kLockAlreadyHeld);
  const Error mismatch = client.acquire("s").error();
  EXPECT_EQ(mismatch.reason, Reason::kKindMismatch);
  EXPECT_EQ(mismatch.in_use_as, "a semaphore of 2");
  EXPECT_TRUE(lock.release());
  EXPECT_TRUE(other.release());
  auto exclusive = client.acquire("s").value();
  EXPECT_EQ(exclusive.slot(), 0);
}

TEST_F(ApiTest, AcquireOrExtendDoesEither) {
  auto lock = client.acquire_or_extend("k", "mine", {.ttl = seconds(5)}).value();
  const auto fence = lock.fencing_token();
  auto again = client.acquire_or_extend_async("k", "mine", {.ttl = seconds(60)}).get().value();
  EXPECT_EQ(again.fencing_token(), fence);
  EXPECT_GT(again.validity(), Duration{});
  EXPECT_EQ(client.acquire_or_extend("k", "other", {.wait = Duration{}}).error().reason,
            Reason::kLockAlreadyHeld);
  EXPECT_TRUE(again.release());
}

TEST_F(ApiTest, TheOwnerIsThisProcessUnlessTheCallerNamesAnother) {
  const std::string label = std::to_string(getpid()) + "/" + program_invocation_short_name;
  const auto inspected = [this](const std::string& key) {
    // The test kit has no inspection: the refusal names the holder once the daemon does.
    return client.try_acquire(key).error().holder;
  };
  const auto lock = client.acquire("k").value();
  const std::string holder = inspected("k");
  if (holder.empty()) GTEST_SKIP() << "the daemon does not name holders";
  EXPECT_NE(holder.find(label), std::string::npos) << holder;
  const auto named = client.acquire("named", {.owner = "me"}).value();
  EXPECT_EQ(inspected("named"), "me");
}

// --- Watches

TEST_F(ApiTest, AWatchHearsOfLossesAndOfItsEndLast) {
  const Lease a = client.acquire_detached("a", {.ttl = seconds(5)}).value();
  const Lease b = client.acquire_detached("b", {.ttl = seconds(5)}).value();
  Heard heard;
  Watch watch = client
                    .watch({{"a", a.token, seconds(5), milliseconds(100)},
                            {"b", b.token, seconds(5), milliseconds(50)}},
                           std::ref(heard))
                    .value();
  EXPECT_TRUE(Eventually([&] { return heard.Count(WatchEvent::Type::kExtended) > 4; }));
  server.lose("a");
  EXPECT_TRUE(Eventually([&] { return heard.Count(WatchEvent::Type::kLost) > 0; }));
  server.crash();
  EXPECT_TRUE(Eventually([&] { return heard.Count(WatchEvent::Type::kStreamFailed) > 0; }));
  const std::size_t extended = heard.Count(WatchEvent::Type::kExtended);
  EXPECT_TRUE(Eventually([&] { return heard.Count(WatchEvent::Type::kExtended) > extended; }))
      << "it survives";
  watch.close();
  EXPECT_EQ(heard.Count(WatchEvent::Type::kEnded), 1U);
  EXPECT_EQ(heard.Last().error.reason, Reason::kCancelled);
  watch.close();
  EXPECT_EQ(heard.Count(WatchEvent::Type::kEnded), 1U);
}

TEST_F(ApiTest, AWatchMayStartBeforeItsLockAndItsCallbackMayThrowAndCloseIt) {
  std::atomic<int> extended = 0;
  std::optional<Watch> watch;
  std::atomic<bool> close = false;
  std::atomic<int> ended = 0;
  watch.emplace(client
                    .watch({{"k", "mine", seconds(5), milliseconds(50)}},
                           [&](const WatchEvent& event) {
                             if (event.type == WatchEvent::Type::kExtended) ++extended;
                             if (event.type == WatchEvent::Type::kEnded) ++ended;
                             if (close.exchange(false)) watch->close();
                             throw std::runtime_error("a callback that throws");
                           })
                    .value());
  std::this_thread::sleep_for(milliseconds(200));
  (void)client.acquire_detached("k", {.ttl = seconds(5), .token = "mine"}).value();
  EXPECT_TRUE(Eventually([&] { return extended > 2; }));
  close = true;
  EXPECT_TRUE(Eventually([&] { return ended == 1; }));
  watch.reset();
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(client.watch({}, nullptr).error().reason, Reason::kInvalidArgument);
}

TEST_F(ApiTest, ADestroyedClientEndsItsWatches) {
  Heard heard;
  std::optional<Client> other(To());
  auto watch = other->watch({{"k", "mine"}}, std::ref(heard)).value();
  other.reset();
  EXPECT_EQ(heard.Last().type, WatchEvent::Type::kEnded);
  watch.close();
}

// --- Callbacks

TEST_F(ApiTest, CallbacksThatThrowAffectNoOtherCall) {
  const auto lock = client.acquire("k").value();
  std::atomic<bool> queued = false;
  auto waiting = client.acquire_async("k", {.queued = [&](int) {
                                        queued = true;
                                        throw 1;
                                      }});
  EXPECT_TRUE(Eventually([&] { return queued.load(); }));
  client.acquire_async("other", {}, [](Result<Lock>) { throw std::runtime_error("done"); });
  EXPECT_TRUE(client.acquire("other", {.wait = seconds(10)})) << "released when `done` has thrown";
  client.acquire_detached_async("third", {}, [](Result<Lease>) { throw 1; });
  EXPECT_TRUE(
      Eventually([this] { return Log().find("a callback has thrown") != std::string::npos; }));
  EXPECT_TRUE(lock.held());
}

TEST_F(ApiTest, ALogThatThrowsIsContained) {
  Options options = To();
  options.log = [](LogLevel, const std::string&) { throw std::runtime_error("log"); };
  Client other(options);
  auto lock = other.acquire("k").value();
  server.crash();
  EXPECT_TRUE(Eventually([&] { return lock.extend(seconds(60)).has_value(); }));
}

// --- The log

TEST_F(ApiTest, TheLogTellsWhatHappensAndNothingElseIsPrinted) {
  std::string path = ::testing::TempDir() + "/stderr-XXXXXX";
  const int file = mkstemp(path.data());
  const int before = dup(STDERR_FILENO);
  dup2(file, STDERR_FILENO);
  std::string token;
  {
    auto lock = client.acquire("k", {.ttl = seconds(60)}).value();
    token = lock.token();
    const Lease lease = client.acquire_detached("detached").value();
    server.crash();
    EXPECT_TRUE(Eventually([&] { return lock.extend(seconds(60)).has_value(); }));
    server.lose("k");
    EXPECT_TRUE(Eventually([&] { return lock.lost().stop_requested(); }));
    EXPECT_EQ(Log().find(lease.token), std::string::npos);
  }
  dup2(before, STDERR_FILENO);
  close(before);
  EXPECT_EQ(lseek(file, 0, SEEK_END), 0) << "something was printed to standard error";
  close(file);
  unlink(path.c_str());
  EXPECT_NE(Log().find("connected to " + server.address()), std::string::npos) << Log();
  EXPECT_NE(Log().find("moving to another daemon"), std::string::npos) << Log();
  EXPECT_NE(Log().find("k: the lock is lost"), std::string::npos) << Log();
  EXPECT_EQ(Log().find(token), std::string::npos);
}

// --- Giving up

// REDLOCK_STORM: how many of each kind.
TEST_F(ApiTest, GivingUpAtAnyMomentLeavesNoLock) {
  const char* const asked = std::getenv("REDLOCK_STORM");
  const int count = asked != nullptr ? std::atoi(asked) : 150;
  std::mt19937 chance(1);
  for (int i = 0; i < count; ++i) {
    std::stop_source stop;
    auto lock = client.acquire_async("lock" + std::to_string(i),
                                     {.ttl = seconds(300), .stop = stop.get_token()});
    auto lease = client.acquire_detached_async("lease" + std::to_string(i),
                                               {.ttl = seconds(300), .stop = stop.get_token()});
    std::this_thread::sleep_for(std::chrono::microseconds(chance() % 3'000));
    stop.request_stop();
    auto got = lock.get();
    if (got) (void)got->release();
    const auto leased = lease.get();
    if (leased) (void)client.release(leased->key, leased->token);
  }
  std::vector<std::future<Result<Lock>>> again;
  for (int i = 0; i < count; ++i) {
    for (const char* const name : {"lock", "lease"}) {
      again.push_back(client.acquire_async(name + std::to_string(i), {.wait = seconds(10)}));
    }
  }
  for (auto& lock : again) {
    const auto got = lock.get();
    EXPECT_TRUE(got) << got.error().message;
  }
}

TEST_F(ApiTest, ReleaseExtendAndCloseEndWhileTheDaemonIsSilentAndContinueLater) {
  std::optional<Client> other(To());
  auto released = other->acquire("released", {.ttl = seconds(300)}).value();
  auto closed = other->acquire("closed", {.ttl = seconds(300)}).value();
  server.cut();
  std::jthread extends([&] { (void)closed.extend(seconds(300)); });
  (void)released.release();
  EXPECT_FALSE(released.held());
  (void)released.release();
  auto waiting = other->acquire_async("waiting");
  other.reset();
  EXPECT_EQ(waiting.get().error().reason, Reason::kCancelled);
  EXPECT_TRUE(closed.lost().stop_requested());
  server.mend();
  EXPECT_TRUE(IsFree("released"));
  EXPECT_TRUE(IsFree("closed"));
}

TEST_F(ApiTest, TheEndOfAWaitWithoutADaemonIsNoContention) {
  server.cut();
  Client other(To());
  EXPECT_EQ(other.acquire("k", {.wait = milliseconds(300)}).error().reason, Reason::kUnreachable);
  EXPECT_EQ(other.acquire_detached("k", {.wait = milliseconds(300)}).error().reason,
            Reason::kUnreachable);
  EXPECT_EQ(other.adopt("k", "mine", {.wait = milliseconds(300)}).error().reason,
            Reason::kUnreachable);
  EXPECT_EQ(other.release("k", "mine", milliseconds(300)).error().reason, Reason::kUnreachable);
}

TEST_F(ApiTest, ExtremeDurationsAreRefusedOrMeanWithoutALimit) {
  const Duration longest = Duration::max();
  Options options = To();
  for (const Duration grace : {longest, Duration::min(), Duration(0)}) {
    options.grace = grace;
    EXPECT_THROW(Client{options}, std::invalid_argument);
  }
  for (const Duration bad : {longest, Duration::min()}) {
    EXPECT_EQ(client.acquire("k", {.ttl = bad}).error().reason, Reason::kInvalidArgument);
    EXPECT_EQ(client.acquire("k", {.margin = bad}).error().reason, Reason::kInvalidArgument);
    EXPECT_EQ(client.acquire_detached("k", {.ttl = bad}).error().reason, Reason::kInvalidArgument);
    EXPECT_EQ(client.extend("k", "t", bad).error().reason, Reason::kInvalidArgument);
    EXPECT_EQ(client.watch({{"k", "t", bad}}, nullptr).error().reason, Reason::kInvalidArgument);
  }
  EXPECT_EQ(client.acquire("k", {.wait = Duration::min()}).error().reason,
            Reason::kInvalidArgument);
  EXPECT_TRUE(client.acquire("k", {.wait = longest}));
  const auto lease = client.acquire_detached("lease", {.wait = longest});
  ASSERT_TRUE(lease);
  EXPECT_TRUE(client.release("lease", lease->token, longest));
  Mutex mutex(client, "mutex");
  EXPECT_TRUE(mutex.try_lock_for(std::chrono::hours::max()));
  EXPECT_FALSE(Mutex(client, "mutex").try_lock_for(std::chrono::hours::min()));
  mutex.unlock();
}

// --- Elections, and keys that are kept

// Returns the next state that is decided.
KeyState Decided(Observer& observer) {
  while (true) {
    KeyState state = observer.next(seconds(20)).value();
    if (state.state != HolderState::kUndecided) return state;
  }
}

TEST_F(ApiTest, OneCandidateLeadsAtATime) {
  Election election(client, "e");
  Client other(To());
  Election rival(other, "e");
  EXPECT_EQ(rival.leader().value().state, HolderState::kVacant);
  auto observer = rival.observe().value();
  EXPECT_EQ(Decided(observer).state, HolderState::kVacant);
  auto lead = election.campaign("one").value();
  EXPECT_EQ(rival.campaign("two", {.wait = Duration{}}).error().reason, Reason::kLockAlreadyHeld);
  const KeyState state = Decided(observer);
  EXPECT_EQ(state.value, "one");
  EXPECT_EQ(state.fencing_token, lead.fencing_token());
  EXPECT_TRUE(election.proclaim("uno"));
  EXPECT_EQ(Decided(observer).value, "uno");
  EXPECT_EQ(rival.leader().value().value, "uno");
  EXPECT_EQ(other.proclaim("e", "not its token", "no").error().reason, Reason::kLockNotHeld);
  auto next = std::async(std::launch::async, [&rival] { return rival.campaign("two").value(); });
  EXPECT_TRUE(election.resign());
  EXPECT_GT(next.get().fencing_token(), state.fencing_token);
}

TEST_F(ApiTest, TheLeadershipEndsWithTheLock) {
  Election election(client, "e");
  auto lead = election.campaign("one").value();
  auto observer = election.observe().value();
  EXPECT_EQ(Decided(observer).value, "one");
  EXPECT_TRUE(server.lose("e"));
  EXPECT_TRUE(Eventually([&lead] { return lead.lost().stop_requested(); }));
  EXPECT_EQ(Decided(observer).state, HolderState::kVacant);
  EXPECT_EQ(election.proclaim("two").error().reason, Reason::kLockNotHeld);
  EXPECT_EQ(election.resign().error().reason, Reason::kLockNotHeld);
}

TEST_F(ApiTest, AKeyStaysTakenAfterItsRelease) {
  auto lock = client.acquire("k").value();
  EXPECT_TRUE(lock.release({.keep_for = seconds(20)}));
  EXPECT_EQ(client.try_acquire("k").error().reason, Reason::kLockAlreadyHeld);
  const Lease lease = client.acquire_detached("detached").value();
  EXPECT_TRUE(client.release("detached", lease.token, seconds(5), {.keep_for = seconds(20)}));
  auto observer = client.observe("detached").value();
  const KeyState kept = Decided(observer);
  EXPECT_EQ(kept.state, HolderState::kVacant);
  EXPECT_GT(kept.kept_for, seconds(1));
  EXPECT_LE(kept.kept_for, seconds(20));
}

TEST_F(ApiTest, ATimeToKeepThatTheDaemonRefusesStillReleasesTheLock) {
  auto lock = client.acquire("k").value();
  EXPECT_EQ(lock.release({.keep_for = std::chrono::hours(10)}).error().reason,
            Reason::kInvalidArgument);
  EXPECT_TRUE(IsFree("k"));
}

TEST_F(ApiTest, ALockThatIsLostStaysTakenForItsDelay) {
  Options options = To();
  options.grace = seconds(1);
  Client holder(options);
  auto lock = holder.acquire("k", {.ttl = seconds(2), .lock_delay = seconds(30)}).value();
  server.cut();
  EXPECT_TRUE(Eventually([&lock] { return lock.lost().stop_requested(); }));
  std::this_thread::sleep_for(seconds(2));
  server.mend();
  EXPECT_EQ(lock.release().error().reason, Reason::kLockNotHeld);
  std::this_thread::sleep_for(seconds(2));
  EXPECT_EQ(client.acquire("k", {.wait = Duration{}}).error().reason, Reason::kLockAlreadyHeld);
}

// --- Mutex

TEST_F(ApiTest, AMutexWorksWithTheGuardsOfTheStandardLibrary) {
  Mutex mutex(client, "k");
  Mutex other(client, "other");
  {
    const std::scoped_lock both(mutex, other);
    EXPECT_GT(mutex.fencing_token(), 0U);
    EXPECT_FALSE(mutex.lost().stop_requested());
    Mutex same(client, "k");
    EXPECT_FALSE(std::unique_lock(same, std::try_to_lock).owns_lock());
    EXPECT_FALSE(std::unique_lock(same, milliseconds(100)).owns_lock());
  }
  const std::unique_lock guard(mutex, seconds(10));
  ASSERT_TRUE(guard.owns_lock());
  server.lose("k");
  EXPECT_TRUE(Eventually([&] { return mutex.lost().stop_requested(); }));
}

TEST_F(ApiTest, AMutexExcludesTheThreadsOfItsProcess) {
  Mutex mutex(client, "k");
  int inside = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 20; ++turn) {
        const std::lock_guard guard(mutex);
        EXPECT_EQ(++inside, 1);
        --inside;
      }
    });
  }
}

TEST_F(ApiTest, AMutexReportsAnOutageAsAnError) {
  server.cut();
  Client other(To());
  Mutex mutex(other, "k");
  EXPECT_THROW((void)mutex.try_lock_for(milliseconds(200)), LockError);
}

// --- The test kit

TEST_F(ApiTest, LocksSurviveRestartsCrashesAndResets) {
  Options options = To();
  options.grace = seconds(20);
  Client patient(options);
  auto lock = patient.acquire("k", {.ttl = seconds(60)}).value();
  server.restart();
  EXPECT_TRUE(Eventually([&] { return lock.extend(seconds(60)).has_value(); }));
  server.crash();
  EXPECT_TRUE(Eventually([&] { return lock.extend(seconds(60)).has_value(); }));
  server.reset();
  EXPECT_TRUE(Eventually([&] { return lock.extend(seconds(60)).has_value(); }));
  server.delay(milliseconds(100));
  const auto began = std::chrono::steady_clock::now();
  EXPECT_TRUE(Eventually([&] { return lock.extend(seconds(60)).has_value(); }));
  EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(200)) << "both ways";
  server.mend();
  EXPECT_TRUE(lock.held());
  EXPECT_TRUE(lock.release());
}

TEST_F(ApiTest, ALostDaemonIsALossInTime) {
  Options options = To();
  options.grace = seconds(1);
  Client other(options);
  const auto lock = other.acquire("k").value();
  server.cut();
  EXPECT_TRUE(Eventually([&] { return lock.lost().stop_requested(); }));
  EXPECT_EQ(lock.loss()->reason, Reason::kValidityExpired);
}

TEST(TestKit, SaysWhatIsMissing) {
  EXPECT_THROW(Server({.redlockd = "/no/such/program"}), std::runtime_error);
  EXPECT_THROW(Server({.redlockd = "/bin/false"}), std::runtime_error);
}

// --- Memory

TEST_F(ApiTest, AHeldLockTakesLittleMemory) {
  constexpr std::size_t kLocks = 2'000;
  std::vector<Lock> locks;
  locks.reserve(kLocks);
  (void)client.acquire("warm-up");
  const auto before = mallinfo2().uordblks;
  std::vector<std::future<Result<Lock>>> acquiring;
  for (std::size_t i = 0; i < kLocks; ++i) {
    acquiring.push_back(client.acquire_async("k" + std::to_string(i)));
  }
  for (auto& one : acquiring) locks.push_back(one.get().value());
  acquiring.clear();
  acquiring.shrink_to_fit();
  const auto used = mallinfo2().uordblks - before;
  EXPECT_LT(used / kLocks, 4'096U);
  RecordProperty("bytes_per_lock", std::to_string(used / kLocks));
  std::printf("%zu bytes for each held lock\n", used / kLocks);
}

}  // namespace
}  // namespace redlock::client
