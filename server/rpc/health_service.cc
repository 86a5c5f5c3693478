#include "server/rpc/health_service.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "proto/grpc/health/v1/health.pb.h"
#include "server/rpc/simple_call.h"
#include "server/rpc/wire.h"

namespace redlock::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

HealthCheckResponse::ServingStatus StatusOf(bool serving) {
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

}  // namespace

// Sends the status, and then each change of it. A client that lags behind gets only the last
// change.
class HealthService::Watch final : public StreamCall {
 public:
  Watch(std::unique_ptr<AcceptedCall> accepted, HealthService& health)
      : StreamCall(std::move(accepted)), health_(health) {}

  void Tell(bool serving) {
    if (known_) Send(StatusOf(serving));
  }

 private:
  void Begin() override {
    place_.emplace(health_.quota_, context().peer());
    if (place_->taken()) {
      StartRead();
    } else {
      Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many streams without credentials"});
    }
  }
  void OnEnded() override { place_.reset(); }

  void OnRead(const grpc::ByteBuffer& message) override {
    HealthCheckRequest request;
    if (!Parse(message, request)) {
      Finish({grpc::StatusCode::INVALID_ARGUMENT, "the request is not a valid message"});
      return;
    }
    known_ = health_.IsKnown(request.service());
    const MutexLock lock(health_.mutex_);
    health_.watches_.insert(this);
    Send(known_ ? StatusOf(health_.Serving()) : HealthCheckResponse::SERVICE_UNKNOWN);
  }
  void OnReadsEnded() override {
    Finish({grpc::StatusCode::INVALID_ARGUMENT, "the request is missing"});
  }
  void OnWritten(bool ok) override {
    const MutexLock lock(health_.mutex_);
    writing_ = false;
    if (ok && next_) Send(*std::exchange(next_, std::nullopt));
  }
  void OnCancelled() override {
    {
      const MutexLock lock(health_.mutex_);
      if (health_.watches_.erase(this) == 0) return;  // already finished
    }
    Finish(grpc::Status::CANCELLED);
  }

  void Send(HealthCheckResponse::ServingStatus status) {  // under the mutex
    if (writing_) {
      next_ = status;
      return;
    }
    writing_ = true;
    HealthCheckResponse response;
    response.set_status(status);
    StartWrite(Serialize(response));
  }

  HealthService& health_;
  std::optional<OpenQuota::Place> place_;
  bool known_ = false;
  bool writing_ = false;
  std::optional<HealthCheckResponse::ServingStatus> next_;
};

HealthService::HealthService(std::vector<std::string> services, std::size_t shards,
                             OpenQuota& quota)
    : services_(std::move(services)), quota_(quota), quorums_(shards, false) {}

HealthService::~HealthService() = default;

void HealthService::AddTo(Routes& routes) {
  using Check = SimpleCall<HealthCheckRequest, HealthCheckResponse>;
  routes["/grpc.health.v1.Health/Check"] = Check::Route(
      [](const auto&) { return Admission(); },
      [this](const auto& /*context*/, const CallLog& /*log*/, const HealthCheckRequest& request,
             const Check::Answer& answer) {
        HealthCheckResponse response;
        if (!IsKnown(request.service())) {
          answer({grpc::StatusCode::NOT_FOUND, "unknown service " + Excerpt(request.service())},
                 response);
          return;
        }
        const MutexLock lock(mutex_);
        response.set_status(StatusOf(Serving()));
        answer(grpc::Status::OK, response);
      });
  routes["/grpc.health.v1.Health/Watch"] = [this](std::unique_ptr<AcceptedCall> accepted) {
    return std::make_shared<Watch>(std::move(accepted), *this);
  };
}

void HealthService::SetQuorum(std::size_t shard, bool quorum) {
  const MutexLock lock(mutex_);
  quorums_[shard] = quorum;
  SendIfChanged();
}

void HealthService::Drain() {
  const MutexLock lock(mutex_);
  draining_ = true;
  SendIfChanged();
}

bool HealthService::Serving() const {
  return !draining_ && std::ranges::all_of(quorums_, std::identity());
}

void HealthService::SendIfChanged() {
  if (std::exchange(sent_, Serving()) == Serving()) return;
  for (Watch* const watch : watches_) watch->Tell(Serving());
}

bool HealthService::IsKnown(const std::string& service) const {
  return service.empty() ||
         std::find(services_.begin(), services_.end(), service) != services_.end();
}

}  // namespace redlock::rpc
