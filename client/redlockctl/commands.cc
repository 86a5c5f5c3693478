#include "client/redlockctl/commands.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <thread>
#include <utility>

#include "client/redlockctl/debug_command.h"
#include "client/redlockctl/keeper.h"
#include "client/redlockctl/new_token.h"
#include "client/redlockctl/node_set_change.h"
#include "client/redlockctl/nodes_command.h"
#include "client/redlockctl/run_command.h"
#include "client/redlockctl/shown.h"

namespace redlockctl {
namespace {

namespace v1 = redlock::v1;
using v1::AdminService;
using v1::LockService;

// Long enough for calls that make one round. An acquire that waits has no such limit.
constexpr Millis kCallTimeout = std::chrono::seconds(10);
// For the release at the end of `hold`.
constexpr Millis kReleaseTimeout = std::chrono::seconds(2);
// For the question why a lock was not acquired.
constexpr Millis kInspectTimeout = std::chrono::seconds(2);
// Reports an extension that cannot be decided soon, instead of retrying for a whole TTL.
constexpr int kExtendRetries = 3;
constexpr int kLeasesPerPage = 1000;
// The progress line is updated this often while an acquire waits.
constexpr auto kProgressPeriod = std::chrono::seconds(1);

void Set(google::protobuf::Duration* out, Millis duration) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  out->set_seconds(ns / 1'000'000'000);
  out->set_nanos(static_cast<std::int32_t>(ns % 1'000'000'000));
}

}  // namespace

Commands::Commands(Options options, Printer printer)
    : options_(std::move(options)), printer_(printer) {}

Daemon& Commands::daemon() {
  if (!daemon_) daemon_.emplace(ClientOptions(), Wait());
  return *daemon_;
}

ExitStatus Commands::Report(const grpc::Status& status) {
  const Failure failure = daemon().Explain(status);
  printer_.Print(failure);
  return failure.exit_status;
}

template <typename Stub, typename Request, typename Response>
ExitStatus Commands::Ask(Method<Stub, Request, Response> method, const Request& request,
                         auto then) {
  Response response;
  const ExitStatus asked = AskOne(daemon(), method, request, response);
  return asked == kExitOk ? then(response) : asked;
}

template <typename Stub, typename Request, typename Response>
ExitStatus Commands::AskOne(Daemon& one, Method<Stub, Request, Response> method,
                            const Request& request, Response& response) const {
  const grpc::Status status = one.Call(
      method, request, response, options_.timeout ? one.Left(*options_.timeout) : kCallTimeout);
  if (status.ok()) return kExitOk;
  const Failure failure = one.Explain(status);
  printer_.Print(failure);
  return failure.exit_status;
}

ExitStatus Commands::AskEach(auto ask) const {
  ExitStatus worst = kExitOk;
  for (const std::string& server : options_.servers) {
    redlock::client::Options client = ClientOptions();
    client.endpoints = {server};
    Daemon one(std::move(client), Wait());
    worst = std::max(worst, ask(one));
  }
  return worst;
}

template <typename Stub, typename Request, typename Event>
ExitStatus Commands::Follow(StreamMethod<Stub, Request, Event> method, const Request& request,
                            auto seen) {
  grpc::ClientContext context;
  CancelOnSignal cancel(context);
  const auto events = daemon().Open(context, method, request);
  Event event;
  while (events->Read(&event)) {
    printer_.Print(event);
    seen(event);
  }
  const grpc::Status status = events->Finish();
  if (cancel.Stop()) return kExitOk;
  const bool lifetime_over = options_.max_lifetime.has_value() &&
                             status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (status.ok() || lifetime_over) return kExitOk;
  return Report(status);
}

void Commands::SetKeys(auto& request) const {
  if (options_.keys.size() == 1) {
    request.set_key(options_.keys.front());
  } else {
    *request.mutable_keys() = {options_.keys.begin(), options_.keys.end()};
  }
}

void Commands::SetClaim(auto& request) const {
  SetKeys(request);
  if (options_.shared) request.set_mode(v1::LOCK_MODE_SHARED);
  request.set_max_holders(options_.max_holders);
}

void Commands::SetPublished(auto& request) const {
  request.set_value(options_.value);
  if (options_.lock_delay) Set(request.mutable_lock_delay(), *options_.lock_delay);
}

void Commands::SetRetry(auto& request) const {
  const auto max_retries = options_.single_try ? std::optional(0) : options_.max_retries;
  if (max_retries) request.mutable_retry()->set_max_retries(*max_retries);
  if (options_.min_delay) Set(request.mutable_retry()->mutable_min_delay(), *options_.min_delay);
  if (options_.max_jitter) Set(request.mutable_retry()->mutable_max_jitter(), *options_.max_jitter);
}

std::optional<Millis> Commands::Wait() const {
  return options_.wait ? options_.wait : options_.timeout;
}

grpc::Status Commands::InspectKeys(v1::InspectResponse& response, Millis timeout) {
  grpc::Status status;
  for (const std::string& key : options_.keys) {
    v1::InspectRequest request;
    request.set_key(key);
    grpc::ClientContext context;
    status = daemon().CallIn(context, &LockService::Stub::Inspect, request, response, timeout);
    if (!status.ok() || response.held() || response.undecided()) break;
  }
  return status;
}

void Commands::ShowWaiting(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  while (!wake.wait_for(lock, stop, kProgressPeriod, [&stop] { return stop.stop_requested(); })) {
    v1::InspectResponse response;
    const grpc::Status status = InspectKeys(response, Millis(kProgressPeriod));
    if (status.ok() && !stop.stop_requested()) {
      printer_.PrintWaiting(Listed(options_.keys), response);
    }
  }
}

ExitStatus Commands::Acquire() {
  v1::AcquireRequest request;
  SetClaim(request);
  Set(request.mutable_ttl(), options_.ttl);
  if (!options_.token.empty()) request.set_token(options_.token);
  SetRetry(request);
  request.set_extend_if_held(options_.extend_if_held);
  request.set_owner(options_.owner);
  SetPublished(request);
  std::optional<Millis> timeout = Wait();
  if (options_.single_try && !timeout) timeout = kCallTimeout;
  Daemon& asked = daemon();
  if (timeout) timeout = asked.Left(*timeout);
  std::jthread progress;
  if (printer_.shows_progress()) {  // otherwise do not ask the nodes for it
    progress = std::jthread([this](const std::stop_token& stop) { ShowWaiting(stop); });
  }
  v1::AcquireResponse response;
  const grpc::Status status = asked.Call(&LockService::Stub::Acquire, request, response, timeout);
  progress = {};  // stops and joins the thread
  printer_.ClearProgress();
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    Failure failure = asked.Explain(status);
    // Without the reason of an attempt, the call ended here before the daemon answered.
    const bool answers = failure.exit_status != kExitUnreachable;
    if (answers && failure.last_reason.empty()) failure = WithCause(std::move(failure));
    printer_.Print(failure);
    return failure.exit_status;
  }
  if (!status.ok()) return Report(status);
  printer_.Print(response);
  return kExitOk;
}

ExitStatus Commands::Extend() {
  v1::ExtendRequest request;
  SetClaim(request);
  request.set_token(options_.held_token);
  Set(request.mutable_ttl(), options_.ttl);
  request.set_downgrade_from(options_.downgrade_from);
  request.mutable_retry()->set_max_retries(kExtendRetries);
  SetRetry(request);
  return Ask(&LockService::Stub::Extend, request, [this](const v1::ExtendResponse& response) {
    printer_.Print(response);
    return kExitOk;
  });
}

ExitStatus Commands::Release() {
  v1::ReleaseRequest request;
  SetKeys(request);
  request.set_token(options_.held_token);
  if (options_.keep_for) Set(request.mutable_keep_for(), *options_.keep_for);
  return Ask(&LockService::Stub::Release, request, [this](const v1::ReleaseResponse& response) {
    printer_.PrintReleased(Listed(options_.keys), response);
    return kExitOk;
  });
}

ExitStatus Commands::Proclaim() {
  v1::ProclaimRequest request;
  SetKeys(request);
  request.set_token(options_.held_token);
  request.set_value(options_.value);
  return Ask(&LockService::Stub::Proclaim, request, [this](const v1::ProclaimResponse& response) {
    printer_.PrintProclaimed(Listed(options_.keys), response);
    return kExitOk;
  });
}

ExitStatus Commands::Observe() {
  namespace client = redlock::client;
  client::Client locks(ClientOptions());
  client::Result<client::Observer> observer = locks.observe(options_.key);
  if (!observer) {
    const Failure failure = Explain(observer.error());
    printer_.Print(failure);
    return failure.exit_status;
  }
  CancelOnSignal cancel([&observer] { observer->close(); });
  const ExitStatus ended = Follow(*observer);
  return cancel.Stop() ? kExitOk : ended;
}

ExitStatus Commands::Follow(redlock::client::Observer& observer) const {
  using std::chrono::steady_clock;
  namespace client = redlock::client;
  const auto begun = steady_clock::now();
  client::Error undecided;
  while (true) {
    std::optional<client::Duration> wait;
    if (options_.timeout) {
      const Millis left = *options_.timeout - Millis(steady_clock::now() - begun);
      wait = std::chrono::duration_cast<client::Duration>(std::max(left, Millis(0)));
    }
    const client::Result<client::KeyState> next = observer.next(wait);
    if (!next) {
      const bool time_over = next.error().reason == client::Reason::kDeadlineExceeded;
      if (time_over && !options_.once) return kExitOk;
      const bool explained = time_over && !undecided.message.empty();
      const Failure failure = Explain(explained ? undecided : next.error());
      if (next.error().reason != client::Reason::kCancelled) printer_.Print(failure);
      return failure.exit_status;
    }
    const client::KeyState& state = *next;
    printer_.Print(options_.key, state);
    undecided = state.error;
    if (options_.once && state.state != client::HolderState::kUndecided) return kExitOk;
  }
}

ExitStatus Commands::Inspect() {
  v1::InspectRequest request;
  request.set_key(options_.key);
  return Ask(&LockService::Stub::Inspect, request, [this](const v1::InspectResponse& response) {
    printer_.PrintInspected(options_.key, response);
    return response.undecided() ? kExitNoQuorum : kExitOk;
  });
}

ExitStatus Commands::Who() {
  v1::InspectRequest request;
  request.set_key(options_.key);
  std::vector<v1::InspectResponse> answers;
  const ExitStatus asked = AskEach([&](Daemon& one) {
    v1::InspectResponse response;
    const ExitStatus ended = AskOne(one, &LockService::Stub::Inspect, request, response);
    if (ended == kExitOk) answers.push_back(std::move(response));
    return ended;
  });
  if (answers.empty()) return asked;
  printer_.PrintWho(options_.key, answers);
  // Every daemon asks the same nodes, so one that can tell is enough.
  const bool undecided = std::ranges::all_of(answers, &v1::InspectResponse::undecided);
  return std::max(asked, undecided ? kExitNoQuorum : kExitOk);
}

ExitStatus Commands::ListNodeSet() {
  return Ask(&AdminService::Stub::GetNodeSet, v1::GetNodeSetRequest(),
             [this](const v1::GetNodeSetResponse& response) {
               printer_.Print(response);
               const v1::NodeSet& set = response.node_set();
               const auto up = std::count_if(
                   set.members().begin(), set.members().end(),
                   [](const auto& member) { return member.state() == v1::NODE_STATE_UP; });
               return !set.set_id().empty() && up >= set.quorum() ? kExitOk : kExitNoQuorum;
             });
}

ExitStatus Commands::ChangeNodeSet() {
  const v1::ChangeNodeSetRequest request = RequestFor(options_.change);
  std::optional<Millis> timeout = options_.timeout;
  if (timeout) timeout = daemon().Left(*timeout);
  return redlockctl::ChangeNodeSet(daemon(), request, timeout, printer_);
}

ExitStatus Commands::Health() {
  using grpc::health::v1::HealthCheckResponse;
  return Ask(&grpc::health::v1::Health::Stub::Check, grpc::health::v1::HealthCheckRequest(),
             [this](const HealthCheckResponse& response) {
               printer_.Print(response);
               const bool serves = response.status() == HealthCheckResponse::SERVING;
               return serves ? kExitOk : kExitNoQuorum;
             });
}

ExitStatus Commands::Leases() {
  return AskEach([this](Daemon& one) {
    v1::ListLeasesRequest request;
    request.set_page_size(kLeasesPerPage);
    while (true) {
      v1::ListLeasesResponse response;
      const ExitStatus ended = AskOne(one, &AdminService::Stub::ListLeases, request, response);
      if (ended != kExitOk) return ended;
      printer_.Print(response);
      if (response.next_page_token().empty()) return kExitOk;
      request.set_page_token(response.next_page_token());
    }
  });
}

ExitStatus Commands::ForceRelease() {
  v1::ForceReleaseRequest request;
  request.set_key(options_.key);
  request.set_why(options_.why);
  return Ask(&AdminService::Stub::ForceRelease, request,
             [this](const v1::ForceReleaseResponse& response) {
               printer_.Print(options_.key, response);
               return response.released() ? kExitOk : kExitNotHeld;
             });
}

ExitStatus Commands::LogLevel() {
  v1::SetLogLevelRequest request;
  request.set_level(options_.level);
  return Ask(&AdminService::Stub::SetLogLevel, request,
             [this](const v1::SetLogLevelResponse& response) {
               printer_.Print(options_.level, response);
               return kExitOk;
             });
}

ExitStatus Commands::Token() {
  const NewToken made = MakeToken(options_.identity);
  printer_.Print(made);
  return kExitOk;
}

ExitStatus Commands::Status() {
  return Ask(&AdminService::Stub::ListNodes, v1::ListNodesRequest(),
             [this](const v1::ListNodesResponse& response) {
               printer_.Print(response);
               const auto up = std::count_if(
                   response.nodes().begin(), response.nodes().end(),
                   [](const v1::Node& node) { return node.state() == v1::NODE_STATE_UP; });
               return up >= response.quorum() ? kExitOk : kExitNoQuorum;
             });
}

ExitStatus Commands::Watch() {
  v1::WatchRequest request;
  v1::WatchItem& item = *request.add_items();
  SetClaim(item);
  item.set_token(options_.held_token);
  Set(item.mutable_ttl(), options_.ttl);
  if (options_.interval) Set(item.mutable_interval(), *options_.interval);
  if (options_.max_lifetime) Set(request.mutable_max_lifetime(), *options_.max_lifetime);
  request.set_keep_watching_after_loss(options_.keep_watching);
  return Follow(&LockService::Stub::Watch, request, [](const v1::WatchResponse&) {});
}

ExitStatus Commands::Hold() {
  v1::HoldRequest request;
  SetClaim(request);
  Set(request.mutable_ttl(), options_.ttl);
  request.set_owner(options_.owner);
  SetPublished(request);
  if (!options_.token.empty()) request.set_token(options_.token);
  SetRetry(request);
  if (options_.interval) Set(request.mutable_interval(), *options_.interval);
  if (options_.max_lifetime) Set(request.mutable_max_lifetime(), *options_.max_lifetime);
  v1::Lease lease;
  const ExitStatus ended =
      Follow(&LockService::Stub::Hold, request, [&lease](const v1::HoldResponse& event) {
        if (event.has_lease()) lease = event.lease();
      });
  // The end of the stream does not release the lock.
  if (ended == kExitOk && !lease.token().empty()) ReleaseQuietly(lease);
  return ended;
}

void Commands::ReleaseQuietly(const v1::Lease& lease) {
  v1::ReleaseRequest request;
  SetKeys(request);
  request.set_token(lease.token());
  v1::ReleaseResponse response;
  grpc::ClientContext context;
  (void)daemon().CallIn(context, &LockService::Stub::Release, request, response, kReleaseTimeout);
}

redlock::client::Options Commands::ClientOptions() const {
  return {.endpoints = options_.servers,
          .ca_file = options_.tls_ca,
          .certificate_file = options_.tls_cert,
          .key_file = options_.tls_key,
          .token_file = options_.auth_token_file,
          .connect_timeout =
              std::chrono::duration_cast<std::chrono::milliseconds>(options_.connect_timeout),
          .owner = options_.owner,  // no label unless the user gives one
          .wait_for_daemon = false};
}

Failure Commands::WithCause(Failure failure) {
  v1::InspectResponse response;
  const grpc::Status status = InspectKeys(response, kInspectTimeout);
  if (!status.ok()) {
    const Failure why = daemon().Explain(status);
    if (why.exit_status != kExitUnreachable) return failure;  // for example, it is not permitted
    failure.message += ": " + why.message;
    failure.exit_status = kExitUnreachable;
  } else if (response.undecided()) {
    failure.message += ": too few Redis nodes answer";
    failure.exit_status = kExitNoQuorum;
  } else if (response.held()) {
    failure.message += ": " + HeldBy(response);
  }
  return failure;
}

ExitStatus Commands::Run() {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  RunOptions run{.keys = options_.keys,
                 .shared = options_.shared,
                 .max_holders = options_.max_holders,
                 .acquire = {.ttl = duration_cast<milliseconds>(options_.ttl),
                             .token = options_.token,
                             .owner = options_.owner,
                             .value = options_.value},
                 .command = options_.command,
                 .grace = duration_cast<milliseconds>(options_.grace),
                 .max_lifetime = {}};
  if (const auto wait = Wait()) run.acquire.wait = duration_cast<milliseconds>(*wait);
  if (options_.single_try) run.acquire.wait = milliseconds(0);
  if (options_.max_lifetime) run.max_lifetime = duration_cast<milliseconds>(*options_.max_lifetime);
  if (options_.lock_delay) {
    run.acquire.lock_delay = duration_cast<milliseconds>(*options_.lock_delay);
  }
  if (options_.keep_for) run.keep_for = duration_cast<milliseconds>(*options_.keep_for);
  if (options_.conflict_exit_code) run.not_acquired_status = *options_.conflict_exit_code;
  if (options_.shell_command) run.command = {"/bin/sh", "-c", *options_.shell_command};
  const auto keep = [this](const KeeperOptions& options) {
    redlock::client::Client client(ClientOptions());
    return KeepAndRun(client, options, printer_, [this](const redlock::client::Error& error) {
      const bool timed_out = error.reason == redlock::client::Reason::kDeadlineExceeded;
      return timed_out && !NamesHolder(error) ? WithCause(Explain(error)) : Explain(error);
    });
  };
  return static_cast<ExitStatus>(RunUnderLock(run, keep, printer_));
}

ExitStatus Commands::Bench() {
  redlock::client::Client client(ClientOptions());
  return redlockctl::Bench(client, options_.bench, printer_);
}

ExitStatus Commands::Debug() {
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  std::array<char, sizeof "2026-01-01T00:00:00Z"> text{};
  (void)std::strftime(text.data(), text.size(), "%FT%TZ", gmtime_r(&now, &parts));
  const std::string time(text.data());
  const DebugOptions& debug = options_.debug;
  DebugBundle bundle(debug.redact_keys, time);
  const ExitStatus asked = AskEach([&](Daemon& one) {
    Collect(bundle, one, debug, options_.timeout ? one.Left(*options_.timeout) : kCallTimeout);
    return kExitOk;
  });
  for (const std::string& address : debug.metrics) {
    CollectStatusPage(bundle, address, options_.timeout.value_or(kCallTimeout));
  }
  Write(bundle, debug, time, printer_);
  return asked;
}

}  // namespace redlockctl
