// Invalid input in every field is reported with its name and the allowed values; valid input
// becomes the command.
#include "server/rpc/requests.h"

#include <grpcpp/support/proto_buffer_writer.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "tests/unit/byte_buffer.h"

namespace redlock::rpc {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

const RequestRules kRules{.max_ttl = minutes(5), .default_retry = {}, .max_items = 3};

void Set(google::protobuf::Duration* duration, std::int64_t whole, std::int32_t nanos = 0) {
  duration->set_seconds(whole);
  duration->set_nanos(nanos);
}

v1::AcquireRequest GoodAcquire() {
  v1::AcquireRequest request;
  request.set_key("key");
  Set(request.mutable_ttl(), 10);
  return request;
}

v1::ExtendRequest GoodExtend() {
  v1::ExtendRequest request;
  request.set_key("key");
  request.set_token("token");
  Set(request.mutable_ttl(), 10);
  return request;
}

v1::WatchRequest GoodWatch() {
  v1::WatchRequest request;
  v1::WatchItem& item = *request.add_items();
  item.set_key("key");
  item.set_token("token");
  Set(item.mutable_ttl(), 10);
  return request;
}

// One "field: description" line for every violation; empty if the request is accepted.
template <typename Request>
std::string Faults(const Request& request) {
  const auto checked = Check(request, kRules);
  std::string text;
  if (const auto* violations = std::get_if<Violations>(&checked)) {
    for (const Violation& violation : *violations) {
      text += violation.field + ": " + violation.description + "\n";
    }
  }
  return text;
}

template <typename Command, typename Request>
Command Accepted(const Request& request) {
  auto checked = Check(request, kRules);
  EXPECT_TRUE(std::holds_alternative<Command>(checked)) << Faults(request);
  return std::get<Command>(std::move(checked));
}

TEST(Requests, DefaultsAreFilledIn) {
  const auto acquire = Accepted<AcquireCommand>(GoodAcquire());
  EXPECT_EQ(acquire.key.str(), "key");
  EXPECT_EQ(acquire.ttl, seconds(10));
  EXPECT_TRUE(acquire.token.empty());
  EXPECT_EQ(acquire.retry.max_retries, -1);
  EXPECT_EQ(acquire.retry.min_delay, Duration::zero());
  EXPECT_EQ(acquire.retry.max_jitter, milliseconds(300));
  const auto watch = Accepted<std::vector<WatchCommand>>(GoodWatch());
  ASSERT_EQ(watch.size(), 1U);
  EXPECT_EQ(watch[0].interval, seconds(5)) << "half the TTL";
}

TEST(Requests, RetryPolicyIsApplied) {
  v1::AcquireRequest request = GoodAcquire();
  request.mutable_retry()->set_max_retries(0);
  Set(request.mutable_retry()->mutable_min_delay(), 0, 5'000'000);
  Set(request.mutable_retry()->mutable_max_jitter(), 0, 0);
  const auto command = Accepted<AcquireCommand>(request);
  EXPECT_EQ(command.retry.max_retries, 0);
  EXPECT_EQ(command.retry.min_delay, milliseconds(5));
  EXPECT_EQ(command.retry.max_jitter, Duration::zero());
}

TEST(Requests, TtlIsTruncatedToMilliseconds) {
  v1::AcquireRequest request = GoodAcquire();
  Set(request.mutable_ttl(), 1, 999'999);
  EXPECT_EQ(Accepted<AcquireCommand>(request).ttl, seconds(1));
}

TEST(Requests, KeyIsValidated) {
  v1::AcquireRequest request = GoodAcquire();
  request.set_key("");
  EXPECT_EQ(Faults(request), "key: must not be empty\n");
  request.set_key(std::string(512, 'k'));
  EXPECT_EQ(Faults(request), "");
  request.set_key(std::string(513, 'k'));
  EXPECT_EQ(Faults(request), "key: must be at most 512 bytes, has 513\n");
  request.set_key("redlockd:meta:{other}");
  EXPECT_EQ(Faults(request), "key: keys beginning with \"redlockd:\" are reserved\n");
}

TEST(Requests, SeveralKeysAreValidated) {
  v1::AcquireRequest request = GoodAcquire();
  const auto set = [&request](const std::vector<std::string>& keys) {
    request.mutable_keys()->Assign(keys.begin(), keys.end());
  };
  set({"a", "b"});
  EXPECT_EQ(Faults(request), "key: must be empty if keys is set\n");
  request.clear_key();
  EXPECT_EQ(Faults(request), "");
  EXPECT_EQ(Accepted<AcquireCommand>(request).key, Key::Of({"a", "b"}));
  set({"a"});
  EXPECT_EQ(Faults(request),
            "keys: must have from 2 to 64 entries, has 1: set key for a single one\n");
  set(std::vector<std::string>(65, "k"));
  EXPECT_EQ(Faults(request), "keys: must have from 2 to 64 entries, has 65\n");
  set({"a", "b", "a", "", std::string(513, 'k'), "redlockd:mark"});
  EXPECT_EQ(Faults(request),
            "keys[2]: is given twice\n"
            "keys[3]: must not be empty\n"
            "keys[4]: must be at most 512 bytes, has 513\n"
            "keys[5]: keys beginning with \"redlockd:\" are reserved\n");
  std::vector<std::string> keys;
  for (char c = 'a'; c <= 'q'; ++c) keys.emplace_back(512, c);
  set(keys);
  EXPECT_EQ(Faults(request), "keys: must have at most 8192 bytes together, have 8704\n");
  keys.pop_back();
  set(keys);
  EXPECT_EQ(Faults(request), "");
}

TEST(Requests, TtlIsValidated) {
  v1::AcquireRequest request = GoodAcquire();
  request.clear_ttl();
  EXPECT_EQ(Faults(request), "ttl: must be set and must be from 10 ms to 300 s\n");
  const auto with = [&request](std::int64_t whole, std::int32_t nanos) {
    Set(request.mutable_ttl(), whole, nanos);
    return Faults(request);
  };
  EXPECT_EQ(with(0, 0), "ttl: must be from 10 ms to 300 s, is 0 ms\n");
  EXPECT_EQ(with(-1, 0), "ttl: must be from 10 ms to 300 s, is -1 s\n");
  EXPECT_EQ(with(0, 9'999'999), "ttl: must be from 10 ms to 300 s, is 9 ms\n");
  EXPECT_EQ(with(0, 10'000'000), "");
  EXPECT_EQ(with(300, 0), "");
  EXPECT_EQ(with(300, 1'000'000), "ttl: must be from 10 ms to 300 s, is 300001 ms\n");
  // Would overflow in arithmetic.
  constexpr auto kHuge = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(with(kHuge, 0), "ttl: must be from 10 ms to 300 s\n");
  EXPECT_EQ(with(-kHuge, 0), "ttl: must be from 10 ms to 300 s\n");
  EXPECT_EQ(with(1, std::numeric_limits<std::int32_t>::max()),
            "ttl: must be from 10 ms to 300 s\n");
}

TEST(Requests, TokenIsValidated) {
  v1::AcquireRequest request = GoodAcquire();
  request.set_token("");
  EXPECT_EQ(Faults(request), "token: must not be empty\n");
  request.set_token(std::string(128, 't'));
  EXPECT_EQ(Faults(request), "");
  request.set_token(std::string(129, 't'));
  EXPECT_EQ(Faults(request), "token: must be at most 128 bytes, has 129\n");
  v1::ReleaseRequest release;
  release.set_key("key");
  EXPECT_EQ(Faults(release), "token: must not be empty\n");
}

TEST(Requests, ExtendIfHeldNeedsAToken) {
  v1::AcquireRequest request = GoodAcquire();
  request.set_extend_if_held(true);
  EXPECT_EQ(Faults(request), "token: must be set if extend_if_held is set\n");
  request.set_token("mine");
  EXPECT_TRUE(Accepted<AcquireCommand>(request).extend_if_held);
}

TEST(Requests, OwnerIsValidated) {
  v1::AcquireRequest request = GoodAcquire();
  request.set_owner(std::string(129, 'o'));
  EXPECT_EQ(Faults(request), "owner: must be at most 128 bytes, has 129\n");
}

TEST(Requests, RetryPolicyIsValidated) {
  v1::ExtendRequest request = GoodExtend();
  request.mutable_retry()->set_max_retries(-2);
  Set(request.mutable_retry()->mutable_min_delay(), -1);
  Set(request.mutable_retry()->mutable_max_jitter(), 1LL << 40);
  const std::string faults = Faults(request);
  EXPECT_NE(faults.find("retry.max_retries: must be -1 (no limit), 0 (a single try) or more"),
            std::string::npos)
      << faults;
  EXPECT_NE(faults.find("retry.min_delay: must be from 0 ms"), std::string::npos) << faults;
  EXPECT_NE(faults.find("retry.max_jitter: must be from 0 ms"), std::string::npos) << faults;
}

TEST(Requests, AllViolationsAreReportedTogether) {
  const std::string faults = Faults(v1::ExtendRequest());
  EXPECT_EQ(faults,
            "key: must not be empty\ntoken: must not be empty\n"
            "ttl: must be set and must be from 10 ms to 300 s\n");
}

TEST(Requests, WatchItemsAreValidated) {
  EXPECT_EQ(Faults(v1::WatchRequest()), "items: must not be empty\n");
  v1::WatchRequest request = GoodWatch();
  v1::WatchItem& second = *request.add_items();
  second.set_key("key");
  Set(second.mutable_ttl(), 10);
  Set(second.mutable_interval(), 10);
  EXPECT_EQ(Faults(request),
            "items[1].token: must not be empty\n"
            "items[1].interval: must be from 1 ms to 9999 ms, is 10 s\n"
            "items[1].key: is given twice\n");
  for (int i = 0; i < 2; ++i) *request.add_items() = second;
  EXPECT_EQ(Faults(request), "items: must have at most 3 entries, has 4\n");
}

TEST(Requests, WatchLifetimeAndIntervalAreValidated) {
  v1::WatchRequest request = GoodWatch();
  Set(request.mutable_max_lifetime(), 0);
  Set(request.mutable_items(0)->mutable_interval(), 0);
  EXPECT_EQ(Faults(request),
            "max_lifetime: must be from 1 ms to 31536000 s, is 0 ms\n"
            "items[0].interval: must be from 1 ms to 9999 ms, is 0 ms\n");
}

TEST(Requests, TextThatIsNotUtf8IsReported) {
  v1::AcquireRequest request;
  const Violations violations = ParseMessage(Wire("\x0a\x02k\xff"), request);  // field 1: key
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].field, "key");
  EXPECT_EQ(violations[0].description, "must be UTF-8");
}

TEST(Requests, TextThatIsNotUtf8IsReportedInARepeatedMessage) {
  v1::WatchRequest request;
  // items[0] is empty; items[1].token (field 2) is a lone surrogate.
  const std::string wire("\x0a\x00\x0a\x05\x12\x03\xed\xa0\x80", 9);
  const Violations violations = ParseMessage(Wire(wire), request);
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].field, "items[1].token");
}

TEST(Requests, MalformedBytesAreRejected) {
  v1::AcquireRequest request;
  const Violations violations = ParseMessage(Wire("\x0a\x7f short"), request);
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].field, "(message)");
}

}  // namespace
}  // namespace redlock::rpc
