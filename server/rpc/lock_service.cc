#include "server/rpc/lock_service.h"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>

#include "server/config/listen_address.h"
#include "server/rpc/hold_stream.h"
#include "server/rpc/observe_stream.h"
#include "server/rpc/session_stream.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/watch_stream.h"

namespace redlock::rpc {
namespace {

std::optional<MonotonicTime> DeadlineAt(Shard& shard, std::optional<Duration> left) {
  if (!left) return std::nullopt;
  return shard.Now() + *left;
}

struct AcquireMethod {
  using Request = v1::AcquireRequest;
  using Response = v1::AcquireResponse;
  using Command = AcquireCommand;
  static constexpr const char* kMethod = "Acquire";
  static constexpr auto kAccess = access::Action::kAcquire;

  static void Await(RawLockService& methods, auto... call) { methods.RequestAcquire(call...); }

  template <typename Call>
  std::shared_ptr<Cancellable> Start(Shard& shard, Command command,
                                     std::optional<Duration> until_deadline, Call call) {
    if (until_deadline) command.deadline = shard.Now() + TimeToAcquire(*until_deadline);
    if (call->IsAudited()) owner = command.owner.label;
    return shard.Acquire(std::move(command), [call](const AcquireResult& result) {
      if (!result.lease) {
        call->Answer(ToStatus(result.error, result.votes, call->names()));
        return;
      }
      if (const auto audit = call->Audit()) audit->OnAcquired(result, call->method().owner);
      Response& out = call->method().response;
      Fill(*out.mutable_lease(), *result.lease);
      Fill(*out.mutable_votes(), result.votes, call->names());
      out.set_attempts(result.attempts);
      Fill(*out.mutable_waited(), result.waited);
      call->Answer(grpc::Status::OK);
    });
  }

  Response response;
  OwnerLabel owner;  // for the audit log
};

struct ExtendMethod {
  using Request = v1::ExtendRequest;
  using Response = v1::ExtendResponse;
  using Command = ExtendCommand;
  static constexpr const char* kMethod = "Extend";
  static constexpr auto kAccess = access::Action::kExtend;

  static void Await(RawLockService& methods, auto... call) { methods.RequestExtend(call...); }

  template <typename Call>
  std::shared_ptr<Cancellable> Start(Shard& shard, Command command,
                                     std::optional<Duration> until_deadline, Call call) {
    command.deadline = DeadlineAt(shard, until_deadline);
    return shard.Extend(std::move(command), [call](const ExtendResult& result) {
      if (!result.lease) {
        call->Answer(ToStatus(result.error, result.votes, call->names()));
        return;
      }
      Response& out = call->method().response;
      Fill(*out.mutable_lease(), *result.lease);
      Fill(*out.mutable_votes(), result.votes, call->names());
      out.set_attempts(result.attempts);
      call->Answer(grpc::Status::OK);
    });
  }

  Response response;
};

struct ReleaseMethod {
  using Request = v1::ReleaseRequest;
  using Response = v1::ReleaseResponse;
  using Command = ReleaseCommand;
  static constexpr const char* kMethod = "Release";
  static constexpr auto kAccess = access::Action::kRelease;

  static void Await(RawLockService& methods, auto... call) { methods.RequestRelease(call...); }

  template <typename Call>
  std::shared_ptr<Cancellable> Start(Shard& shard, const Command& command,
                                     std::optional<Duration> /*until_deadline*/, Call call) {
    if (call->IsAudited()) released = shard.HoldingOf(command.key, command.token);
    shard.Release(
        command.key, command.token,
        [call, &shard](const ReleaseResult& result) {
          if (result.error) {
            call->Answer(ToStatus(*result.error, result.votes, call->names()));
            return;
          }
          if (const auto audit = call->Audit()) {
            audit->OnReleased(call->method().released, shard.Now());
          }
          Fill(*call->method().response.mutable_votes(), result.votes, call->names());
          call->Answer(grpc::Status::OK);
        },
        command.source, command.keep_for);
    return nullptr;  // a release continues without its caller
  }

  Response response;
  Holding released;  // for the audit log
};

struct ProclaimMethod {
  using Request = v1::ProclaimRequest;
  using Response = v1::ProclaimResponse;
  using Command = ProclaimCommand;
  static constexpr const char* kMethod = "Proclaim";
  static constexpr auto kAccess = access::Action::kExtend;

  static void Await(RawLockService& methods, auto... call) { methods.RequestProclaim(call...); }

  template <typename Call>
  // clang-tidy does not see in a template that it is moved.
  // NOLINTNEXTLINE(performance-unnecessary-value-param)
  std::shared_ptr<Cancellable> Start(Shard& shard, Command command,
                                     std::optional<Duration> /*until_deadline*/, Call call) {
    shard.Proclaim(std::move(command), [call](const ProclaimResult& result) {
      if (result.error) {
        call->Answer(ToStatus(*result.error, result.votes, call->names()));
        return;
      }
      Fill(*call->method().response.mutable_votes(), result.votes, call->names());
      call->Answer(grpc::Status::OK);
    });
    return nullptr;  // the nodes decide soon
  }

