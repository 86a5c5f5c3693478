#include "client/redlockctl/daemon.h"

#include <algorithm>
#include <utility>

#include "client/cpp/core/endpoint.h"
#include "client/cpp/src/bearer_token.h"
#include "client/cpp/src/channel.h"
#include "client/cpp/src/diagnosis.h"

namespace redlockctl {
namespace {

// gRPC ends an attempt itself after the connect timeout, and then knows the cause.
constexpr Millis kSlack(50);
// For a call on a channel that has failed, which gRPC does not send.
constexpr Millis kFailingCall(100);

auto FromNow(Millis time) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::microseconds>(time);
}

std::string TokenOf(const redlock::client::Options& options) {
  return options.token_file.empty() ? std::string()
                                    : redlock::client::ReadBearerToken(options.token_file);
}

}  // namespace

Daemon::Daemon(redlock::client::Options options, std::optional<Millis> limit)
    : options_(std::move(options)), auth_token_(TokenOf(options_)), limit_(limit) {
  for (const std::string& server : options_.endpoints) {
    server_ = server;
    channel_ = redlock::client::OpenChannel(server, options_);
    if (server == options_.endpoints.back()) break;
    if (Connect()) break;
    failures_ += server + ": " + Cause() + "; ";
  }
  stubs_ = {redlock::v1::LockService::NewStub(channel_),
            redlock::v1::AdminService::NewStub(channel_),
            grpc::health::v1::Health::NewStub(channel_)};
}

bool Daemon::Connect() {
  // gRPC tries the addresses of a name one after the other.
  const int addresses = redlock::client::HostName(server_).empty() ? 1 : 2;
  const Millis patience = Millis(options_.connect_timeout) * addresses + kSlack;
  const auto deadline = FromNow(limit_ ? std::min(Left(*limit_), patience) : patience);
  while (true) {
    const grpc_connectivity_state state = channel_->GetState(true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE) return false;
    if (!channel_->WaitForStateChange(state, deadline)) return false;
  }
}

std::string Daemon::Cause() const {
  grpc::ClientContext context;
  SetDeadline(context, kFailingCall);
  grpc::health::v1::HealthCheckResponse response;
  return Cause(grpc::health::v1::Health::NewStub(channel_)->Check(
      &context, grpc::health::v1::HealthCheckRequest(), &response));
}

std::string Daemon::Cause(const grpc::Status& status) const {
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return "no answer in time";
  Millis patience = redlock::client::kDiagnosisPatience;
  if (limit_) patience = std::min(patience, Left(*limit_));
  return redlock::client::Diagnose(status, server_, options_,
                                   std::chrono::duration_cast<std::chrono::milliseconds>(patience));
}

Millis Daemon::Left(Millis time) const {
  return std::max(time - Millis(std::chrono::steady_clock::now() - begun_), Millis(0));
}

Failure Daemon::Explain(const grpc::Status& status) const {
  Failure failure = redlockctl::Explain(status);
  const bool timed_out = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED &&
                         channel_->GetState(false) != GRPC_CHANNEL_READY;
  if (timed_out || (failure.reason.empty() && failure.exit_status == kExitUnreachable)) {
    failure.reason.clear();
    failure.exit_status = kExitUnreachable;
    failure.message = "no redlockd answers: " + failures_ + server_ + ": " + Cause(status);
  }
  return failure;
}

void Daemon::Identify(grpc::ClientContext& context) const {
  if (!auth_token_.empty()) context.AddMetadata("authorization", "Bearer " + auth_token_);
}

void Daemon::SetDeadline(grpc::ClientContext& context, Millis timeout) {
  context.set_deadline(FromNow(timeout));
}

}  // namespace redlockctl
