// Far more acquisitions than the daemon and its nodes can serve: they are refused early, and held
// leases stay held, also while all leases of the load are released at once at its end. Runs for
// REDLOCK_OVERLOAD_SECONDS (default 5). The streams' flow control also slows the load down, because
// the daemon does not read what it cannot serve.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "tests/e2e/service_fixture.h"

namespace redlock::testing {
namespace {

constexpr seconds kTtl{10};
using Millis = std::chrono::duration<double, std::milli>;

seconds LoadTime() {
  const char* const value = std::getenv("REDLOCK_OVERLOAD_SECONDS");
  return seconds(value == nullptr ? 5 : std::atoi(value));
}

// A Session that acquires its own keys and releases what it gets.
class Crowd {
 public:
  Crowd(const std::string& address, std::string name)
      : name_(std::move(name)),
        stub_(v1::LockService::NewStub(Connect(address))),
        stream_(stub_->Session(&context_)),
        reader_([this] { Read(); }) {}
  ~Crowd() {
    context_.TryCancel();
    reader_.join();
  }

  // Requests `count` more keys, unless too many requests are unanswered.
  void Offer(int count) {
    v1::SessionRequest request;
    const std::lock_guard lock(mutex_);
    for (; count > 0 && pending_ < kMostPending; --count) {
      v1::SessionOperation& operation = *request.add_operations();
      operation.set_id(++last_id_);
      v1::AcquireRequest& acquire = *operation.mutable_acquire();
      acquire.set_key(name_ + std::to_string(last_id_));
      Set(acquire.mutable_ttl(), kTtl);
      acquire.mutable_retry()->set_max_retries(0);
      ++pending_;
      ++offered;
    }
    if (request.operations_size() > 0) stream_->Write(request);
  }
  [[nodiscard]] int pending() const { return pending_; }

  std::atomic<int> offered = 0;
  std::atomic<int> granted = 0;
  std::atomic<int> refused = 0;  // OVERLOADED, with the time to wait
  // Too few nodes answered in time, because other processes used their cores. The daemon repeats
  // releases in the background.
  std::atomic<int> undecided = 0;
  std::atomic<int> otherwise = 0;  // must stay 0

 private:
  static constexpr int kMostPending = 9'000;  // each may become a release: within the limit

  static std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
    grpc::ChannelArguments own;  // own connection
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), own);
  }

  void Unexpected(const v1::SessionResult& result) {
    if (++otherwise > 1) return;
    ADD_FAILURE() << result.status().reason() << ": " << result.status().message();
  }

  void Read() {
    for (v1::SessionResponse response; stream_->Read(&response);) {
      v1::SessionRequest releases;
      for (const v1::SessionResult& result : response.results()) {
        if (result.has_lease()) {
          ++granted;
          v1::SessionOperation& operation = *releases.add_operations();
          operation.set_id(kReleases + result.id());
          operation.mutable_release()->set_key(result.lease().key());
          operation.mutable_release()->set_token(result.lease().token());
          continue;
        }
        --pending_;
        if (result.status().reason() == "QUORUM_UNAVAILABLE") {
          ++undecided;
        } else if (result.id() > kReleases) {
          if (result.has_status()) Unexpected(result);
        } else if (result.status().reason() == "OVERLOADED" && result.status().has_retry_delay()) {
          ++refused;
        } else {
          Unexpected(result);
        }
      }
      if (releases.operations_size() == 0) continue;
      const std::lock_guard lock(mutex_);
      stream_->Write(releases);
    }
  }

  static constexpr std::uint64_t kReleases = std::uint64_t{1} << 40U;

  const std::string name_;
  std::mutex mutex_;  // serializes writes
  std::uint64_t last_id_ = 0;
  std::atomic<int> pending_ = 0;
  grpc::ClientContext context_;
  std::unique_ptr<v1::LockService::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> stream_;
  std::thread reader_;
};

