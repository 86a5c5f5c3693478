#include "server/rpc/server.h"

#include <grp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <system_error>

#include "proto/redlock/v1/admin_service.grpc.pb.h"
#include "server/core/format.h"
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

mode_t SocketMode(const config::Config& config) {
  return static_cast<mode_t>(std::stoul(config.unix_socket_mode, nullptr, 8));
}

// While this object exists, sockets are created with these permissions, so that no other user can
// connect before the permissions are set.
class CreationMode {
 public:
  explicit CreationMode(mode_t mode) : before_(umask(~mode & 0777)) {}
  ~CreationMode() { umask(before_); }
  CreationMode(const CreationMode&) = delete;
  CreationMode& operator=(const CreationMode&) = delete;

 private:
  const mode_t before_;
};

void SetOwner(const std::string& path, const std::string& owner) {
  const std::size_t colon = owner.find(':');
  errno = ENOENT;
  // Only this thread looks up users.
  // NOLINTBEGIN(concurrency-mt-unsafe)
  const passwd* const user = getpwnam(owner.substr(0, colon).c_str());
  const group* const of =
      colon == std::string::npos ? nullptr : getgrnam(owner.substr(colon + 1).c_str());
  // NOLINTEND(concurrency-mt-unsafe)
  if (user == nullptr || (colon != std::string::npos && of == nullptr) ||
      chown(path.c_str(), user->pw_uid, of == nullptr ? user->pw_gid : of->gr_gid) != 0) {
    throw config::ConfigError("--unix-socket-owner " + owner + ": cannot set the owner of " + path +
                              ": " + std::generic_category().message(errno));
  }
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

Server::Server(const config::Config& config, runtime::ShardPool& shards, LockService& locks,
               AdminService& admin)
    : shards_(shards), health_(Services()) {
  locks.AddTo(routes_);
  admin.AddTo(routes_);
  health_.AddTo(routes_);
  AddReflection(routes_, Services());
  // gRPC's own service would start threads that compete with the pollers for events.
  grpc::EnableDefaultHealthCheckService(false);
  grpc::ServerBuilder builder;
  std::deque<int> ports;  // stable addresses
  for (const std::string& address : config.listen) {
    ports.push_back(0);
    builder.AddListeningPort(address, CredentialsFor(address, config), &ports.back());
  }
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second daemon must fail to listen
  builder.SetMaxReceiveMessageSize(static_cast<int>(config.max_message_bytes));
  SetKeepalive(builder, config);
  builder.RegisterService(&locks.methods());
  builder.RegisterAsyncGenericService(&others_);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  for (std::size_t i = 0; i < shards.shards().size(); ++i) {
    queues.push_back(builder.AddCompletionQueue());
  }
  {
    const CreationMode of_sockets(SocketMode(config));
    server_ = builder.BuildAndStart();
  }
  for (std::size_t i = 0; i < queues.size(); ++i) {
    pollers_.push_back(std::make_unique<Poller>(std::move(queues[i]), *shards.shards()[i]));
  }
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::string& address = config.listen[i];
    if (!server_ || ports[i] == 0) {
      throw config::ConfigError("--listen " + address +
                                ": cannot listen; use an address of this machine that is not in "
                                "use");
    }
    const bool is_unix = address.starts_with("unix:");
    if (is_unix && !config.unix_socket_owner.empty()) {
      SetOwner(address.substr(5), config.unix_socket_owner);
    }
    addresses_.push_back(
        is_unix ? address : address.substr(0, address.rfind(':') + 1) + std::to_string(ports[i]));
  }
  for (const auto& poller : pollers_) {
    locks.AcceptUnary(*poller);
    AcceptStreams(others_, *poller, routes_);
  }
  // All shards see the same nodes.
  shards_.shards()[0]->Do([this](Shard& shard) {
    shard.WatchQuorum([this](bool quorum) { health_.SetQuorum(quorum); });
  });
}

Server::~Server() {
  Shutdown();
  (void)shards_.Sum([](Shard& shard) {
    shard.WatchQuorum({});
    return std::size_t{0};
  });
}

void Server::Drain() { health_.Drain(); }

void Server::Shutdown() {
  if (server_) server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  pollers_.clear();
  server_.reset();
}

}  // namespace redlock::rpc
