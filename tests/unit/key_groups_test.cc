#include "server/core/key_groups.h"

#include <gtest/gtest.h>

#include "server/core/statistics.h"

namespace redlock {
namespace {

TEST(KeyGroups, TheFirstPatternThatMatchesCounts) {
  const KeyGroups groups{{"billing/*", "*/nightly", "billing/close"}};
  ASSERT_EQ(groups.size(), 4U);
  EXPECT_EQ(groups.Of(Key("billing/close")), 0U);
  EXPECT_EQ(groups.Of(Key("billing/nightly")), 0U);
  EXPECT_EQ(groups.Of(Key("reports/nightly")), 1U);
  EXPECT_EQ(groups.Of(Key("reports")), 3U);
  EXPECT_EQ(groups.NameOf(1), "*/nightly");
  EXPECT_EQ(groups.NameOf(3), "other");
  EXPECT_EQ(KeyGroups{}.Of(Key("billing/close")), 0U);
  EXPECT_EQ(KeyGroups{}.NameOf(0), "other");
}

TEST(KeyGroups, AKeyCountsHoweverItIsHeldAndOneOfSeveralIsEnough) {
  const KeyGroups groups{{"a", "b*"}};
  EXPECT_EQ(groups.Of(Key("a").Shared()), 0U);
  EXPECT_EQ(groups.Of(Key("a").Slot(3, 2)), 0U);
  EXPECT_EQ(groups.Of(Key::Of({"b1", "c"})), 1U);
  EXPECT_EQ(groups.Of(Key::Of({"a", "b1"}).Shared()), 0U);
  EXPECT_EQ(groups.Of(Key::Of({"c", "d"})), 2U);
}

TEST(GroupStatistics, ShardsAddUpByGroup) {
  Statistics one(1, 2), sum(1);
  one.groups[1].waits.Add(std::chrono::minutes(10));
  sum += one;
  sum += one;
  ASSERT_EQ(sum.groups.size(), 2U);
  const auto& counts = sum.groups[1].waits.counts();
  EXPECT_EQ(counts[12], 2U);  // up to 15 minutes
  EXPECT_EQ(sum.groups[0].waits.sum_seconds(), 0);
  EXPECT_EQ(sum.groups[1].waits.sum_seconds(), 1200);
}

}  // namespace
}  // namespace redlock
