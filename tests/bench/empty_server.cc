#include "tests/bench/empty_server.h"

#include <grpcpp/server_builder.h>

#include <memory>

#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::bench {
namespace {

void AddVotes(google::protobuf::RepeatedPtrField<v1::Vote>& votes) {
  for (int i = 0; i < 2; ++i) {
    v1::Vote& vote = *votes.Add();
    vote.set_node("127.0.0.1:40000");
    vote.set_outcome(v1::VOTE_OUTCOME_GRANTED);
    vote.mutable_latency()->set_nanos(250'000);
  }
}

v1::AcquireResponse Acquired() {
  v1::AcquireResponse response;
  response.mutable_lease()->set_key("bench:10:10");
  response.mutable_lease()->set_token("rl-" + std::string(32, 'a'));
  response.mutable_lease()->set_fencing_token(1'800'000'000'000'000);
  response.mutable_lease()->mutable_validity()->set_seconds(9);
  response.mutable_lease()->mutable_validity()->set_nanos(897'000'000);
  AddVotes(*response.mutable_votes());
  response.set_attempts(1);
  response.mutable_waited()->set_nanos(300'000);
  return response;
}

v1::ReleaseResponse Released() {
  v1::ReleaseResponse response;
  AddVotes(*response.mutable_votes());
  return response;
}

grpc::ByteBuffer Bytes(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

using RawService = v1::LockService::WithRawMethod_Acquire<
    v1::LockService::WithRawMethod_Release<v1::LockService::Service>>;

enum class Verb { kAcquire, kRelease };

class Call {
 public:
  Call(RawService& service, grpc::ServerCompletionQueue& queue, Verb verb)
      : service_(service), queue_(queue), verb_(verb), writer_(&context_) {
    if (verb == Verb::kAcquire) {
      service.RequestAcquire(&context_, &request_, &writer_, &queue, &queue, this);
    } else {
      service.RequestRelease(&context_, &request_, &writer_, &queue, &queue, this);
    }
  }
  void Proceed(bool ok) {
    if (answered_ || !ok) {
      delete this;
      return;
    }
    answered_ = true;
    new Call(service_, queue_, verb_);
    static const grpc::ByteBuffer acquired = Bytes(Acquired());
    static const grpc::ByteBuffer released = Bytes(Released());
    writer_.Finish(verb_ == Verb::kAcquire ? acquired : released, grpc::Status::OK, this);
  }

 private:
  RawService& service_;
  grpc::ServerCompletionQueue& queue_;
  const Verb verb_;
  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer_;
  bool answered_ = false;
};

class CallbackService final : public v1::LockService::CallbackService {
  grpc::ServerUnaryReactor* Acquire(grpc::CallbackServerContext* context,
                                    const v1::AcquireRequest* /*request*/,
                                    v1::AcquireResponse* response) override {
    static const v1::AcquireResponse acquired = Acquired();
    *response = acquired;
    return Finish(*context);
  }
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context,
                                    const v1::ReleaseRequest* /*request*/,
                                    v1::ReleaseResponse* response) override {
    static const v1::ReleaseResponse released = Released();
    *response = released;
    return Finish(*context);
  }
  static grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext& context) {
    grpc::ServerUnaryReactor* const reactor = context.DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

void Listen(grpc::ServerBuilder& builder, const std::vector<std::string>& addresses,
            grpc::Service& service) {
  for (const std::string& address : addresses) {
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  }
  builder.RegisterService(&service);
}

}  // namespace

int ServeEmpty(const std::vector<std::string>& addresses) {
  constexpr int kAhead = 128;  // calls that are ready to accept a request
  RawService service;
  grpc::ServerBuilder builder;
  Listen(builder, addresses, service);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  for (int i = 0; i < kAhead; ++i) {
    new Call(service, *queue, Verb::kAcquire);
    new Call(service, *queue, Verb::kRelease);
  }
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) static_cast<Call*>(tag)->Proceed(ok);
  return 0;
}

int ServeEmptyByCallback(const std::vector<std::string>& addresses) {
  CallbackService service;
  grpc::ServerBuilder builder;
  Listen(builder, addresses, service);
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  server->Wait();
  return 0;
}

}  // namespace redlock::bench
