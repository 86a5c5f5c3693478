// Locks of several keys in the messages of the protocol.
#include "client/cpp/src/translation.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace redlock::client
