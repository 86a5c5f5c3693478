// Bounds of what callers send and have to read.
#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <memory>
#include <string>
#include <vector>

#include "server/rpc/compression.h"
#include "server/rpc/event_outbox.h"
#include "server/rpc/message.h"
#include "server/rpc/open_quota.h"
#include "server/rpc/session_outbox.h"
#include "server/rpc/status.h"
#include "tests/unit/byte_buffer.h"

namespace redlock::rpc {
namespace {

std::string Gzip(std::string text) {
  z_stream stream{};
  constexpr int kGzip = 16;
  constexpr int kMemory = 8;
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS | kGzip, kMemory,
               Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(text.data());
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string Unpacked(const std::string& wire, std::size_t most) {
  grpc::ByteBuffer message = Wire(wire);
  Unpack(message, most);
  if (IsPacked(message)) return "packed";
  grpc::Slice slice;
  EXPECT_TRUE(message.DumpToSingleSlice(&slice).ok());
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

TEST(Compression, UnpacksUpToTheLimit) {
  const std::string text(100'000, 'x');
  EXPECT_EQ(Unpacked(Gzip(text), 100'000), text);
  EXPECT_EQ(Unpacked(Gzip(text), 99'999), "packed");
  EXPECT_EQ(Unpacked(Gzip(""), 10), "");
}

TEST(Compression, LeavesWhatIsNotExactlyOneGzipStream) {
  const std::string packed = Gzip("text");
  EXPECT_EQ(Unpacked(packed + "more", 100), "packed");
  EXPECT_EQ(Unpacked(packed.substr(0, packed.size() - 1), 100), "packed");
  EXPECT_EQ(Unpacked("\x1f\x8b", 100), "packed");
  EXPECT_EQ(Unpacked("plain", 100), "plain");
}

v1::SessionResponse Result(std::uint64_t id, std::size_t bytes) {
  v1::SessionResponse response;
  response.add_results()->set_id(id);
  response.mutable_results(0)->mutable_lease()->set_key(std::string(bytes, 'k'));
  return response;
}

v1::SessionResponse Extended(const std::string& key, std::uint64_t fence) {
  v1::SessionResponse response;
  response.add_events()->set_type(v1::EVENT_TYPE_EXTENDED);
  response.mutable_events(0)->set_key(key);
  response.mutable_events(0)->mutable_lease()->set_fencing_token(fence);
  return response;
}

v1::SessionResponse TakeFrom(SessionOutbox& outbox) {
  v1::SessionResponse response;
  EXPECT_TRUE(Parse(outbox.Take(), response));
  return response;
}

TEST(SessionOutbox, SplitsAnswersIntoMessagesThatClientsAccept) {
  SessionOutbox outbox(10'000);
  for (std::uint64_t id = 0; id < 5'000; ++id) EXPECT_TRUE(outbox.Add(Result(id, 500)));
  std::uint64_t next = 0;
  int messages = 0;
  while (!outbox.empty()) {
    const v1::SessionResponse message = TakeFrom(outbox);
    EXPECT_LT(message.ByteSizeLong(), 1'100'000U);
    for (const auto& result : message.results()) EXPECT_EQ(result.id(), next++);
    ++messages;
  }
  EXPECT_EQ(next, 5'000U);
  EXPECT_EQ(messages, 3);
}

TEST(SessionOutbox, ReplacesAnExtensionInAnEarlierMessage) {
  SessionOutbox outbox(10'000);
  EXPECT_TRUE(outbox.Add(Extended("key", 1)));
  for (std::uint64_t id = 0; id < 3'000; ++id) EXPECT_TRUE(outbox.Add(Result(id, 500)));
  EXPECT_TRUE(outbox.Add(Extended("key", 2)));
  EXPECT_EQ(TakeFrom(outbox).events(0).lease().fencing_token(), 2U);
  EXPECT_TRUE(outbox.Add(Extended("key", 3)));  // the one before has been taken
  EXPECT_EQ(TakeFrom(outbox).events(0).lease().fencing_token(), 3U);
  EXPECT_TRUE(outbox.empty());
}

v1::SessionResponse ExtendedLease(const std::vector<std::string>& keys, const std::string& token,
                                  std::uint64_t fence) {
  v1::SessionResponse response = Extended(keys.size() == 1 ? keys[0] : "", fence);
  v1::WatchResponse& event = *response.mutable_events(0);
  if (keys.size() > 1) event.mutable_keys()->Assign(keys.begin(), keys.end());
  event.mutable_lease()->set_token(token);
  return response;
}

TEST(SessionOutbox, AnExtensionDoesNotReplaceThatOfAnotherLease) {
  SessionOutbox outbox(10'000);
  EXPECT_TRUE(outbox.Add(ExtendedLease({"a", "b"}, "one", 1)));
  EXPECT_TRUE(outbox.Add(ExtendedLease({"c", "d"}, "one", 2)));
  EXPECT_TRUE(outbox.Add(ExtendedLease({"share"}, "one", 3)));
  EXPECT_TRUE(outbox.Add(ExtendedLease({"share"}, "two", 4)));
  EXPECT_TRUE(outbox.Add(ExtendedLease({"a", "b"}, "one", 5)));
  const v1::SessionResponse message = TakeFrom(outbox);
  std::vector<std::uint64_t> fences;
  for (const auto& event : message.events()) fences.push_back(event.lease().fencing_token());
  EXPECT_EQ(fences, (std::vector<std::uint64_t>{5, 2, 3, 4}));
}

TEST(EventOutbox, AnExtensionDoesNotReplaceThatOfAnotherLease) {
  EventOutbox<v1::WatchResponse> outbox;
  EXPECT_TRUE(outbox.Add(ExtendedLease({"a", "b"}, "one", 1).events(0)));
  EXPECT_TRUE(outbox.Add(ExtendedLease({"c", "d"}, "one", 2).events(0)));
  EXPECT_TRUE(outbox.Add(ExtendedLease({"share"}, "one", 3).events(0)));
  EXPECT_TRUE(outbox.Add(ExtendedLease({"share"}, "two", 4).events(0)));
  EXPECT_TRUE(outbox.Add(ExtendedLease({"a", "b"}, "one", 5).events(0)));
  std::vector<std::uint64_t> fences;
  while (!outbox.empty()) {
    v1::WatchResponse event;
    EXPECT_TRUE(Parse(outbox.Take(), event));
    fences.push_back(event.lease().fencing_token());
  }
  EXPECT_EQ(fences, (std::vector<std::uint64_t>{2, 3, 4, 5}));
}

using Load = SessionOutbox::Load;
using Admission = SessionOutbox::Admission;

TEST(SessionOutbox, AdmitsNoAcquisitionWhileMuchWaitsToBeRead) {
  SessionOutbox outbox(1'000'000);
  for (std::uint64_t id = 0; id < 33; ++id) EXPECT_TRUE(outbox.Add(Result(id, 1 << 20)));
  EXPECT_EQ(outbox.Admit(100, Load::kLimited), Admission::kTooMany);
  EXPECT_EQ(outbox.Admit(101, Load::kNeverRefused), Admission::kYes);
  (void)outbox.Take();
  (void)outbox.Take();
  EXPECT_EQ(outbox.Admit(102, Load::kLimited), Admission::kYes);
  bool keeps_up = true;
  for (std::uint64_t id = 0; id < 40; ++id) keeps_up = outbox.Add(Result(id, 1 << 20));
  EXPECT_FALSE(keeps_up);
}

TEST(SessionOutbox, WhatIsHeldIsNotRefusedButHeldBack) {
  SessionOutbox outbox(2);
  EXPECT_EQ(outbox.Admit(1, Load::kLimited), Admission::kYes);
  EXPECT_EQ(outbox.Admit(2, Load::kLimited), Admission::kYes);
  EXPECT_EQ(outbox.Admit(3, Load::kLimited), Admission::kTooMany);
  EXPECT_FALSE(outbox.IsFull());  // acquisitions may wait for a release that is not read yet
  EXPECT_EQ(outbox.Admit(4, Load::kNeverRefused), Admission::kYes);
  EXPECT_EQ(outbox.Admit(4, Load::kNeverRefused), Admission::kIdInUse);
  EXPECT_TRUE(outbox.Add(Result(4, 10)));  // the refusal
  EXPECT_FALSE(outbox.IsFull());
  EXPECT_EQ(outbox.Admit(5, Load::kNeverRefused), Admission::kYes);
  EXPECT_TRUE(outbox.IsFull());
  EXPECT_EQ(outbox.Admit(6, Load::kNeverRefused), Admission::kYes);  // of the same message
  EXPECT_TRUE(outbox.Add(Result(4, 10)));
  EXPECT_TRUE(outbox.IsFull());
  EXPECT_TRUE(outbox.Add(Result(5, 10)));
  EXPECT_FALSE(outbox.IsFull());  // although the client has not read the answers
}

TEST(SessionOutbox, TheRefusalOfAnIdInUseIsNotTheAnswerOfTheOther) {
  SessionOutbox outbox(1);
  EXPECT_EQ(outbox.Admit(1, Load::kNeverRefused), Admission::kYes);
  for (const Load load : {Load::kNeverRefused, Load::kLimited}) {
    EXPECT_NE(outbox.Admit(1, load), Admission::kYes);
    EXPECT_TRUE(outbox.Add(Result(1, 10)));
    EXPECT_TRUE(outbox.IsFull());
  }
  EXPECT_TRUE(outbox.Add(Result(1, 10)));
  EXPECT_FALSE(outbox.IsFull());
}

TEST(SessionOutbox, AClientThatReadsNoAnswersIsNotServedForever) {
  SessionOutbox outbox(10);
  std::uint64_t id = 0;
  while (outbox.Admit(++id, Load::kNeverRefused) == Admission::kYes) {
    ASSERT_LT(id, 10'000U);
    EXPECT_TRUE(outbox.Add(Result(id, 10)));
  }
  EXPECT_EQ(outbox.Admit(++id, Load::kNeverRefused), Admission::kFarTooMany);
}

TEST(Status, CutsTextsOfNodesAndGivesEqualOnesOnce) {
  const std::string text = std::string(1'000, 'x') + "\xff";
  const Votes votes = {{.node = 0, .outcome = Outcome::kError, .message = text},
                       {.node = 1, .outcome = Outcome::kTimeout},
                       {.node = 2, .outcome = Outcome::kError, .message = text}};
  const grpc::Status status =
      ToStatus({.reason = Reason::kQuorumUnavailable, .message = "why"}, votes, {"a", "b", "c"});
  EXPECT_EQ(status.error_message(),
            "QUORUM_UNAVAILABLE: why (a, c error: " + std::string(200, 'x') + "...; b timeout)");
  EXPECT_LT(status.error_details().size(), 800U);
}

TEST(Status, ListsAFewOfManyFaults) {
  const grpc::Status status = ToStatus(Violations(1'000, {"items[1].key", "must be set"}));
  EXPECT_LT(status.error_message().size(), 500U);
  EXPECT_TRUE(status.error_message().ends_with("; and 990 more"));
  EXPECT_LT(status.error_details().size(), 1'000U);
}

TEST(OpenQuota, BoundsTheStreamsOfAPeer) {
  OpenQuota quota;
  std::vector<std::unique_ptr<OpenQuota::Place>> places;
  for (std::size_t i = 0; i < OpenQuota::kMostPerPeer; ++i) {
    places.push_back(std::make_unique<OpenQuota::Place>(quota, "peer"));
    EXPECT_TRUE(places.back()->taken());
  }
  EXPECT_FALSE(OpenQuota::Place(quota, "peer").taken());
  EXPECT_TRUE(OpenQuota::Place(quota, "other").taken());
  places.pop_back();
  EXPECT_TRUE(OpenQuota::Place(quota, "peer").taken());
}

}  // namespace
}  // namespace redlock::rpc
