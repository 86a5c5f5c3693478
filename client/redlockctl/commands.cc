#include "client/redlockctl/commands.h"

#include <grpcpp/create_channel.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>
#include <utility>

#include "client/redlockctl/new_token.h"
#include "client/redlockctl/run_command.h"

namespace redlockctl {
namespace {

namespace v1 = redlock::v1;

// A call that only asks the nodes once needs no longer; a waiting acquire has no such bound.
constexpr Millis kCallTimeout = std::chrono::seconds(10);
// An extension that cannot be decided soon is told, rather than tried for a whole TTL.
constexpr int kExtendRetries = 3;
// Of one of several servers, before the next one is asked.
constexpr auto kConnectTimeout = std::chrono::seconds(1);
// Of what is shown while waiting.
constexpr auto kProgressPeriod = std::chrono::seconds(1);

void Set(google::protobuf::Duration* out, Millis duration) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  out->set_seconds(ns / 1'000'000'000);
  out->set_nanos(static_cast<std::int32_t>(ns % 1'000'000'000));
}

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& server, const Options& options) {
  if (options.tls_ca.empty() || server.starts_with("unix:")) {
    return grpc::CreateChannel(server, grpc::InsecureChannelCredentials());
  }
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = ReadFile(options.tls_ca);
  if (!options.tls_cert.empty()) {
    tls.pem_cert_chain = ReadFile(options.tls_cert);
    tls.pem_private_key = ReadFile(options.tls_key);
  }
  return grpc::CreateChannel(server, grpc::SslCredentials(tls));
}

// Cancels the call at SIGINT or SIGTERM, so that the daemon hears of it at once. The signals must
// be blocked in all threads.
class CancelOnSignal {
 public:
  explicit CancelOnSignal(grpc::ClientContext& context)
      : thread_([this, &context] {
          sigset_t signals;
          sigemptyset(&signals);
          sigaddset(&signals, SIGINT);
          sigaddset(&signals, SIGTERM);
          sigaddset(&signals, SIGUSR1);
          int signal = 0;
          sigwait(&signals, &signal);
          signalled_ = signal != SIGUSR1;
          if (signalled_) context.TryCancel();
        }) {}
  ~CancelOnSignal() {
    if (thread_.joinable()) (void)Stop();
  }
  CancelOnSignal(const CancelOnSignal&) = delete;
  CancelOnSignal& operator=(const CancelOnSignal&) = delete;

  // True if a signal came.
  bool Stop() {
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
    return signalled_;
  }

 private:
  bool signalled_ = false;
  std::thread thread_;
};

}  // namespace

Commands::Commands(Options options, Printer printer)
    : options_(std::move(options)), printer_(printer) {
  std::shared_ptr<grpc::Channel> channel;
  for (const std::string& server : options_.servers) {
    server_ = server;
    channel = ChannelTo(server, options_);
    // The last one has to do; whoever asks it hears why it does not.
    const auto patience = std::chrono::system_clock::now() + kConnectTimeout;
    if (server == options_.servers.back() || channel->WaitForConnected(patience)) break;
  }
  stub_ = v1::LockService::NewStub(channel);
  admin_ = v1::AdminService::NewStub(channel);
  health_ = grpc::health::v1::Health::NewStub(channel);
}

void Commands::Identify(grpc::ClientContext& context) const {
  if (!options_.auth_token.empty()) {
    context.AddMetadata("authorization", "Bearer " + options_.auth_token);
  }
}

void Commands::SetDeadline(grpc::ClientContext& context) const {
  SetDeadline(context, options_.timeout.value_or(kCallTimeout));
}

void Commands::SetDeadline(grpc::ClientContext& context, Millis timeout) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::microseconds>(timeout));
}

void Commands::SetRetry(auto& request) const {
  const auto max_retries = options_.single_try ? std::optional(0) : options_.max_retries;
  if (max_retries) request.mutable_retry()->set_max_retries(*max_retries);
  if (options_.min_delay) Set(request.mutable_retry()->mutable_min_delay(), *options_.min_delay);
  if (options_.max_jitter) Set(request.mutable_retry()->mutable_max_jitter(), *options_.max_jitter);
}

ExitStatus Commands::Report(const grpc::Status& status) const {
  const Failure failure = Explain(status, server_);
  printer_.Print(failure);
  return failure.exit_status;
}

std::optional<Millis> Commands::Wait() const {
  return options_.wait ? options_.wait : options_.timeout;
}

