// Observers, values and elections of the C++ library, with daemons that the test plays.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "redlock/client.h"
#include "redlock/election.h"
#include "redlock/mutex.h"
#include "tests/client/eventually.h"

namespace redlock::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;

v1::ObserveResponse Held(std::uint64_t fence, const std::string& value = "") {
  v1::ObserveResponse state;
  state.set_state(v1::HOLDER_STATE_HELD);
  state.set_holders(1);
  state.set_fencing_token(fence);
  state.set_value(value);
  state.mutable_remaining()->set_seconds(30);
  return state;
}

v1::ObserveResponse Vacant() {
  v1::ObserveResponse state;
  state.set_state(v1::HOLDER_STATE_VACANT);
  return state;
}

v1::ObserveResponse Undecided(const std::string& why) {
  v1::ObserveResponse state;
  state.set_state(v1::HOLDER_STATE_UNDECIDED);
  state.set_message(why);
  return state;
}

// Grants everything, keeps what it was asked, and reports the states that the test gives it.
class PlayedDaemon final : public v1::LockService::Service {
 public:
  PlayedDaemon() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~PlayedDaemon() override { End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "over")); }

  [[nodiscard]] const std::string& address() const { return address_; }

  // To each stream, also to those that are opened later.
  void Report(const v1::ObserveResponse& state) {
    const std::lock_guard lock(mutex_);
    states_.push_back(state);
    changed_.notify_all();
  }
  // Ends the streams that are open, and those that are opened until Serve(). States that were
  // reported are forgotten.
  void End(const grpc::Status& status) {
    const std::lock_guard lock(mutex_);
    states_.clear();
    end_ = status;
    changed_.notify_all();
  }
  void Serve() {
    const std::lock_guard lock(mutex_);
    end_.reset();
  }
  [[nodiscard]] int streams() const { return streams_; }
  [[nodiscard]] int opened() const { return opened_; }
  // The answer to the next proclamations.
  void Answer(const grpc::Status& status) {
    const std::lock_guard lock(mutex_);
    answer_ = status;
  }
  [[nodiscard]] std::vector<v1::AcquireRequest> acquired() const { return Copy(acquired_); }
  [[nodiscard]] std::vector<v1::ReleaseRequest> released() const { return Copy(released_); }
  [[nodiscard]] std::vector<v1::ProclaimRequest> proclaimed() const { return Copy(proclaimed_); }

  grpc::Status Observe(grpc::ServerContext* context, const v1::ObserveRequest* request,
                       grpc::ServerWriter<v1::ObserveResponse>* writer) override {
    EXPECT_EQ(request->key(), "k");
    ++opened_;
    ++streams_;
    const grpc::Status status = Follow(*context, *writer);
    --streams_;
    return status;
  }
  grpc::Status Proclaim(grpc::ServerContext* /*context*/, const v1::ProclaimRequest* request,
                        v1::ProclaimResponse* /*response*/) override {
    const std::lock_guard lock(mutex_);
    proclaimed_.push_back(*request);
    return answer_;
  }
  grpc::Status Acquire(grpc::ServerContext* /*context*/, const v1::AcquireRequest* request,
                       v1::AcquireResponse* response) override {
    const std::lock_guard lock(mutex_);
    acquired_.push_back(*request);
    Grant(*request, *response->mutable_lease());
    return grpc::Status::OK;
  }
  grpc::Status Release(grpc::ServerContext* /*context*/, const v1::ReleaseRequest* request,
                       v1::ReleaseResponse* /*response*/) override {
    const std::lock_guard lock(mutex_);
    released_.push_back(*request);
    return grpc::Status::OK;
  }
  grpc::Status Session(
      grpc::ServerContext* /*context*/,
      grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>* stream) override {
    v1::SessionRequest request;
    while (stream->Read(&request)) {
      v1::SessionResponse response;
      const auto now = SteadyClock::now().time_since_epoch();
      response.mutable_clock()->set_seconds(std::chrono::floor<seconds>(now).count());
      for (const v1::SessionOperation& operation : request.operations()) {
        v1::SessionResult& result = *response.add_results();
        result.set_id(operation.id());
        const std::lock_guard lock(mutex_);
        if (operation.has_acquire()) {
          acquired_.push_back(operation.acquire());
          Grant(operation.acquire(), *result.mutable_lease());
        }
        if (operation.has_release()) released_.push_back(operation.release());
      }
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

 private:
  static void Grant(const v1::AcquireRequest& request, v1::Lease& lease) {
    lease.set_key(request.key());
    lease.set_token(request.token());
    lease.set_fencing_token(7);
    *lease.mutable_validity() = request.ttl();
  }
  grpc::Status Follow(grpc::ServerContext& context,
                      grpc::ServerWriter<v1::ObserveResponse>& writer) {
    std::size_t next = 0;
    std::unique_lock lock(mutex_);
    while (!context.IsCancelled()) {
      if (end_) return *end_;
      if (next == states_.size()) {
        changed_.wait_for(lock, milliseconds(10));
        continue;
      }
      const v1::ObserveResponse state = states_[next++];
      lock.unlock();
      writer.Write(state);
      lock.lock();
    }
    return grpc::Status::CANCELLED;
  }
  template <typename T>
  [[nodiscard]] std::vector<T> Copy(const std::vector<T>& requests) const {
    const std::lock_guard lock(mutex_);
    return requests;
  }

  std::string address_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::ObserveResponse> states_;
  std::optional<grpc::Status> end_;
  grpc::Status answer_;
  std::vector<v1::AcquireRequest> acquired_;
  std::vector<v1::ReleaseRequest> released_;
  std::vector<v1::ProclaimRequest> proclaimed_;
  std::atomic<int> streams_ = 0;  // that are open
  std::atomic<int> opened_ = 0;   // ever
  std::unique_ptr<grpc::Server> server_;
};

class ObserveTest : public ::testing::Test {
 protected:
  static const Duration kPatience;

  KeyState Next(Observer& from) {
    auto state = from.next(kPatience);
    EXPECT_TRUE(state) << state.error().message;
    return state ? *state : KeyState();
  }

  PlayedDaemon daemon, second;
  std::optional<Client> client{std::in_place,
                               Options{.endpoints = {daemon.address(), second.address()}}};
};
const Duration ObserveTest::kPatience = seconds(20);

TEST_F(ObserveTest, AnObserverReportsWhatItsDaemonReports) {
  v1::ObserveResponse held = Held(9, "here");
  held.set_owner("me");
  held.mutable_held_for()->set_seconds(3);
  v1::Holder& holder = *held.add_held_by();
  holder.set_owner("me");
  holder.set_identity("someone");
  holder.set_peer("ipv4:10.0.0.7:4711");
  holder.set_daemon("host:50051");
  holder.set_fencing_token(9);
  holder.set_value("here");
  holder.mutable_held_for()->set_seconds(3);
  holder.mutable_remaining()->set_seconds(30);
  daemon.Report(held);
  auto observer = client->observe("k").value();
  const KeyState state = Next(observer);
  EXPECT_EQ(state.state, HolderState::kHeld);
  EXPECT_EQ(state.holders, 1);
  EXPECT_EQ(state.owner, "me");
  EXPECT_EQ(state.value, "here");
  EXPECT_EQ(state.fencing_token, 9U);
  EXPECT_EQ(state.held_for, seconds(3));
  EXPECT_EQ(state.remaining, seconds(30));
  ASSERT_EQ(state.held_by.size(), 1U);
  EXPECT_EQ(state.held_by[0].owner, "me");
  EXPECT_EQ(state.held_by[0].identity, "someone");
  EXPECT_EQ(state.held_by[0].peer, "ipv4:10.0.0.7:4711");
  EXPECT_EQ(state.held_by[0].daemon, "host:50051");
  EXPECT_EQ(state.held_by[0].fencing_token, 9U);
  EXPECT_EQ(state.held_by[0].value, "here");
  EXPECT_EQ(state.held_by[0].held_for, seconds(3));
  EXPECT_EQ(state.held_by[0].remaining, seconds(30));
  EXPECT_EQ(observer.next(milliseconds(20)).error().reason, Reason::kDeadlineExceeded);
  v1::ObserveResponse kept = Vacant();
  kept.mutable_kept_for()->set_seconds(5);
  daemon.Report(kept);
  EXPECT_EQ(Next(observer).kept_for, seconds(5));
  v1::ObserveResponse slots = Held(12);
  slots.set_max_holders(5);
  slots.set_holders(2);
  daemon.Report(slots);
  EXPECT_EQ(Next(observer).max_holders, 5);
  v1::ObserveResponse share = Held(13);
  share.set_mode(v1::LOCK_MODE_SHARED);
  daemon.Report(share);
  EXPECT_TRUE(Next(observer).shared);
  daemon.Report(Undecided("too few nodes answer"));
  const KeyState undecided = Next(observer);
  EXPECT_EQ(undecided.state, HolderState::kUndecided);
  EXPECT_EQ(undecided.error.reason, Reason::kQuorumUnavailable);
  EXPECT_EQ(undecided.error.message, "too few nodes answer");
}

TEST_F(ObserveTest, AnObserverMovesToAnotherDaemon) {
  daemon.Report(Held(5));
  second.Report(Held(5));
  second.Report(Held(6));
  auto observer = client->observe("k").value();
  EXPECT_EQ(Next(observer).fencing_token, 5U);
  daemon.End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "DRAINING: shutting down"));
  EXPECT_EQ(Next(observer).fencing_token, 6U) << "the state that it knows is not repeated";
}

