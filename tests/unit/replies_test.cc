// How replies of a node are parsed for the lock logic.
#include "server/redis/replies.h"

#include <gtest/gtest.h>
#include <hiredis/hiredis.h>

#include <chrono>
#include <memory>
#include <string>

#include "server/redis/connection.h"
#include "server/redis/node_error.h"

namespace redlock::redis {
namespace {

struct Free {
  void operator()(redisReader* reader) const { redisReaderFree(reader); }
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};

std::unique_ptr<redisReply, Free> Read(const std::string& wire) {
  const std::unique_ptr<redisReader, Free> reader(NewReader());
  redisReaderFeed(reader.get(), wire.data(), wire.size());
  void* reply = nullptr;
  redisReaderGetReply(reader.get(), &reply);
  return std::unique_ptr<redisReply, Free>(static_cast<redisReply*>(reply));
}

constexpr WallTime kNow{std::chrono::seconds(1'800'000'000)};

// The reply to one step: `element`, followed by the node's clock in microseconds.
NodeReply AnswerTo(StepKind kind, const std::string& element,
                   const std::string& clock = "1800000000000000") {
  const auto reply = Read("*2\r\n" + element + ":" + clock + "\r\n");
  return BatchReply(*reply, 1, kNow).At(0, {kind, {7}});
}

std::string HeldFor(const std::string& millis) { return "*2\r\n$4\r\nheld\r\n:" + millis + "\r\n"; }

TEST(Replies, AGrantHasTheProposedFenceAndTheNodesClock) {
  const NodeReply reply = AnswerTo(StepKind::kAcquire, ":1\r\n");
  EXPECT_EQ(reply.outcome, Outcome::kGranted);
  EXPECT_EQ(reply.fence, FencingToken{7});
  EXPECT_EQ(reply.clock, std::chrono::microseconds(1'800'000'000'000'000));
}

TEST(Replies, AHeldKeyReportsItsRemainingTtl) {
  const NodeReply reply = AnswerTo(StepKind::kAcquire, HeldFor("1500"));
  EXPECT_EQ(reply.outcome, Outcome::kHeld);
  EXPECT_EQ(reply.remaining, std::chrono::milliseconds(1500));
}

std::string Word(const std::string& text) {
  return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}
// `holder` is what the node stores about the holder.
NodeReply HeldBy(const std::string& token, const std::string& holder) {
  return AnswerTo(StepKind::kAcquire, "*4\r\n$4\r\nheld\r\n:1500\r\n" + Word(token) + Word(holder));
}

TEST(Replies, AHeldKeyNamesTheHolderIfTheLabelIsOfItsToken) {
  const std::string digest = "l82ftt3ca5aq";  // FNV-1a of "token" in base 36
  const NodeReply reply = HeldBy("token", digest + " web-1/7/app -");
  EXPECT_EQ(reply.outcome, Outcome::kHeld);
  EXPECT_EQ(reply.remaining, std::chrono::milliseconds(1500));
  EXPECT_EQ(reply.holder, OwnerToken("token"));
  EXPECT_EQ(reply.owner, Owner{.label = OwnerLabel("web-1/7/app")});
  EXPECT_TRUE(HeldBy("another", digest + " web-1/7/app -").owner.empty());
  EXPECT_TRUE(HeldBy("token", digest).owner.empty()) << "without a label";
  EXPECT_TRUE(HeldBy("token", "").owner.empty());
  EXPECT_EQ(HeldBy("token", digest + " a\xff" + "b -").owner.label, OwnerLabel("a"));
  EXPECT_EQ(HeldBy("token", digest + " " + std::string(127, 'a') + "\xc3\xb6 -").owner.label,
            OwnerLabel(std::string(127, 'a')));
}

TEST(Replies, AHeldKeyReportsItsHoldersOriginAndTimeOfAcquisition) {
  const std::string digest = "l82ftt3ca5aq";
  const auto owner = [&digest](const std::string& text) {
    return HeldBy("token", digest + text).owner;
  };
  const Origin origin("host:50051 billing ipv4:10.0.0.1:4711");
  const Duration since = kNow.time_since_epoch() - std::chrono::milliseconds(1'500);
  const std::string words = " @host:50051 billing ipv4:10.0.0.1:4711";
  EXPECT_EQ(owner(words + " 1500"), (Owner{.label = {}, .origin = origin, .since = since}));
  EXPECT_EQ(owner(words + " -"), (Owner{.label = {}, .origin = origin}));
  EXPECT_EQ(owner(words + " a label 1500"),
            (Owner{.label = OwnerLabel("a label"), .origin = origin, .since = since}));
  EXPECT_EQ(owner(" label\xff"
                  "2000 77 a value 1500"),
            (Owner{.label = OwnerLabel("label"),
                   .origin = {},
                   .since = since,
                   .value = PublishedValue("a value"),
                   .value_number = 77,
                   .lock_delay = std::chrono::seconds(2)}));
  EXPECT_EQ(owner("\xff"
                  "2000 0  -")
                .lock_delay,
            std::chrono::seconds(2));
  // Another program has written these.
  for (const std::string& text :
       {std::string("@17 two"), std::string("@"), std::string("@17"), std::string("@a b c\xff"),
        std::string("@a b c\xff"
                    "1"),
        std::string("@a b c\xff"
                    "1 x y")}) {
    const Owner found = owner(" " + text + " 99999999999999999999");
    EXPECT_EQ(found.since, Duration()) << text;
    EXPECT_EQ(found.lock_delay, Duration()) << text;
    EXPECT_TRUE(found.value.empty()) << text;
    if (!found.origin.empty()) continue;
    EXPECT_EQ(found.label.str(), text.substr(0, text.find('\xff')));
  }
}

TEST(Replies, ASharedKeyNamesOneWhoSharesIt) {
  const std::string digest = "l82ftt3ca5aq";
  const auto shared = [](const std::string& holder, const std::string& token,
                         const std::string& sharers) {
    return AnswerTo(StepKind::kAcquire, "*6\r\n$4\r\nheld\r\n:1500\r\n" + Word("redlockd:shared") +
                                            Word(holder) + Word(token) + ":" + sharers + "\r\n");
  };
  NodeReply reply = shared(digest + " reader 1500", "token", "3");
  EXPECT_EQ(reply.outcome, Outcome::kHeld);
  EXPECT_EQ(reply.holder, OwnerToken("redlockd:shared"));
  EXPECT_TRUE(reply.owner.empty()) << "the marker has no owner";
  EXPECT_EQ(reply.sharers, 3);
  ASSERT_EQ(reply.shares.size(), 1U);
  EXPECT_EQ(reply.shares[0].token, OwnerToken("token"));
  EXPECT_EQ(reply.shares[0].owner.label, OwnerLabel("reader"));
  EXPECT_TRUE(shared(digest + " reader 1500", "another", "3").shares[0].owner.empty());
  EXPECT_TRUE(shared("", "", "3").shares.empty());
  // A broken node.
  EXPECT_EQ(shared("", "", "-7").sharers, 0);
  EXPECT_GT(shared("", "", "9223372036854775807").sharers, 0);
}

TEST(Replies, ASemaphoreNamesOneWhoHasASlot) {
  const auto taken = [](const std::string& own) {
    return "$4\r\nheld\r\n:1500\r\n" + Word("redlockd:sem:2") + Word("l82ftt3ca5aq worker -") +
           Word("token") + Word("11") + own;
  };
  const NodeReply reply = AnswerTo(StepKind::kAcquire, "*7\r\n" + taken(":2\r\n"));
  EXPECT_EQ(reply.outcome, Outcome::kHeld);
  ASSERT_EQ(reply.shares.size(), 1U);
  EXPECT_EQ(reply.shares[0].owner.label, OwnerLabel("worker"));
  EXPECT_EQ(reply.used_slots.count(), 2U);
  EXPECT_EQ(reply.own_slot, 2);
  EXPECT_EQ(AnswerTo(StepKind::kAcquire, "*6\r\n" + taken("")).outcome, Outcome::kError);
}

TEST(Replies, AHeldKeyWithoutExpiryReportsNoRemainingTtl) {
  EXPECT_EQ(AnswerTo(StepKind::kAcquire, HeldFor("-1")).remaining, Duration{});
}

// Redis accepts SET ... PX with a number of milliseconds that does not fit in 64 bits of
// nanoseconds.
TEST(Replies, AHugeRemainingTtlDoesNotOverflow) {
  for (const char* ages : {"9300000000000", "25044444444444440", "9223372036854775807"}) {
    const NodeReply reply = AnswerTo(StepKind::kAcquire, HeldFor(ages));
    EXPECT_EQ(reply.outcome, Outcome::kHeld);
    EXPECT_GT(reply.remaining, std::chrono::hours(24) * 365) << ages;
    EXPECT_LT(reply.remaining, Duration::max() / 2) << ages << ": adding to it must not overflow";
  }
}

TEST(Replies, AnExtensionThatChangesNoMetadataAnswersWithIt) {
  const NodeReply reply =
      AnswerTo(StepKind::kExtend, Word("12 c 3 5 digest @daemon - peer web-1 of 2 1799999999000"));
  EXPECT_EQ(reply.outcome, Outcome::kGranted);
  EXPECT_EQ(reply.fence, FencingToken{12});
  EXPECT_EQ(reply.keeper, (Keeper{3, {5}}));
  EXPECT_EQ(reply.owner.label, OwnerLabel("web-1 of 2"));
  EXPECT_EQ(reply.owner.origin.str(), "daemon - peer");
  EXPECT_EQ(reply.owner.since, kNow.time_since_epoch() - std::chrono::seconds(1));
  EXPECT_FALSE(reply.clock.has_value());
  const auto of = [](const std::string& text) { return AnswerTo(StepKind::kExtend, Word(text)); };
  EXPECT_EQ(of("12 c - - digest -").keeper, std::nullopt);
  EXPECT_EQ(of("12 c 3 - digest -").keeper, std::nullopt);
  EXPECT_EQ(of("12 c - - digest -").owner, Owner());
  EXPECT_EQ(of("12 c - - digest 1800000009000").owner.since, kNow.time_since_epoch())
      << "the clock has gone back";
  for (const char* text : {"", "12", "12 c", "12 c 3", "12 c 3 5", "12 a 3 5 digest -",
                           "x c 3 5 digest -", "9007199254740992 c 3 5 digest -"}) {
    EXPECT_EQ(of(text).outcome, Outcome::kError) << text;
  }
  const NodeReply untimed =
      AnswerTo(StepKind::kExtend, Word("12 c 3 5 digest label 1799999999000"), "-1");
  EXPECT_EQ(untimed.outcome, Outcome::kGranted);
  EXPECT_EQ(untimed.owner, Owner{.label = OwnerLabel("label")}) << "nobody knows since when";
  EXPECT_EQ(AnswerTo(StepKind::kAdopt, Word("12 c 3 5 digest -")).outcome, Outcome::kError);
}

TEST(Replies, AUsualRefusalAnswersWithTheMetadata) {
  const auto refusal = [](const std::string& token, const std::string& metadata,
                          const std::string& clock = "1800000000000000") {
    return AnswerTo(StepKind::kAcquire,
                    "*4\r\n" + Word("taken") + ":1500\r\n" + Word(token) + Word(metadata), clock);
  };
  const std::string digest = "l82ftt3ca5aq";  // FNV-1a of "token" in base 36
  const std::string stored = "12 a 3 5 " + digest + " @daemon - peer web-1 of 2 1799999999000";
  const NodeReply reply = refusal("token", stored);
  EXPECT_EQ(reply.outcome, Outcome::kHeld);
  EXPECT_EQ(reply.remaining, std::chrono::milliseconds(1'500));
  EXPECT_EQ(reply.holder, OwnerToken("token"));
  EXPECT_EQ(reply.owner.label, OwnerLabel("web-1 of 2"));
  EXPECT_EQ(reply.owner.origin.str(), "daemon - peer");
  EXPECT_EQ(reply.owner.since, kNow.time_since_epoch() - std::chrono::seconds(1));
  EXPECT_FALSE(reply.clock.has_value());
  EXPECT_EQ(refusal("another", stored).owner, Owner()) << "it is of an earlier holder";
  EXPECT_EQ(refusal("token", "12 c - - " + digest + " -").owner, Owner());
  EXPECT_EQ(refusal("token", stored, "-1").owner.since, Duration()) << "nobody knows since when";
  for (const std::string metadata : {"", " ", "    ", "12", "12 a 3 5", "12 a 3 5 "}) {
    EXPECT_EQ(refusal("token", metadata).outcome, Outcome::kHeld) << metadata;
    EXPECT_EQ(refusal("token", metadata).owner, Owner()) << metadata;
    EXPECT_EQ(refusal("", metadata).owner, Owner()) << metadata;
  }
  EXPECT_EQ(
      AnswerTo(StepKind::kAcquire, "*3\r\n" + Word("taken") + ":1500\r\n" + Word("token")).outcome,
      Outcome::kError);
}

TEST(Replies, AHandOverThatReplacesTheHolderAnswersTrueOnly) {
  const NodeReply usual = AnswerTo(StepKind::kHandOver, ":1\r\n");
  EXPECT_EQ(usual.outcome, Outcome::kGranted);
  EXPECT_EQ(usual.fence, FencingToken{7});
  EXPECT_TRUE(usual.handed_over);
  EXPECT_TRUE(usual.clock);
  const NodeReply of_a_free_key = AnswerTo(StepKind::kHandOver, "*3\r\n:1\r\n:8\r\n:0\r\n");
  EXPECT_EQ(of_a_free_key.fence, FencingToken{8});
  EXPECT_FALSE(of_a_free_key.handed_over);
}

TEST(Replies, AnImplausibleClockIsAnError) {
  for (const char* clock : {"9223372036854775807", "-1"}) {
    EXPECT_EQ(AnswerTo(StepKind::kAcquire, ":1\r\n", clock).outcome, Outcome::kError) << clock;
  }
}

TEST(Replies, AnUnexpectedReplyIsAnError) {
  for (const char* element : {"+OK\r\n", ":99\r\n", "*0\r\n", "*1\r\n$4\r\nheld\r\n",
                              "*2\r\n$4\r\nlost\r\n:7\r\n", "*2\r\n:2\r\n:7\r\n", "$-1\r\n"}) {
    const NodeReply reply = AnswerTo(StepKind::kAcquire, element);
    EXPECT_EQ(reply.outcome, Outcome::kError) << element;
    EXPECT_FALSE(reply.message.empty()) << element;
  }
}

TEST(NodeErrors, NameTheRemedyAndAreBounded) {
  EXPECT_EQ(DescribeError("ERR wrong number"), "ERR wrong number");
  EXPECT_NE(DescribeError("MISCONF Redis is configured to save").find("disk"), std::string::npos);
  const std::string endless = DescribeError("OOM " + std::string(100'000, 'x'));
  EXPECT_LT(endless.size(), 300U);
  EXPECT_NE(endless.find("raise maxmemory"), std::string::npos);
  EXPECT_EQ(DescribeError("a\r\nb\xff\x1b[31m"), "a??b??[31m");
}

}  // namespace
}  // namespace redlock::redis
