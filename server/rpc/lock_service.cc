#include "server/rpc/lock_service.h"

#include <memory>
#include <utility>

#include "server/rpc/hold_stream.h"
#include "server/rpc/session_stream.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/watch_stream.h"

namespace redlock::rpc {
namespace {

std::optional<MonotonicTime> DeadlineAt(Shard& shard, std::optional<Duration> left) {
  if (!left) return std::nullopt;
  return shard.Now() + *left;
}

struct AcquireVerb {
  using Request = v1::AcquireRequest;
  using Response = v1::AcquireResponse;
  using Command = AcquireCommand;

  template <typename Call>
  std::shared_ptr<Operation> Start(Shard& shard, Command command,
                                   std::optional<Duration> until_deadline, Call call) {
    command.deadline = DeadlineAt(shard, until_deadline);
    return shard.Acquire(std::move(command), [call](const AcquireResult& result) {
      if (!result.lease) {
        call->Answer(ToStatus(result.error, result.votes, call->names()));
        return;
      }
      AcquireVerb& verb = call->verb();
      verb.lease = result.lease;
      Fill(*verb.response.mutable_lease(), *result.lease);
      Fill(*verb.response.mutable_votes(), result.votes, call->names());
      verb.response.set_attempts(result.attempts);
      Fill(*verb.response.mutable_waited(), result.waited);
      call->Answer(grpc::Status::OK);
    });
  }

  void Abandoned(Shard& shard) const {
    if (lease) shard.Undo(*lease);
  }

  Response response;
  std::optional<Lease> lease;
};

struct ExtendVerb {
  using Request = v1::ExtendRequest;
  using Response = v1::ExtendResponse;
  using Command = ExtendCommand;

  template <typename Call>
  std::shared_ptr<Operation> Start(Shard& shard, Command command,
                                   std::optional<Duration> until_deadline, Call call) {
    command.deadline = DeadlineAt(shard, until_deadline);
    return shard.Extend(std::move(command), [call](const ExtendResult& result) {
      if (!result.lease) {
        call->Answer(ToStatus(result.error, result.votes, call->names()));
        return;
      }
      Response& out = call->verb().response;
      Fill(*out.mutable_lease(), *result.lease);
      Fill(*out.mutable_votes(), result.votes, call->names());
      out.set_attempts(result.attempts);
      call->Answer(grpc::Status::OK);
    });
  }

  void Abandoned(Shard& /*shard*/) const {}

  Response response;
};

struct ReleaseVerb {
  using Request = v1::ReleaseRequest;
  using Response = v1::ReleaseResponse;
  using Command = ReleaseCommand;

  template <typename Call>
  std::shared_ptr<Operation> Start(Shard& shard, Command command,
                                   std::optional<Duration> /*until_deadline*/, Call call) {
    shard.Release(std::move(command.key), std::move(command.token),
                  [call](const ReleaseResult& result) {
                    if (result.error) {
                      call->Answer(ToStatus(*result.error, result.votes, call->names()));
                      return;
                    }
                    Fill(*call->verb().response.mutable_votes(), result.votes, call->names());
                    call->Answer(grpc::Status::OK);
                  });
    return nullptr;  // a release goes on without its caller
  }

  void Abandoned(Shard& /*shard*/) const {}

  Response response;
};

struct InspectVerb {
  using Request = v1::InspectRequest;
  using Response = v1::InspectResponse;
  using Command = InspectCommand;

  template <typename Call>
  std::shared_ptr<Operation> Start(Shard& shard, const Command& command,
                                   std::optional<Duration> /*until_deadline*/, Call call) {
    const auto waiters = static_cast<std::int32_t>(shard.waiters(command.key));
    shard.Inspect(command.key, [call, waiters](const InspectResult& result) {
      Response& out = call->verb().response;
      out.set_held(result.held);
      out.set_owner(result.owner.value());
      out.set_fencing_token(result.fence.value);
      if (result.held) Fill(*out.mutable_remaining(), result.remaining);
      out.set_waiters(waiters);
      Fill(*out.mutable_votes(), result.votes, call->names());
      call->Answer(grpc::Status::OK);
    });
    return nullptr;
  }

  void Abandoned(Shard& /*shard*/) const {}

  Response response;
};

}  // namespace

LockService::LockService(const config::Config& config, runtime::ShardPool& shards)
    : context_{.shards = shards,
               .rules = {.max_ttl = config.max_ttl,
                         .default_retry = config.retry,
                         .max_items = config.max_items_per_stream},
               .names = NamesOf(config),
               .max_streams = config.max_streams,
               .max_session_operations = config.max_session_operations,
               .streams = streams_} {}

LockService::~LockService() = default;

grpc::ServerUnaryReactor* LockService::Acquire(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) {
  return UnaryCall<AcquireVerb>::Start(context_, context, *request, response);
}

grpc::ServerUnaryReactor* LockService::Extend(grpc::CallbackServerContext* context,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) {
  return UnaryCall<ExtendVerb>::Start(context_, context, *request, response);
}

grpc::ServerUnaryReactor* LockService::Release(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) {
  return UnaryCall<ReleaseVerb>::Start(context_, context, *request, response);
}

grpc::ServerUnaryReactor* LockService::Inspect(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) {
  return UnaryCall<InspectVerb>::Start(context_, context, *request, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* LockService::Watch(
    grpc::CallbackServerContext* /*context*/, const grpc::ByteBuffer* request) {
  return WatchStream::Start(context_, *request);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* LockService::Hold(grpc::CallbackServerContext* context,
                                                              const grpc::ByteBuffer* request) {
  return HoldStream::Start(context_, *request, UntilDeadline(context->deadline()));
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* LockService::Session(
    grpc::CallbackServerContext* /*context*/) {
  return SessionStream::Start(context_);
}

void LockService::Drain() {
  for (const auto& thread : context_.shards.shards()) {
    thread->Post([](Shard& shard) { shard.Drain(); });
  }
  streams_.TellDraining();
}

}  // namespace redlock::rpc
