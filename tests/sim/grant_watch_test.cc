// Tests of the health of a daemon whose nodes are connected but cannot grant.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/sim/scenario.h"

namespace redlock::sim {
namespace {

class Grants : public Scenario {
 protected:
  void SetUpWatched(Duration delay = microseconds(100)) {
    ClusterOptions options;
    options.guard = GuardMode::kOn;
    options.faults.least_delay = delay;
    options.faults.most_delay = delay;
    cluster.emplace(world, options);
    cluster->shard(0).WatchQuorum([this](bool quorum) { healthy = quorum; });
  }
  void TearDown() override {
    cluster->shard(0).WatchQuorum({});
    Scenario::TearDown();
  }
  [[nodiscard]] std::string FaultOf(std::size_t node) {
    return cluster->shard(0).grants()->Fault(node).value_or("");
  }

  bool healthy = false;
};

TEST_F(Grants, ADaemonIsHealthyOnceAQuorumHasProvenThatItCanGrant) {
  SetUpWatched();
  EXPECT_FALSE(healthy);
  Pass(milliseconds(50));
  EXPECT_TRUE(healthy);
}

TEST_F(Grants, NodesThatRefuseWritesAreNotAQuorum) {
  SetUpWatched();
  Pass(seconds(2));
  cluster->server(0).SetFull(true);
  Pass(seconds(2));
  EXPECT_NE(FaultOf(0).find("OOM"), std::string::npos) << FaultOf(0);
  EXPECT_TRUE(healthy) << "two of three are a quorum";
  cluster->server(1).SetFull(true);
  Pass(seconds(2));
  EXPECT_FALSE(healthy);
  EXPECT_FALSE(Acquire(Wants("key", seconds(1))).lease);
  cluster->server(1).SetFull(false);
  EXPECT_TRUE(Acquire(Wants("key", seconds(1))).lease) << "a node that has recovered votes at once";
  Pass(seconds(2));
  EXPECT_TRUE(healthy);
  EXPECT_EQ(FaultOf(1), "");
}

TEST_F(Grants, NodesFartherAwayThanTheNodeTimeoutAreNeverAQuorum) {
  SetUpWatched(milliseconds(30));  // each way; the node timeout is 50 ms
  bool ever = false;
  cluster->shard(0).WatchQuorum([&ever](bool quorum) { ever = ever || quorum; });
  Pass(seconds(20));
  EXPECT_FALSE(ever);
  EXPECT_NE(FaultOf(0).find("--node-timeout"), std::string::npos) << FaultOf(0);
}

TEST_F(Grants, OneLateAnswerChangesNothing) {
  SetUpWatched();
  Pass(seconds(2));
  cluster->Pause(0);
  cluster->Pause(1);
  Pass(milliseconds(1500));
  cluster->Resume(0);
  cluster->Resume(1);
  Pass(seconds(1));
  EXPECT_TRUE(healthy);
  EXPECT_EQ(FaultOf(0), "");
}

TEST_F(Grants, NodesThatStopAnsweringAreNamedAndRecover) {
  SetUpWatched();
  Pass(seconds(2));
  cluster->Pause(0);
  cluster->Pause(1);
  Pass(seconds(10));
  cluster->Resume(0);
  cluster->Resume(1);
  Pass(seconds(5));
  EXPECT_TRUE(healthy);
  EXPECT_EQ(FaultOf(0), "");
}

}  // namespace
}  // namespace redlock::sim
