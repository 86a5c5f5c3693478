// Shared parts of the end-to-end tests: a daemon over three real nodes, its stub, and decoded
// errors.
#pragma once

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"
#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "tests/support/daemon.h"

namespace redlock::testing {

using std::chrono::milliseconds;
using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;

// The deadline of a stream, so that a test fails instead of waiting forever.
constexpr seconds kPatience{60};

// The decoded error of a failed call.
struct Failure {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string reason;
  std::map<std::string, std::string> metadata;
  v1::Votes votes;
  std::optional<milliseconds> retry_after;
  std::map<std::string, std::string> fields;  // from BadRequest
  std::string message;
};

inline milliseconds ToMillis(const google::protobuf::Duration& duration) {
  return seconds(duration.seconds()) + milliseconds(duration.nanos() / 1'000'000);
}

inline void Set(google::protobuf::Duration* out, milliseconds duration) {
  out->set_seconds(duration.count() / 1000);
  out->set_nanos(static_cast<std::int32_t>(duration.count() % 1000) * 1'000'000);
}

inline Failure Decode(const grpc::Status& status) {
  Failure failure;
  failure.code = status.error_code();
  failure.message = status.error_message();
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    google::rpc::BadRequest bad;
    if (detail.UnpackTo(&info)) {
      EXPECT_EQ(info.domain(), "redlock.v1");
      failure.reason = info.reason();
      failure.metadata = {info.metadata().begin(), info.metadata().end()};
    } else if (detail.UnpackTo(&retry)) {
      failure.retry_after = ToMillis(retry.retry_delay());
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& fault : bad.field_violations()) {
        failure.fields[fault.field()] = fault.description();
      }
    } else {
      EXPECT_TRUE(detail.UnpackTo(&failure.votes));
    }
  }
  return failure;
}

class ServiceTest : public ::testing::Test {
 protected:
  void StartDaemon(std::vector<std::string> arguments = {}) {
    daemon.emplace(nodes, std::move(arguments));
    stub = v1::LockService::NewStub(
        grpc::CreateChannel(daemon->address(), grpc::InsecureChannelCredentials()));
  }

  // A single attempt by default.
  static v1::AcquireRequest Wants(const std::string& key, milliseconds ttl, int max_retries = 0) {
    v1::AcquireRequest request;
    request.set_key(key);
    Set(request.mutable_ttl(), ttl);
    request.mutable_retry()->set_max_retries(max_retries);
    return request;
  }
  v1::Lease MustAcquire(const v1::AcquireRequest& request) {
    grpc::ClientContext context;
    v1::AcquireResponse response;
    const grpc::Status status = stub->Acquire(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.lease();
  }
  Failure MustNotAcquire(const v1::AcquireRequest& request, milliseconds patience = seconds(10)) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + patience);
    v1::AcquireResponse response;
    return Decode(stub->Acquire(&context, request, &response));
  }
  grpc::Status Extend(const v1::Lease& lease, milliseconds ttl, v1::ExtendResponse& response) {
    v1::ExtendRequest request;
    request.set_key(lease.key());
    request.set_token(lease.token());
    Set(request.mutable_ttl(), ttl);
    request.mutable_retry()->set_max_retries(0);
    grpc::ClientContext context;
    return stub->Extend(&context, request, &response);
  }
  grpc::Status Release(const v1::Lease& lease) {
    v1::ReleaseRequest request;
    request.set_key(lease.key());
    request.set_token(lease.token());
    grpc::ClientContext context;
    v1::ReleaseResponse response;
    return stub->Release(&context, request, &response);
  }
  v1::InspectResponse Inspect(const std::string& key) {
    v1::InspectRequest request;
    request.set_key(key);
    grpc::ClientContext context;
    v1::InspectResponse response;
    EXPECT_TRUE(stub->Inspect(&context, request, &response).ok());
    return response;
  }

  // The number of nodes on which the key exists.
  int Holding(const std::string& key) const {
    int holding = 0;
    for (const auto& node : nodes) holding += node->Cli("EXISTS " + key) == "1" ? 1 : 0;
    return holding;
  }
  // Whether the daemon logs the text. A thread of its own writes the log.
  bool Logs(const Daemon& of, const std::string& text) {
    return Eventually([&] { return of.Log().find(text) != std::string::npos; });
  }
  bool Eventually(const std::function<bool()>& condition, milliseconds patience = seconds(5)) {
    const auto give_up = SteadyClock::now() + patience;
    while (!condition()) {
      if (SteadyClock::now() > give_up) return false;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return true;
  }

  std::vector<std::unique_ptr<RedisServer>> nodes = StartNodes(3);
  std::optional<Daemon> daemon;
  std::unique_ptr<v1::LockService::Stub> stub;
};

// Reads a stream to its end and returns the status. gRPC's Finish() blocks forever if a message is
// unread.
template <typename Response, typename Stream>
grpc::Status ReadToTheEnd(Stream& stream) {
  for (Response response; stream.Read(&response);) {
  }
  return stream.Finish();
}
template <typename Response>
grpc::Status EndOf(grpc::ClientReader<Response>& stream) {
  return ReadToTheEnd<Response>(stream);
}
template <typename Request, typename Response>
grpc::Status EndOf(grpc::ClientReaderWriter<Request, Response>& stream) {
  return ReadToTheEnd<Response>(stream);
}

class WatchTest : public ServiceTest {
 protected:
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader;
    v1::WatchResponse Next() {
      v1::WatchResponse event;
      EXPECT_TRUE(reader->Read(&event));
      return event;
    }
    // Reads until an event of this type arrives.
    v1::WatchResponse Await(v1::EventType type) {
      v1::WatchResponse event;
      while (reader->Read(&event)) {
        if (event.type() == type) return event;
      }
      ADD_FAILURE() << "the stream ended without " << v1::EventType_Name(type);
      return event;
    }
  };

  static v1::WatchRequest Request(const std::vector<v1::Lease>& leases, milliseconds ttl) {
    v1::WatchRequest request;
    for (const v1::Lease& lease : leases) {
      v1::WatchItem& item = *request.add_items();
      item.set_key(lease.key());
      item.set_token(lease.token());
      Set(item.mutable_ttl(), ttl);
    }
    return request;
  }
  void Open(Stream& stream, const v1::WatchRequest& request) {
    stream.context.set_deadline(std::chrono::system_clock::now() + kPatience);
    stream.reader = stub->Watch(&stream.context, request);
  }
};

}  // namespace redlock::testing
