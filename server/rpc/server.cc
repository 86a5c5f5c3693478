#include "server/rpc/server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "proto/redlock/v1/admin_service.grpc.pb.h"
#include "server/config/listen_address.h"
#include "server/core/format.h"
#include "server/observe/throttle.h"
#include "server/rpc/compression.h"
#include "server/rpc/reflection_service.h"
#include "server/rpc/server_credentials.h"

namespace redlock::rpc {
namespace {

constexpr auto kShutdownGrace = std::chrono::milliseconds(200);

const std::vector<std::string>& Services() {
  static const std::vector<std::string> names = {v1::LockService::service_full_name(),
                                                 v1::AdminService::service_full_name()};
  return names;
}

// Metadata above this ends the whole connection in gRPC 1.51. Caller refuses a single call that has
// less, but too much.
constexpr int kMostMetadataBytes = 1 << 20;
// How long a peer may take for the handshakes of TLS and HTTP/2.
constexpr int kHandshakeTimeoutMs = 10'000;

// One line for the whole outage: those of the nodes do not say how many are left.
void LogQuorum(std::size_t shard, bool quorum, const std::optional<Error>& outage) {
  const std::string what =
      quorum ? "quorum: enough nodes are able to grant locks"
             : fmt::format(
                   "no quorum: no lock can be acquired, and held locks expire unless the "
                   "nodes still extend them: {}",
                   outage ? outage->message : "");
  observe::LogThrottled(quorum ? spdlog::level::info : spdlog::level::err, "quorum",
                        std::to_string(shard), fmt::format("{} (shard {})", what, shard));
}

void SetLimits(grpc::ServerBuilder& builder, const config::Config& config) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(config.max_message_bytes));
  AcceptPacked(builder);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, ConnectionGuard::kMostCalls);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMostMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 1);  // for ConnectionGuard
}

// A dead or half-open connection is noticed within keepalive_time + keepalive_timeout, and its
// watchdogs end. Clients may send their own pings up to once a second.
void SetKeepalive(grpc::ServerBuilder& builder, const config::Config& config) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                             static_cast<int>(Millis(config.keepalive_time)));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             static_cast<int>(Millis(config.keepalive_timeout)));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
}

}  // namespace

Server::Server(const config::Config& config, Connections& connections, runtime::ShardPool& shards,
               LockService& locks, AdminService& admin)
    : shards_(shards),
      connections_(connections),
      health_(Services(), shards.shards().size(), quota_) {
  locks.AddTo(routes_);
  admin.AddTo(routes_);
  health_.AddTo(routes_);
  AddReflection(routes_, Services(), quota_);
  // gRPC's own service would start threads that compete with the pollers for events.
  grpc::EnableDefaultHealthCheckService(false);
  if (!config.tls_cert.empty()) certificates_.emplace(config);
  grpc::ServerBuilder builder;
  std::vector<Acceptor::Place> places;
  for (const std::string& address : config.listen) {
    using Type = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
    Listening listening(address, config);
    addresses_.push_back(listening.address());
    places.push_back(
        {std::move(listening), builder.experimental().AddExternalConnectionAcceptor(
                                   Type::FROM_FD, CredentialsFor(address, certificates()))});
  }
  SetLimits(builder, config);
  SetKeepalive(builder, config);
  builder.RegisterService(&locks.methods());
  builder.RegisterAsyncGenericService(&others_);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  for (std::size_t i = 0; i < shards.shards().size(); ++i) {
    queues.push_back(builder.AddCompletionQueue());
  }
  server_ = builder.BuildAndStart();
  if (!server_) throw std::runtime_error("gRPC cannot start its server");
  for (std::size_t i = 0; i < queues.size(); ++i) {
    pollers_.push_back(std::make_unique<Poller>(std::move(queues[i]), *shards.shards()[i]));
  }
  for (const auto& poller : pollers_) {
    locks.AcceptUnary(*poller);
    AcceptStreams(others_, *poller, routes_, config.max_message_bytes);
  }
  guard_.emplace(connections_, pollers_);
  acceptor_ = std::make_unique<Acceptor>(std::move(places), connections_, *guard_);
  WatchQuorums();
}

// Each shard has its own connections, but only the coordinator finds out which nodes are able to
// grant.
void Server::WatchQuorums() {
  for (std::size_t i = 0; i < shards_.shards().size(); ++i) {
    shards_.shards()[i]->Do([this, i](Shard& shard) {
      shard.WatchQuorum([this, i, &shard, before = false](bool quorum) mutable {
        if (i == 0) TellOthers(shard.Outage());
        health_.SetQuorum(i, quorum);
        if (std::exchange(before, quorum) != quorum) LogQuorum(i, quorum, shard.Outage());
      });
    });
  }
}

void Server::TellOthers(const std::optional<Error>& outage) {
  for (const auto& other : shards_.shards().subspan(1)) {
    other->Do([outage](Shard& told) { told.HearOfOutage(outage); });
  }
}

Server::~Server() {
  Shutdown();
  shards_.ForEach([](Shard& shard) { shard.WatchQuorum({}); });
}

void Server::Drain() { health_.Drain(); }

void Server::Shutdown() {
  acceptor_.reset();
  if (server_) server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  pollers_.clear();
  server_.reset();
}

}  // namespace redlock::rpc