// Until told to stop; what cannot be asked is not shown.
void Commands::ShowWaiting(const std::stop_token& stop) const {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  while (!wake.wait_for(lock, stop, kProgressPeriod, [&stop] { return stop.stop_requested(); })) {
    grpc::ClientContext context;
    Identify(context);
    SetDeadline(context, kProgressPeriod);
    v1::InspectRequest request;
    request.set_key(options_.key);
    v1::InspectResponse response;
    if (stub_->Inspect(&context, request, &response).ok() && !stop.stop_requested()) {
      printer_.PrintWaiting(options_.key, response);
    }
  }
}

ExitStatus Commands::Acquire() {
  v1::AcquireRequest request;
  request.set_key(options_.key);
  Set(request.mutable_ttl(), options_.ttl);
  if (!options_.token.empty()) request.set_token(options_.token);
  SetRetry(request);
  request.set_extend_if_held(options_.extend_if_held);
  request.set_owner(options_.owner);
  grpc::ClientContext context;
  Identify(context);
  if (const auto wait = Wait(); wait || options_.single_try) {
    SetDeadline(context, wait.value_or(kCallTimeout));
  }
  v1::AcquireResponse response;
  CancelOnSignal cancel(context);
  std::jthread progress;
  if (printer_.shows_progress()) {  // else nobody would see what the nodes are asked for
    progress = std::jthread([this](const std::stop_token& stop) { ShowWaiting(stop); });
  }
  const grpc::Status status = stub_->Acquire(&context, request, &response);
  progress = {};  // has ended
  printer_.ClearProgress();
  if (!status.ok()) return Report(status);
  printer_.Print(response);
  return kExitOk;
}

ExitStatus Commands::Extend() {
  v1::ExtendRequest request;
  request.set_key(options_.key);
  request.set_token(options_.token);
  Set(request.mutable_ttl(), options_.ttl);
  request.mutable_retry()->set_max_retries(kExtendRetries);
  SetRetry(request);
  grpc::ClientContext context;
  Identify(context);
  SetDeadline(context);
  v1::ExtendResponse response;
  CancelOnSignal cancel(context);
  const grpc::Status status = stub_->Extend(&context, request, &response);
  if (!status.ok()) return Report(status);
  printer_.Print(response);
  return kExitOk;
}

ExitStatus Commands::Release() {
  v1::ReleaseRequest request;
  request.set_key(options_.key);
  request.set_token(options_.token);
  grpc::ClientContext context;
  Identify(context);
  SetDeadline(context);
  v1::ReleaseResponse response;
  CancelOnSignal cancel(context);
  const grpc::Status status = stub_->Release(&context, request, &response);
  if (!status.ok()) return Report(status);
  printer_.PrintReleased(options_.key, response);
  return kExitOk;
}

ExitStatus Commands::Inspect() {
  v1::InspectRequest request;
  request.set_key(options_.key);
  grpc::ClientContext context;
  Identify(context);
  SetDeadline(context);
  v1::InspectResponse response;
  CancelOnSignal cancel(context);
  const grpc::Status status = stub_->Inspect(&context, request, &response);
  if (!status.ok()) return Report(status);
  printer_.PrintInspected(options_.key, response);
  return kExitOk;
}

ExitStatus Commands::Health() {
  grpc::ClientContext context;
  SetDeadline(context);
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = health_->Check(&context, {}, &response);
  if (!status.ok()) return Report(status);
  printer_.Print(response);
  const bool serves = response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  return serves ? kExitOk : kExitNoQuorum;
}