  Response response;
};

constexpr std::size_t kMostWaitersShown = 100;

struct InspectMethod {
  using Request = v1::InspectRequest;
  using Response = v1::InspectResponse;
  using Command = InspectCommand;
  static constexpr const char* kMethod = "Inspect";
  static constexpr auto kAccess = access::Action::kInspect;

  static void Await(RawLockService& methods, auto... call) { methods.RequestInspect(call...); }

  template <typename Call>
  std::shared_ptr<Cancellable> Start(Shard& shard, const Command& command,
                                     std::optional<Duration> /*until_deadline*/, Call call) {
    const auto waiters = static_cast<std::int32_t>(shard.waiters(command.key));
    for (const LeaseListing& waiter : shard.ListWaiters(command.key, kMostWaitersShown)) {
      Fill(*response.add_waiting(), waiter);
    }
    const auto answer = [call, waiters](const InspectResult& result) {
      Response& out = call->method().response;
      out.set_held(result.held);
      out.set_undecided(result.undecided);
      FillHolders(out, result.held_by, result.shared, result.limit);
      if (result.held && !result.shared) out.set_mode(v1::LOCK_MODE_EXCLUSIVE);
      for (const InspectResult::Holder& holder : result.held_by) {
        const OwnerLabel& label = holder.owner.label;
        if (result.shared && !label.empty()) out.add_owners(label.str());
      }
      std::sort(out.mutable_owners()->begin(), out.mutable_owners()->end());
      out.set_fencing_token(result.fence.value);
      if (result.held) Fill(*out.mutable_remaining(), result.remaining);
      if (result.kept_for > Duration{}) Fill(*out.mutable_kept_for(), result.kept_for);
      out.set_waiters(waiters);
      out.set_daemon(call->daemon());
      Fill(*out.mutable_votes(), result.votes, call->names());
      call->Answer(grpc::Status::OK);
    };
    return shard.Inspect(command.key, answer, command.source);
  }

  Response response;
};

}  // namespace

LockService::LockService(const config::Config& config, runtime::ShardPool& shards,
                         const access::Access& access, Connections& connections,
                         observe::AuditLog* audit_log)
    : waiting_calls_(shards.shards().size()),
      context_{.shards = shards,
               .access = access,
               .connections = connections,
               .configured_rules = {.max_ttl = config.max_ttl,
                                    .default_retry = config.retry,
                                    .max_items = config.max_items_per_stream},
               .names = NamesOf(config),
               .daemon = config::DaemonName(config.listen),
               .max_streams = config.max_streams,
               .max_session_operations = config.max_session_operations,
               .max_message_bytes = config.max_message_bytes,
               .streams = streams_,
               .audit_log = audit_log,
               .waiting_calls = waiting_calls_} {}

void LockService::AddTo(Routes& routes) {
  const auto stream = [this]<typename Stream>(std::type_identity<Stream>) {
    return [this](std::unique_ptr<AcceptedCall> accepted) {
      return std::make_shared<Stream>(std::move(accepted), context_);
    };
  };
  routes["/redlock.v1.LockService/Watch"] = stream(std::type_identity<WatchStream>());
  routes["/redlock.v1.LockService/Hold"] = stream(std::type_identity<HoldStream>());
  routes["/redlock.v1.LockService/Session"] = stream(std::type_identity<SessionStream>());
  routes["/redlock.v1.LockService/Observe"] = stream(std::type_identity<ObserveStream>());
}

void LockService::AcceptUnary(Poller& poller) {
  constexpr int kAtOnce = 64;  // of each method, accepted before the first is processed
  for (int i = 0; i < kAtOnce; ++i) {
    UnaryCall<AcquireMethod>::Await(context_, methods_, poller);
    UnaryCall<ExtendMethod>::Await(context_, methods_, poller);
    UnaryCall<ReleaseMethod>::Await(context_, methods_, poller);
    UnaryCall<ProclaimMethod>::Await(context_, methods_, poller);
    UnaryCall<InspectMethod>::Await(context_, methods_, poller);
  }
}

void LockService::Drain() {
  // A client that has been told must not be granted another lock here.
  context_.shards.ForEach([](Shard& shard) { shard.Drain(); });
  streams_.TellDraining();
}

void LockService::Recheck() {
  streams_.Recheck();
  for (std::size_t i = 0; i < waiting_calls_.size(); ++i) {
    runtime::ShardThread& thread = *context_.shards.shards()[i];
    thread.Do([this, i, &thread](Shard&) { waiting_calls_[i].Recheck(thread); });
  }
}

}  // namespace redlock::rpc
