// Several daemons contend for one key.
#include <atomic>
#include <deque>
#include <thread>

#include "tests/e2e/service_fixture.h"

namespace redlock::testing {
namespace {

constexpr int kDaemons = 8;
constexpr int kTurnsEach = 4;

TEST(RivalsTest, EightDaemonsThatContendForOneKeyAllAcquireIt) {
  const auto nodes = StartNodes(3);
  std::deque<Daemon> daemons;
  for (int i = 0; i < kDaemons; ++i) daemons.emplace_back(nodes);
  std::atomic<int> inside = 0;
  std::atomic<std::uint64_t> last_fence = 0;
  std::vector<std::thread> threads;
  for (const Daemon& daemon : daemons) {
    threads.emplace_back([&] {
      const auto stub = v1::LockService::NewStub(
          grpc::CreateChannel(daemon.address(), grpc::InsecureChannelCredentials()));
      for (int turn = 0; turn < kTurnsEach; ++turn) {
        v1::AcquireRequest wanted;
        wanted.set_key("fought-over");
        Set(wanted.mutable_ttl(), seconds(10));
        grpc::ClientContext acquiring;
        acquiring.set_deadline(std::chrono::system_clock::now() + seconds(60));
        v1::AcquireResponse acquired;
        const grpc::Status status = stub->Acquire(&acquiring, wanted, &acquired);
        ASSERT_TRUE(status.ok()) << status.error_message();
        EXPECT_EQ(++inside, 1) << "two holders at the same time";
        const std::uint64_t fence = acquired.lease().fencing_token();
        EXPECT_GT(fence, last_fence.exchange(fence));
        --inside;
        v1::ReleaseRequest held;
        held.set_key("fought-over");
        held.set_token(acquired.lease().token());
        grpc::ClientContext releasing;
        v1::ReleaseResponse released;
        EXPECT_TRUE(stub->Release(&releasing, held, &released).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_NE(last_fence, 0U);
}

}  // namespace
}  // namespace redlock::testing
