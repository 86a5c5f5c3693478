#include "tests/bench/lockers.h"

#include <grpcpp/create_channel.h>

#include <iostream>
#include <thread>

namespace redlock::bench {

std::unique_ptr<v1::LockService::Stub> ConnectTo(const std::string& address) {
  grpc::ChannelArguments own;
  own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return v1::LockService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), own));
}

v1::AcquireRequest AcquireContended() {
  v1::AcquireRequest request;
  request.set_key(kContendedKey);
  request.mutable_ttl()->set_seconds(kContendedTtl.count() / 1000);
  return request;
}

ServiceLocker::ServiceLocker(const testing::Daemon& daemon, std::size_t number)
    : stub_(ConnectTo(daemon.address())), number_(number) {}

bool ServiceLocker::Acquire(const std::atomic<bool>& /*stop*/) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kContendedTtl);
  v1::AcquireResponse response;
  if (!stub_->Acquire(&context, AcquireContended(), &response).ok()) return false;
  token_ = response.lease().token();
  return true;
}

void ServiceLocker::Release() {
  grpc::ClientContext context;
  v1::ReleaseRequest request;
  request.set_key(kContendedKey);
  request.set_token(token_);
  v1::ReleaseResponse response;
  const grpc::Status status = stub_->Release(&context, request, &response);
  if (!status.ok()) std::cerr << "release: " << status.error_message() << "\n";
}

PollingLocker::PollingLocker(const std::vector<std::uint16_t>& ports, double least_ms,
                             double most_ms)
    : client_(ports), pause_ms_(least_ms, most_ms) {}

bool PollingLocker::Acquire(const std::atomic<bool>& stop) {
  while (!stop) {
    if (auto token = client_.Acquire(kContendedKey, kContendedTtl)) {
      token_ = *token;
      return true;
    }
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(pause_ms_(random_)));
  }
  return false;
}

void PollingLocker::Release() { client_.Release(kContendedKey, token_); }

}  // namespace redlock::bench