class OverloadTest : public ServiceTest {
 protected:
  // Cycles per second of a client that waits for its answers.
  int Capacity() {
    constexpr milliseconds kFor{2'000};
    Crowd crowd(daemon->address(), "capacity");
    const auto end = SteadyClock::now() + kFor;
    while (SteadyClock::now() < end) {
      crowd.Offer(256 - crowd.pending());
      std::this_thread::sleep_for(milliseconds(1));
    }
    return crowd.granted * 1'000 / static_cast<int>(kFor.count());
  }

  std::vector<v1::Lease> AcquireMany(const std::string& prefix, int count, seconds ttl = kTtl) {
    std::vector<v1::Lease> leases;
    for (int i = 0; i < count; ++i) {
      leases.push_back(MustAcquire(Wants(prefix + std::to_string(i), ttl)));
    }
    return leases;
  }
};

TEST_F(OverloadTest, NoLeaseIsLostAtTenTimesTheCapacity) {
  // The load, the daemon and the nodes share this machine, so nodes may have to wait for a core.
  // The queue time is short enough for requests to be refused, although the load's streams are not
  // read any faster.
  StartDaemon({"--node-timeout", "500ms", "--max-queue-time", "50ms"});
  const int capacity = Capacity();
  ASSERT_GT(capacity, 0);

  // A watchdog of the daemon keeps these leases for a client that only listens.
  const std::vector<v1::Lease> watched = AcquireMany("watched", 300);
  v1::WatchRequest request;
  for (const v1::Lease& lease : watched) {
    v1::WatchItem& item = *request.add_items();
    item.set_key(lease.key());
    item.set_token(lease.token());
    Set(item.mutable_ttl(), kTtl);
  }
  grpc::ClientContext watching;
  const auto events = stub->Watch(&watching, request);
  int extended = 0;
  std::thread listener([&events, &extended] {
    for (v1::WatchResponse event; events->Read(&event);) {
      extended += event.type() == v1::EVENT_TYPE_EXTENDED ? 1 : 0;
      EXPECT_NE(event.type(), v1::EVENT_TYPE_LOST) << event.key() << ": " << event.message();
    }
  });

  // Their holders extend and release these leases in separate calls.
  const std::vector<v1::Lease> extended_by_hand = AcquireMany("extended", 5);
  std::vector<v1::Lease> released_by_hand = AcquireMany("released", 100, std::chrono::minutes(5));

  int offered = 0;
  int granted = 0;
  int refused = 0;
  int undecided = 0;
  std::vector<std::thread> holders;
  std::atomic<bool> checked = false;
  std::atomic<Millis> slowest{Millis(0)};
  for (const v1::Lease& lease : extended_by_hand) {
    holders.emplace_back([&, lease] {
      while (!checked) {
        const auto start = SteadyClock::now();
        v1::ExtendResponse response;
        const grpc::Status status = Extend(lease, kTtl, response);
        EXPECT_TRUE(status.ok()) << status.error_message();
        const Millis took = SteadyClock::now() - start;
        if (took > slowest.load()) slowest = took;
        std::this_thread::sleep_for(milliseconds(200));
      }
    });
  }
  {
    std::vector<std::unique_ptr<Crowd>> crowds;
    for (int i = 0; i < 10; ++i) {
      crowds.push_back(std::make_unique<Crowd>(daemon->address(), "k" + std::to_string(i) + "/"));
    }
    std::atomic<bool> over = false;
    std::thread load([&] {
      auto next = SteadyClock::now();
      while (!over) {
        for (const auto& crowd : crowds) crowd->Offer(capacity / 100);
        next += milliseconds(10);
        std::this_thread::sleep_until(next);
      }
    });
    const auto end = SteadyClock::now() + LoadTime();
    while (SteadyClock::now() < end) {
      if (!released_by_hand.empty()) {
        const grpc::Status status = Release(released_by_hand.back());
        EXPECT_TRUE(status.ok()) << status.error_message();
        released_by_hand.pop_back();
      }
      std::this_thread::sleep_for(milliseconds(500));
    }
    over = true;
    load.join();
    for (const auto& crowd : crowds) {
      offered += crowd->offered;
      granted += crowd->granted;
      refused += crowd->refused;
      undecided += crowd->undecided;
      EXPECT_EQ(crowd->otherwise, 0);
    }
  }
  for (const v1::Lease& lease : watched) {
    v1::InspectResponse seen;
    EXPECT_TRUE(Eventually([&] {
      seen = Inspect(lease.key());
      return !seen.undecided();
    }));
    EXPECT_TRUE(seen.held()) << lease.key();
    EXPECT_EQ(seen.fencing_token(), lease.fencing_token()) << lease.key();
  }
  checked = true;
  for (std::thread& holder : holders) holder.join();
  watching.TryCancel();
  listener.join();
  std::printf(
      "capacity %d/s; offered %d, granted %d, refused %d, undecided %d in %d s; "
      "%d extensions by watchdogs; slowest unary extension %.0f ms\n",
      capacity, offered, granted, refused, undecided, static_cast<int>(LoadTime().count()),
      extended, slowest.load().count());
  EXPECT_GT(granted, 0);
  EXPECT_GT(refused, 0);
  EXPECT_LT(undecided, granted / 100 + 1);
  EXPECT_GT(extended, 300);
}

}  // namespace
}  // namespace redlock::testing
