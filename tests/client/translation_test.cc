// Locks of several keys in the messages of the protocol.
#include "client/cpp/src/translation.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/core/keys.h"

namespace redlock::client {
namespace {

const std::string kBoth = together({"b", "a"});

template <typename Message>
void ExpectBoth(const Message& message) {
  EXPECT_EQ(message.key(), "");
  EXPECT_EQ(std::vector<std::string>(message.keys().begin(), message.keys().end()),
            (std::vector<std::string>{"a", "b"}));
}

TEST(Translation, SeveralKeysAreSentAsAList) {
  ExpectBoth(ToProto(AcquireRequest{.key = kBoth}));
  ExpectBoth(ToProto(ExtendRequest{.key = kBoth}));
  ExpectBoth(ToProto(ReleaseRequest{.key = kBoth}));
  ExpectBoth(ToProto(OpenWatch{.items = {{.key = kBoth}}}).items(0));
  const auto session = ToProto(Request{.operations = {{1, AdoptRequest{.key = kBoth}}}});
  ExpectBoth(session.operations(0).adopt());
}

TEST(Translation, OneKeyIsSentAsTheKey) {
  const auto request = ToProto(AcquireRequest{.key = "a"});
  EXPECT_EQ(request.key(), "a");
  EXPECT_TRUE(request.keys().empty());
}

TEST(Translation, AnEventMayNameItsKeysInAnyOrder) {
  v1::WatchResponse event;
  event.set_type(v1::EVENT_TYPE_LOST);
  event.add_keys("b");
  event.add_keys("a");
  EXPECT_EQ(ToEvent(event)->key, kBoth);
  event.clear_keys();
  event.set_key("c");
  EXPECT_EQ(ToEvent(event)->key, "c");
}

v1::SessionResponse Refusal(const std::map<std::string, std::string>& metadata) {
  v1::SessionResponse response;
  v1::OperationStatus& status = *response.add_results()->mutable_status();
  status.set_reason("LOCK_ALREADY_HELD");
  status.mutable_metadata()->insert(metadata.begin(), metadata.end());
  return response;
}

std::optional<Duration> HeldFor(const std::string& text) {
  return FromProto(Refusal({{"owner", "me"}, {"held_for", text}})).answers[0].error->held_for;
}

TEST(Translation, ARefusalSaysForHowLongTheLockHasBeenHeld) {
  EXPECT_EQ(HeldFor("12.345"), std::chrono::milliseconds(12'345));
  EXPECT_EQ(HeldFor("0.000"), Duration::zero());
  EXPECT_EQ(HeldFor("7"), std::chrono::seconds(7));
  EXPECT_FALSE(FromProto(Refusal({{"owner", "me"}})).answers[0].error->held_for);
}

TEST(Translation, ATimeThatCannotBeReadIsUnknown) {
  for (const char* const text : {"", " ", "soon", "-1", "nan", "inf", "1e3", "1.5 s", " 1", "1,5",
                                 "1000000000", "99999999999999999999999"}) {
    EXPECT_FALSE(HeldFor(text)) << text;
  }
  const auto odd = FromProto(Refusal({{"owner", "me"}, {"held_for", "?"}, {"", ""}, {"new", "x"}}));
  EXPECT_EQ(odd.answers[0].error->holder, "me");
}

}  // namespace
}  // namespace redlock::client