ExitStatus Commands::Leases() {
  v1::ListLeasesRequest request;
  request.set_page_size(1000);
  do {
    grpc::ClientContext context;
    Identify(context);
    SetDeadline(context);
    v1::ListLeasesResponse response;
    const grpc::Status status = admin_->ListLeases(&context, request, &response);
    if (!status.ok()) return Report(status);
    printer_.Print(response);
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return kExitOk;
}

ExitStatus Commands::ForceRelease() {
  grpc::ClientContext context;
  Identify(context);
  SetDeadline(context);
  v1::ForceReleaseRequest request;
  request.set_key(options_.key);
  request.set_why(options_.why);
  v1::ForceReleaseResponse response;
  const grpc::Status status = admin_->ForceRelease(&context, request, &response);
  if (!status.ok()) return Report(status);
  printer_.Print(options_.key, response);
  return response.released() ? kExitOk : kExitNotHeld;
}

ExitStatus Commands::LogLevel() {
  grpc::ClientContext context;
  Identify(context);
  SetDeadline(context);
  v1::SetLogLevelRequest request;
  request.set_level(options_.level);
  v1::SetLogLevelResponse response;
  const grpc::Status status = admin_->SetLogLevel(&context, request, &response);
  if (!status.ok()) return Report(status);
  printer_.Print(options_.level, response);
  return kExitOk;
}

ExitStatus Commands::Token() {
  const NewToken made = MakeToken(options_.identity);
  printer_.Print(made);
  return kExitOk;
}

ExitStatus Commands::Status() {
  grpc::ClientContext context;
  Identify(context);
  SetDeadline(context);
  v1::ListNodesResponse response;
  CancelOnSignal cancel(context);
  const grpc::Status status = admin_->ListNodes(&context, {}, &response);
  if (!status.ok()) return Report(status);
  printer_.Print(response);
  const auto up =
      std::count_if(response.nodes().begin(), response.nodes().end(),
                    [](const v1::Node& node) { return node.state() == v1::NODE_STATE_UP; });
  return up >= response.quorum() ? kExitOk : kExitNoQuorum;
}

ExitStatus Commands::Watch() {
  v1::WatchRequest request;
  v1::WatchItem& item = *request.add_items();
  item.set_key(options_.key);
  item.set_token(options_.token);
  Set(item.mutable_ttl(), options_.ttl);
  if (options_.interval) Set(item.mutable_interval(), *options_.interval);
  if (options_.max_lifetime) Set(request.mutable_max_lifetime(), *options_.max_lifetime);
  request.set_release_on_close(options_.release_on_close);
  request.set_keep_watching_after_loss(options_.keep_watching);
  grpc::ClientContext context;
  Identify(context);
  CancelOnSignal cancel(context);
  const auto events = stub_->Watch(&context, request);
  v1::WatchResponse event;
  while (events->Read(&event)) printer_.Print(event);
  const grpc::Status status = events->Finish();
  if (cancel.Stop()) return kExitOk;
  const bool lifetime_over = options_.max_lifetime.has_value() &&
                             status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (status.ok() || lifetime_over) return kExitOk;
  return Report(status);
}

v1::HoldRequest Commands::HoldRequest() const {
  v1::HoldRequest request;
  request.set_key(options_.key);
  Set(request.mutable_ttl(), options_.ttl);
  request.set_owner(options_.owner);
  if (!options_.token.empty()) request.set_token(options_.token);
  SetRetry(request);
  if (options_.interval) Set(request.mutable_interval(), *options_.interval);
  if (options_.max_lifetime) Set(request.mutable_max_lifetime(), *options_.max_lifetime);
  return request;
}

ExitStatus Commands::Hold() {
  grpc::ClientContext context;
  Identify(context);
  CancelOnSignal cancel(context);
  const auto events = stub_->Hold(&context, HoldRequest());
  v1::HoldResponse event;
  while (events->Read(&event)) printer_.Print(event);
  const grpc::Status status = events->Finish();
  if (cancel.Stop()) return kExitOk;
  const bool lifetime_over = options_.max_lifetime.has_value() &&
                             status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (status.ok() || lifetime_over) return kExitOk;
  return Report(status);
}

redlock::client::Options Commands::ClientOptions() const {
  return {.endpoints = options_.servers,
          .ca_file = options_.tls_ca,
          .certificate_file = options_.tls_cert,
          .key_file = options_.tls_key,
          .token_file = options_.auth_token_file};
}

ExitStatus Commands::Run() {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  RunOptions run{.key = options_.key,
                 .acquire = {.ttl = duration_cast<milliseconds>(options_.ttl),
                             .token = options_.token,
                             .owner = options_.owner},
                 .command = options_.command,
                 .grace = duration_cast<milliseconds>(options_.grace),
                 .max_lifetime = {}};
  if (const auto wait = Wait()) run.acquire.wait = duration_cast<milliseconds>(*wait);
  if (options_.single_try) run.acquire.wait = milliseconds(0);
  if (options_.max_lifetime) run.max_lifetime = duration_cast<milliseconds>(*options_.max_lifetime);
  redlock::client::Client client(ClientOptions());
  return static_cast<ExitStatus>(RunUnderLock(client, run, printer_));
}

ExitStatus Commands::Bench() {
  redlock::client::Client client(ClientOptions());
  return redlockctl::Bench(client, options_.bench, printer_);
}

}  // namespace redlockctl
