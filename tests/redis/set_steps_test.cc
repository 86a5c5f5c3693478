// The steps on what a node stores about the node set, on real nodes. The simulation's model of a
// node must give the same replies to all requests: the random choices are seeded, and no wait ends
// during the test.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/redis/node_fixture.h"
#include "tests/sim/server.h"

namespace redlock::redis {
namespace {

class SetRecorder final : public SetSink {
 public:
  void OnSetReply(NodeIndex /*node*/, SetReply reply) override { replies.push_back(reply); }
  std::vector<SetReply> replies;
};

class SetSteps : public NodeTest {
 protected:
  std::uint64_t Below(std::uint64_t bound) { return world.Below(bound); }
  bool Mostly() { return Below(5) != 0; }
  // The value that the node has, or sometimes another one.
  std::string MostlyOf(const std::string& present, const std::string& other) {
    return Mostly() ? present : other + std::to_string(Below(2));
  }

  SetRecord AnyRecord(const SetState& state) {
    const std::uint64_t epoch = state.record ? state.record->epoch : 0;
    SetRecord record{.set_id = "set",
                     .epoch = Mostly() ? epoch + 1 : 1 + Below(4),
                     .members = {{"member-0", "a"}, {"member-1", "b"}},
                     .before = {{"member-0", "a"}},
                     .max_ttl = seconds(10 + static_cast<int>(Below(2))),
                     .fence_retention = seconds(100),
                     .wait = Below(2) == 0 ? Duration{} : Duration(seconds(500)),
                     .wanted_add = {"c"},
                     .wanted_remove = {"member-1"}};
    return record;
  }
  Ballot AnyBallot() { return {last / 8 + Below(5), 1 + Below(2)}; }

  SetStep AnyStep() {
    ++last;
    const SetState state = model.AskSet({}).state;
    const std::uint64_t epoch = state.record ? state.record->epoch : 0;
    SetStep step;
    constexpr SetStep::Kind kKinds[] = {
        SetStep::Kind::kRead,    SetStep::Kind::kEnroll, SetStep::Kind::kFound,
        SetStep::Kind::kPrepare, SetStep::Kind::kAccept, SetStep::Kind::kLearn,
        SetStep::Kind::kReadmit, SetStep::Kind::kAccept, SetStep::Kind::kPrepare};
    step.kind = kKinds[Below(std::size(kKinds))];
    step.member = MostlyOf(state.member.empty() ? "member-0" : state.member, "member-");
    step.replaces = MostlyOf(state.member, "member-");
    step.mark = step.kind == SetStep::Kind::kEnroll ? "mark-" + std::to_string(Below(3))
                                                    : MostlyOf(state.mark, "mark-");
    step.new_mark = "mark-" + std::to_string(Below(5));
    step.epoch = Mostly() ? epoch : Below(4);
    step.ballot = AnyBallot();
    step.record = AnyRecord(state);
    if (Below(2) == 0) step.accepted = Proposal{AnyBallot(), AnyRecord(state)};
    step.back = Below(2) == 0;
    if (step.accepted) step.accepted->record.epoch = step.record.epoch + 1;
    return step;
  }

  void Agree(const SetStep& step) {
    const std::string name =
        "step " + std::to_string(last) + ", kind " + std::to_string(static_cast<int>(step.kind));
    const auto sink = std::make_shared<SetRecorder>();
    DoOnStrand([&] { node->AskSet(step, sink); });
    ASSERT_TRUE(RunUntil([&] { return !sink->replies.empty(); }));
    const SetReply& real = sink->replies.front();
    const SetReply simulated = model.AskSet(step);
    ASSERT_TRUE(real.answered) << name << ": " << real.error;
    ASSERT_EQ(real.done, simulated.done) << name;
    EXPECT_EQ(real.state.member, simulated.state.member) << name;
    EXPECT_EQ(real.state.record, simulated.state.record) << name;
    EXPECT_EQ(real.state.promised, simulated.state.promised) << name;
    EXPECT_EQ(real.state.accepted, simulated.state.accepted) << name;
    EXPECT_EQ(real.state.readmitted, simulated.state.readmitted) << name;
    EXPECT_EQ(real.state.stamp, simulated.state.stamp) << name;
    EXPECT_EQ(real.state.mark, simulated.state.mark) << name;
    EXPECT_EQ(real.state.wait > Duration{}, simulated.state.wait > Duration{}) << name;
    if (real.done) ++done[step.kind];
  }
  void AgreeOnMark() {
    const SetState state = model.AskSet({}).state;
    const std::string from = MostlyOf(state.mark, "mark-");
    const std::string to = "mark-" + std::to_string(Below(5));
    const std::string stamp = Below(2) == 0 ? "" : MostlyOf(state.stamp, "stamp-");
    const NodeReply real =
        Ask([&](auto sink) { node->Mark({.from = from, .to = to, .stamp = stamp}, sink); });
    const NodeReply simulated = model.Mark(from, to, stamp);
    EXPECT_EQ(real.mark, simulated.mark) << from << " to " << to << " at " << stamp;
    EXPECT_EQ(real.stamp, simulated.stamp);
  }

  RedisServer server;
  sim::World world{11};
  sim::Server model{world, 1.0};
  std::map<SetStep::Kind, int> done;
  std::uint64_t last = 0;
};

TEST_F(SetSteps, ScriptAndSimulatedServerGiveTheSameReplies) {
  OpenReady(Tcp(server));
  for (int i = 0; i < 3'000 && !HasFailure(); ++i) {
    if (Below(40) == 0) {
      EXPECT_EQ(server.Cli("FLUSHALL"), "OK");
      model.LoseData();
    }
    if (Below(6) == 0) AgreeOnMark();
    Agree(AnyStep());
  }
  for (const SetStep::Kind kind :
       {SetStep::Kind::kRead, SetStep::Kind::kEnroll, SetStep::Kind::kFound,
        SetStep::Kind::kPrepare, SetStep::Kind::kAccept, SetStep::Kind::kLearn,
        SetStep::Kind::kReadmit}) {
    EXPECT_GT(done[kind], 10) << static_cast<int>(kind);
  }
}

}  // namespace
}  // namespace redlock::redis