TEST_F(ObserveTest, AnOutageOfTheDaemonsIsUndecided) {
  daemon.Report(Vacant());
  auto observer = client->observe("k").value();
  EXPECT_EQ(Next(observer).state, HolderState::kVacant);
  const grpc::Status broken(grpc::StatusCode::UNAVAILABLE, "broken");
  second.End(broken);
  daemon.End(broken);
  const KeyState undecided = Next(observer);
  EXPECT_EQ(undecided.state, HolderState::kUndecided);
  EXPECT_EQ(undecided.error.reason, Reason::kUnreachable);
  EXPECT_NE(undecided.error.message.find("broken"), std::string::npos) << undecided.error.message;
  second.Serve();
  second.Report(Vacant());
  EXPECT_EQ(Next(observer).state, HolderState::kVacant);
}

TEST_F(ObserveTest, WhatNoOtherDaemonCanMendEndsTheObserver) {
  for (const auto& [code, reason] :
       {std::pair{grpc::StatusCode::UNAUTHENTICATED, Reason::kUnauthenticated},
        std::pair{grpc::StatusCode::PERMISSION_DENIED, Reason::kPermissionDenied},
        std::pair{grpc::StatusCode::INVALID_ARGUMENT, Reason::kInvalidArgument},
        std::pair{grpc::StatusCode::UNIMPLEMENTED, Reason::kInternal}}) {
    daemon.End(grpc::Status(code, "no"));
    auto observer = client->observe("k").value();
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(observer.next(kPatience).error().reason, reason) << code;
    }
  }
  EXPECT_EQ(second.opened(), 0);
}

