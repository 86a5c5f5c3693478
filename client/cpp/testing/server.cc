#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "client/cpp/testing/admin.pb.h"
#include "client/cpp/testing/process.h"
#include "client/cpp/testing/proxy.h"
#include "redlock/testing.h"

namespace redlock::testing {
namespace {

using internal::Process;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;
using Strings = std::vector<std::string>;

constexpr auto kPatience = seconds(30);
constexpr auto kCallTimeout = seconds(5);
// On a busy machine, a node can take longer than the daemon's default to answer.
constexpr const char* kNodeTimeout = "1s";

// A directory that is removed with this object. Its path is short enough for Unix sockets.
class Directory {
 public:
  Directory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "redlock-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      throw std::runtime_error("cannot create a temporary directory " + pattern);
    }
    path_ = pattern;
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

bool InPath(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    if (access((rest.substr(0, colon) + "/" + program).c_str(), X_OK) == 0) return true;
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  return false;
}

std::string FindDaemon(const std::string& option) {
  const char* const variable = std::getenv("REDLOCKD");
  const std::string asked = !option.empty() || variable == nullptr ? option : variable;
  const std::string from =
      option.empty() ? "the environment variable REDLOCKD" : "the option redlockd";
  if (!InPath("redis-server")) {
    throw std::runtime_error("redis-server is not in PATH: install Redis or Valkey");
  }
  if (asked.empty() && InPath("redlockd")) return "redlockd";
  if (asked.empty()) {
    throw std::runtime_error(
        "redlockd is not in PATH: install it, or name it in the environment variable REDLOCKD or "
        "in ServerOptions::redlockd");
  }
  if (access(asked.c_str(), X_OK) == 0) return asked;
  throw std::runtime_error(asked + " is not a program; " + from + " names it");
}

// A daemon on a Unix socket.
class Daemon {
 public:
  Daemon(Strings command, std::string socket, std::string log)
      : command_(std::move(command)), socket_(std::move(socket)), log_(std::move(log)) {
    command_.insert(command_.end(), {"--listen", "unix:" + socket_});
    Start();
  }

  void Restart(int signal) {
    process_->Signal(signal);
    if (!process_->EndsWithin(kPatience)) process_->Signal(SIGKILL);
    process_.reset();
    Start();
  }

  template <typename Request, typename Response>
  [[nodiscard]] grpc::Status Call(const std::string& method, const Request& request,
                                  Response& response) const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // no back-off of an earlier channel
    grpc::TemplatedGenericStub<Request, Response> stub(grpc::CreateCustomChannel(
        "unix:" + socket_, grpc::InsecureChannelCredentials(), arguments));
    std::promise<grpc::Status> done;
    auto status = done.get_future();
    stub.UnaryCall(&context, "/redlock.v1.AdminService/" + method, {}, &request, &response,
                   [&done](const grpc::Status& ended) { done.set_value(ended); });
    return status.get();
  }

 private:
  void Start() {
    process_.emplace(command_, log_);
    const auto give_up = Clock::now() + kPatience;
    while (!Serves()) {
      const bool ended = process_->EndsWithin(seconds(0));
      if (ended || Clock::now() > give_up) {
        throw std::runtime_error(command_[0] + (ended ? " has ended: " : " does not serve: ") +
                                 process_->Log());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  [[nodiscard]] bool Serves() const {
    wire::GetNodeSetResponse response;
    return Call("GetNodeSet", wire::GetNodeSetRequest(), response).ok() &&
           !response.node_set().set_id().empty() && response.node_set().trouble().empty();
  }

  Strings command_;
  const std::string socket_;
  const std::string log_;
  std::optional<Process> process_;
};

}  // namespace

class Server::Impl {
 public:
  explicit Impl(const ServerOptions& options)
      : program_(FindDaemon(options.redlockd)),
        owner_({program_, "--dev", "--node-timeout", kNodeTimeout}, directory_ / "nodes.sock",
               directory_ / "nodes.log"),
        daemon_(WithNodes(), directory_ / "daemon.sock", directory_ / "daemon.log"),
        proxy_(directory_ / "daemon.sock"),
        address_("127.0.0.1:" + std::to_string(proxy_.port())) {}

  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] internal::Proxy& proxy() { return proxy_; }

  bool Lose(const std::string& key, const std::string& why) {
    wire::ForceReleaseRequest request;
    request.set_key(key);
    request.set_why(why);
    wire::ForceReleaseResponse response;
    const std::lock_guard lock(mutex_);
    const grpc::Status status = daemon_.Call("ForceRelease", request, response);
    if (!status.ok()) throw std::runtime_error("lose: " + status.error_message());
    return response.released();
  }
  void Restart(int signal) {
    const std::lock_guard lock(mutex_);
    daemon_.Restart(signal);
  }

 private:
  // The nodes belong to the other daemon, so that they survive this one's restarts.
  [[nodiscard]] Strings WithNodes() const {
    wire::ListNodesResponse nodes;
    const grpc::Status status = owner_.Call("ListNodes", wire::ListNodesRequest(), nodes);
    if (!status.ok()) throw std::runtime_error("redlockd --dev: " + status.error_message());
    Strings command = {program_, "--node-timeout", kNodeTimeout};
    for (const auto& node : nodes.nodes()) {  // "unix:/path" or "unix:///path"
      const std::string& name = node.name();
      const std::string path = name.substr(name.find_first_not_of('/', name.find('/')));
      command.insert(command.end(), {"--node", "unix:///" + path});
    }
    return command;
  }

  const Directory directory_;
  const std::string program_;
  Daemon owner_;
  std::mutex mutex_;  // one call at a time uses the daemon
  Daemon daemon_;
  internal::Proxy proxy_;
  const std::string address_;
};

Server::Server(const ServerOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Server::~Server() = default;

const std::string& Server::address() const { return impl_->address(); }
bool Server::lose(const std::string& key, const std::string& why) { return impl_->Lose(key, why); }
void Server::restart() { impl_->Restart(SIGTERM); }
void Server::crash() { impl_->Restart(SIGKILL); }
void Server::delay(std::chrono::nanoseconds delay) { impl_->proxy().Delay(delay); }
void Server::cut() { impl_->proxy().Cut(); }
void Server::mend() { impl_->proxy().Mend(); }
void Server::reset() { impl_->proxy().Reset(); }

}  // namespace redlock::testing
