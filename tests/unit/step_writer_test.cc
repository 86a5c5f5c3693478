#include "server/redis/step_writer.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace redlock::redis {
namespace {

using std::chrono::milliseconds;

void ExpectSame(const StepText& text, const StepText& expected, std::size_t change) {
  EXPECT_EQ(text.group, expected.group) << "change " << change;
  EXPECT_EQ(text.key_hashes, expected.key_hashes) << "change " << change;
  EXPECT_EQ(text.keys, expected.keys) << "change " << change;
  EXPECT_EQ(text.arguments, expected.arguments) << "change " << change;
  EXPECT_EQ(text.key_count, expected.key_count) << "change " << change;
  EXPECT_EQ(text.argument_count, expected.argument_count) << "change " << change;
  EXPECT_EQ(text.fence, expected.fence) << "change " << change;
  EXPECT_EQ(text.longest_ttl, expected.longest_ttl) << "change " << change;
  EXPECT_EQ(text.inspects, expected.inspects) << "change " << change;
}

// The arguments of a step, to be changed one at a time.
struct Arguments {
  Key key{"key"};
  OwnerToken token{"token"};
  Owner owner{.label = OwnerLabel("label"), .lock_delay = milliseconds(10)};
  Duration ttl = milliseconds(10'000);
  Duration longest = milliseconds(60'000);
  FencingToken fence{1'000};
  AttemptId attempt{7};
  bool adopt = false;
  Duration least_delay{};
  std::optional<Keeper> keeper;
  FencingToken other_fence{};
  std::optional<AttemptId> only_attempt;
  bool announce = true;
  Duration keep_for{};
  bool leave_delay = false;
};

using Change = std::function<void(Arguments&)>;

// A writer that has written another step writes what a new writer does.
template <typename StepOf>
void ExpectEachToBeWritten(const StepOf& step_of, const std::vector<Change>& changes) {
  const Arguments usual;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Arguments changed;
    changes[i](changed);
    StepWriter writer;
    StepWriter fresh;
    const StepText before = writer.Write(step_of(usual));
    ExpectSame(writer.Write(step_of(usual)), before, i);
    ExpectSame(writer.Write(step_of(changed)), fresh.Write(step_of(changed)), i);
    ExpectSame(writer.Write(step_of(usual)), before, i);
  }
}

TEST(StepWriter, AnAcquisitionThatDiffersIsWrittenAnew) {
  const auto step_of = [](const Arguments& of) {
    return AcquireStep{.key = of.key,
                       .token = of.token,
                       .ttl = of.ttl,
                       .longest = of.longest,
                       .fence = of.fence,
                       .attempt = of.attempt,
                       .owner = of.owner,
                       .adopt = of.adopt};
  };
  ExpectEachToBeWritten(step_of, {
                                     [](Arguments& a) { a.key = Key("other"); },
                                     [](Arguments& a) { a.key = a.key.Shared(); },
                                     [](Arguments& a) { a.key = a.key.Slot(3, 2); },
                                     [](Arguments& a) {
                                       a.key = Key::Of({"key", "other"});
                                     },
                                     [](Arguments& a) { a.token = OwnerToken("other"); },
                                     [](Arguments& a) { a.ttl += milliseconds(1); },
                                     [](Arguments& a) { a.longest = a.ttl + milliseconds(5); },
                                     [](Arguments& a) { ++a.fence.value; },
                                     [](Arguments& a) { ++a.attempt.value; },
                                     [](Arguments& a) { a.owner.label = OwnerLabel("other"); },
                                     [](Arguments& a) { a.owner.origin = Origin("a b c"); },
                                     [](Arguments& a) { a.owner.value = PublishedValue("v"); },
                                     [](Arguments& a) { a.owner.value_number = 5; },
                                     [](Arguments& a) { a.owner.lock_delay = milliseconds(9); },
                                     [](Arguments& a) { a.adopt = true; },
                                 });
}

TEST(StepWriter, AnExtensionThatDiffersIsWrittenAnew) {
  const auto step_of = [](const Arguments& of) {
    return ExtendStep{.key = of.key,
                      .token = of.token,
                      .ttl = of.ttl,
                      .longest = of.longest,
                      .raise_to = of.fence,
                      .least_delay = of.least_delay,
                      .keeper = of.keeper,
                      .adopt = of.adopt,
                      .downgrade_from = of.other_fence};
  };
  ExpectEachToBeWritten(step_of,
                        {
                            [](Arguments& a) { a.key = Key("other"); },
                            [](Arguments& a) { a.key = a.key.Shared(); },
                            [](Arguments& a) { a.token = OwnerToken("other"); },
                            [](Arguments& a) { a.ttl += milliseconds(1); },
                            [](Arguments& a) { a.longest += milliseconds(1); },
                            [](Arguments& a) { ++a.fence.value; },
                            [](Arguments& a) { a.fence = {}; },
                            [](Arguments& a) { a.least_delay = milliseconds(3); },
                            [](Arguments& a) { a.keeper = Keeper{.number = 4, .id = {5}}; },
                            [](Arguments& a) { a.adopt = true; },
                        });
  const auto plain_of = [&step_of](const Arguments& of) {
    ExtendStep step = step_of(of);
    step.raise_to = {};
    return step;
  };
  const Arguments usual;
  EXPECT_EQ(StepWriter().Write(plain_of(usual)).group, StepGroup::kExtension);
  ExpectEachToBeWritten(plain_of,
                        {
                            [](Arguments& a) { a.key = Key("other"); },
                            [](Arguments& a) { a.key = Key("key").Slot(2, 1); },
                            [](Arguments& a) { a.token = OwnerToken("other"); },
                            [](Arguments& a) { a.ttl += milliseconds(1); },
                            [](Arguments& a) { a.longest += milliseconds(1); },
                            [](Arguments& a) { a.least_delay = milliseconds(3); },
                            [](Arguments& a) { a.keeper = Keeper{.number = 4, .id = {5}}; },
                            [](Arguments& a) { a.adopt = true; },
                        });
  Arguments shared;
  shared.key = shared.key.Shared();
  Arguments downgrade = shared;
  downgrade.other_fence = {900};
  StepWriter writer;
  StepWriter fresh;
  (void)writer.Write(step_of(shared));
  ExpectSame(writer.Write(step_of(downgrade)), fresh.Write(step_of(downgrade)), 0);
}

TEST(StepWriter, AReleaseThatDiffersIsWrittenAnew) {
  const auto step_of = [](const Arguments& of) {
    return ReleaseStep{.key = of.key,
                       .token = of.token,
                       .only_attempt = of.only_attempt,
                       .seal = of.other_fence,
                       .announce = of.announce,
                       .at_end_of = of.keeper,
                       .keep_for = of.keep_for,
                       .leave_delay = of.leave_delay};
  };
  ExpectEachToBeWritten(step_of,
                        {
                            [](Arguments& a) { a.key = Key("other"); },
                            [](Arguments& a) { a.token = OwnerToken("other"); },
                            [](Arguments& a) { a.only_attempt = AttemptId{3}; },
                            [](Arguments& a) { a.other_fence = {900}; },
                            [](Arguments& a) { a.announce = false; },
                            [](Arguments& a) { a.keeper = Keeper{.number = 4, .id = {5}}; },
                            [](Arguments& a) { a.keep_for = milliseconds(100); },
                            [](Arguments& a) { a.leave_delay = true; },
                        });
}

TEST(StepWriter, NothingOfAnEarlierStepIsLeftInALaterOne) {
  const Arguments of;
  const AcquireStep acquire{.key = of.key,
                            .token = of.token,
                            .ttl = of.ttl,
                            .longest = of.longest,
                            .fence = of.fence,
                            .attempt = of.attempt,
                            .owner = of.owner};
  const ReleaseStep release{.key = of.key, .token = of.token, .announce = true};
  const InspectStep inspect{.key = of.key};
  const IntendStep intend{.key = of.key, .id = {3}, .ttl = milliseconds(50)};
  const auto write = [&](StepWriter& writer, std::size_t i) {
    return i == 0   ? writer.Write(acquire)
           : i == 1 ? writer.Write(release)
           : i == 2 ? writer.Write(inspect)
                    : writer.Write(intend);
  };
  constexpr std::size_t kKinds = 4;
  for (std::size_t first = 0; first < kKinds; ++first) {
    for (std::size_t second = 0; second < kKinds; ++second) {
      StepWriter writer;
      StepWriter fresh;
      (void)write(writer, first);
      ExpectSame(write(writer, second), write(fresh, second), first * kKinds + second);
    }
  }
}

}  // namespace
}  // namespace redlock::redis