TEST_F(ObserveTest, ASlowReaderGetsTheLatestState) {
  auto observer = client->observe("k").value();
  daemon.Report(Held(1));
  EXPECT_EQ(Next(observer).fencing_token, 1U);
  constexpr std::uint64_t kStates = 2'000;
  for (std::uint64_t fence = 2; fence <= kStates; ++fence) daemon.Report(Held(fence));
  std::this_thread::sleep_for(seconds(1));
  std::uint64_t last = 0;
  int taken = 0;
  while (last < kStates) {
    const std::uint64_t fence = Next(observer).fencing_token;
    ASSERT_GT(fence, std::exchange(last, fence));
    ++taken;
  }
  EXPECT_LT(taken, 1'000) << "not a backlog";
}

TEST_F(ObserveTest, ClosingEndsTheRpcAndTheReader) {
  auto observer = client->observe("k").value();
  EXPECT_TRUE(Eventually([this] { return daemon.streams() == 1; }));
  auto reader = std::async(std::launch::async, [&observer] { return observer.next(); });
  observer.close();
  EXPECT_EQ(reader.get().error().reason, Reason::kCancelled);
  EXPECT_TRUE(Eventually([this] { return daemon.streams() == 0; }));
  EXPECT_EQ(observer.next().error().reason, Reason::kCancelled);
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(daemon.opened() + second.opened(), 1) << "it does not reconnect";
}

TEST_F(ObserveTest, AnObserverEndsWithItsDestructor) {
  {
    auto moved_from = client->observe("k").value();
    const Observer observer = std::move(moved_from);
    EXPECT_TRUE(Eventually([this] { return daemon.streams() == 1; }));
  }
  EXPECT_TRUE(Eventually([this] { return daemon.streams() == 0; }));
}

TEST_F(ObserveTest, AnObserverEndsWithItsClient) {
  auto observer = client->observe("k").value();
  EXPECT_TRUE(Eventually([this] { return daemon.streams() == 1; }));
  auto reader = std::async(std::launch::async, [&observer] { return observer.next(); });
  client.reset();
  EXPECT_EQ(reader.get().error().reason, Reason::kCancelled);
  EXPECT_TRUE(Eventually([this] { return daemon.streams() == 0; }));
  observer.close();
}

TEST_F(ObserveTest, ManyObserversComeAndGo) {
  daemon.Report(Vacant());
  for (int i = 0; i < 100; ++i) {
    auto observer = client->observe("k").value();
    if (i % 3 == 0) {
      EXPECT_EQ(Next(observer).state, HolderState::kVacant);
    }
    if (i % 3 == 1) observer.close();
  }
  EXPECT_TRUE(Eventually([this] { return daemon.streams() == 0; }));
}

TEST_F(ObserveTest, AnInvalidKeyIsRefused) {
  EXPECT_EQ(client->observe("").error().reason, Reason::kInvalidArgument);
  EXPECT_EQ(client->observe(together({"a", "b"})).error().reason, Reason::kInvalidArgument);
}

// --- Values, and keys that are kept

TEST_F(ObserveTest, AValueAndADelayAreSentWithEveryAcquire) {
  auto lock = client->acquire("k", {.value = "here", .lock_delay = seconds(2)}).value();
  (void)client->acquire_detached("k", {.value = "here", .lock_delay = seconds(2)}).value();
  ASSERT_EQ(daemon.acquired().size(), 2U);
  for (const v1::AcquireRequest& request : daemon.acquired()) {
    EXPECT_EQ(request.value(), "here");
    EXPECT_EQ(request.lock_delay().seconds(), 2);
  }
  (void)client->acquire("other").value();
  EXPECT_FALSE(daemon.acquired().back().has_lock_delay());
}

TEST_F(ObserveTest, EveryReleaseCanKeepTheKey) {
  const ReleaseOptions keep{.keep_for = seconds(60)};
  const AcquireOptions keeps{.keep_for = seconds(60)};
  std::size_t released = 0;
  const auto was_kept = [&] {
    EXPECT_TRUE(Eventually([&] { return daemon.released().size() == released + 1; }));
    ++released;
    return daemon.released().back().keep_for().seconds() == 60;
  };
  EXPECT_TRUE(client->acquire("k").value().release(keep));
  EXPECT_TRUE(was_kept());
  EXPECT_TRUE(client->release("k", "t", seconds(5), keep));
  EXPECT_TRUE(was_kept());
  { const auto lock = client->acquire("k", keeps).value(); }
  EXPECT_TRUE(was_kept());
  EXPECT_TRUE(client->with_lock("k", keeps, [](const Lock&) {}));
  EXPECT_TRUE(was_kept());
  EXPECT_EQ(client->with_lock("k", keeps, [](const Lock&) { return 7; }).value(), 7);
  EXPECT_TRUE(was_kept());
  Mutex mutex(*client, "k", keeps);
  { const std::lock_guard guard(mutex); }
  EXPECT_TRUE(was_kept());
  EXPECT_TRUE(client->acquire("k", keeps).value().release());
  EXPECT_FALSE(was_kept()) << "release() names its own";
}

TEST_F(ObserveTest, ABadTimeToKeepLeavesTheLockHeld) {
  auto lock = client->acquire("k").value();
  for (const Duration bad : {Duration(0), Duration(-1), Duration::max()}) {
    EXPECT_EQ(lock.release({.keep_for = bad}).error().reason, Reason::kInvalidArgument);
    EXPECT_EQ(client->release("k", "t", seconds(5), {.keep_for = bad}).error().reason,
              Reason::kInvalidArgument);
    EXPECT_EQ(client->acquire("k", {.keep_for = bad}).error().reason, Reason::kInvalidArgument);
  }
  EXPECT_TRUE(lock.held());
  EXPECT_TRUE(daemon.released().empty());
}

TEST_F(ObserveTest, AValueIsProclaimed) {
  auto lock = client->acquire("k").value();
  EXPECT_TRUE(lock.proclaim("new"));
  EXPECT_EQ(daemon.proclaimed().back().value(), "new");
  EXPECT_EQ(daemon.proclaimed().back().token(), lock.token());
  EXPECT_EQ(daemon.proclaimed().back().key(), "k");
  EXPECT_TRUE(client->proclaim("k", "t", "by token"));
  EXPECT_EQ(daemon.proclaimed().back().token(), "t");
  EXPECT_EQ(lock.proclaim(std::string(4097, 'x')).error().reason, Reason::kInvalidArgument);
  EXPECT_EQ(client->proclaim("k", "", "x").error().reason, Reason::kInvalidArgument);
  EXPECT_EQ(daemon.proclaimed().size(), 2U);
  EXPECT_TRUE(lock.held());
  daemon.Answer(grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken"));
  EXPECT_TRUE(lock.proclaim("elsewhere"));
  EXPECT_EQ(second.proclaimed().back().value(), "elsewhere");
  EXPECT_TRUE(lock.release());
  EXPECT_EQ(lock.proclaim("late").error().reason, Reason::kLockNotHeld);
}

// --- Elections

TEST_F(ObserveTest, ALeaderProclaimsAndResigns) {
  Election election(*client, "k");
  EXPECT_EQ(election.proclaim("x").error().reason, Reason::kLockNotHeld);
  EXPECT_EQ(election.resign().error().reason, Reason::kLockNotHeld);
  auto lead = election.campaign("one", {.ttl = seconds(20), .lock_delay = seconds(1)}).value();
  EXPECT_EQ(lead.fencing_token(), 7U);
  EXPECT_EQ(daemon.acquired().back().value(), "one");
  EXPECT_EQ(daemon.acquired().back().key(), "k");
  EXPECT_EQ(daemon.acquired().back().lock_delay().seconds(), 1);
  EXPECT_TRUE(election.proclaim("two"));
  EXPECT_EQ(daemon.proclaimed().back().value(), "two");
  EXPECT_TRUE(election.resign({.keep_for = seconds(3)}));
  EXPECT_FALSE(lead.held());
  EXPECT_EQ(daemon.released().back().token(), lead.token());
  EXPECT_EQ(daemon.released().back().keep_for().seconds(), 3);
  EXPECT_EQ(election.resign().error().reason, Reason::kLockNotHeld);
}

TEST_F(ObserveTest, ReleasingTheLockIsResigning) {
  Election election(*client, "k");
  for (int i = 0; i < 2; ++i) {
    auto lead = election.campaign("one").value();
    EXPECT_TRUE(election.proclaim("two"));
    if (i == 0) {
      EXPECT_TRUE(lead.release());
    }
  }
  EXPECT_EQ(election.proclaim("three").error().reason, Reason::kLockNotHeld);
  EXPECT_EQ(election.resign().error().reason, Reason::kLockNotHeld);
  EXPECT_EQ(election.campaign(std::string(4097, 'x')).error().reason, Reason::kInvalidArgument);
}

TEST_F(ObserveTest, TheLeaderIsTheFirstDecidedState) {
  Election election(*client, "k");
  daemon.Report(Undecided("too few nodes answer"));
  const Error no_quorum = election.leader(milliseconds(500)).error();
  EXPECT_EQ(no_quorum.reason, Reason::kQuorumUnavailable);
  EXPECT_EQ(no_quorum.message, "too few nodes answer");
  daemon.Report(Held(5, "one"));
  EXPECT_EQ(election.leader().value().value, "one");
  EXPECT_TRUE(Eventually([this] { return daemon.streams() == 0; }));
  auto observer = election.observe().value();
  EXPECT_TRUE(Eventually([&] { return Next(observer).value == "one"; }));
  daemon.End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken"));
  second.End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken"));
  EXPECT_EQ(election.leader(seconds(2)).error().reason, Reason::kUnreachable);
  EXPECT_EQ(election.leader(milliseconds(10)).error().reason, Reason::kDeadlineExceeded);
  daemon.Serve();
  daemon.Report(Vacant());
  EXPECT_EQ(election.leader().value().state, HolderState::kVacant);
}

}  // namespace
}  // namespace redlock::client
