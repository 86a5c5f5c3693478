#include "client/cpp/include/redlock/client.h"

#include <utility>

#include "client/cpp/src/core.h"

namespace redlock::client {
namespace {

Result<void> Await(const std::function<void(Core::Done)>& start) {
  std::promise<Result<void>> answer;
  start([&answer](Result<void> result) { answer.set_value(std::move(result)); });
  return answer.get_future().get();
}

}  // namespace

Lock::Lock(std::shared_ptr<Core> core, std::shared_ptr<HeldLease> lease)
    : core_(std::move(core)), lease_(std::move(lease)) {}

Lock::Lock(Lock&&) noexcept = default;

Lock& Lock::operator=(Lock&& other) noexcept {
  if (this == &other) return *this;
  Drop();
  core_ = std::move(other.core_);
  lease_ = std::move(other.lease_);
  return *this;
}

Lock::~Lock() { Drop(); }

void Lock::Drop() {
  if (lease_) core_->Release(lease_, [](const Result<void>&) {});
  lease_.reset();
}

const std::string& Lock::key() const { return lease_->key; }
const std::string& Lock::token() const { return lease_->token; }
std::uint64_t Lock::fencing_token() const { return lease_->fencing_token; }
Duration Lock::validity() const { return core_->Validity(*lease_); }
std::stop_token Lock::lost() const { return lease_->lost.get_token(); }
std::optional<Error> Lock::loss() const { return core_->Loss(*lease_); }

Result<void> Lock::release() {
  return Await([this](Core::Done done) { core_->Release(lease_, std::move(done)); });
}

Result<void> Lock::extend(Duration ttl) {
  return Await([&](Core::Done done) { core_->Extend(lease_, ttl, std::move(done)); });
}

Client::Client(Options options) : core_(Core::Start(options)) {}

Client::~Client() { core_->Close(); }

Result<Lock> Client::acquire(const std::string& key, AcquireOptions options) {
  return acquire_async(key, std::move(options)).get();
}

std::future<Result<Lock>> Client::acquire_async(const std::string& key, AcquireOptions options) {
  const auto answer = std::make_shared<std::promise<Result<Lock>>>();
  auto future = answer->get_future();
  acquire_async(key, std::move(options),
                [answer](Result<Lock> lock) { answer->set_value(std::move(lock)); });
  return future;
}

void Client::acquire_async(const std::string& key, AcquireOptions options,
                           std::function<void(Result<Lock>)> done) {
  core_->Acquire(key, std::move(options),
                 [core = core_, done = std::move(done)](Result<std::shared_ptr<HeldLease>> lease) {
                   if (lease) {
                     done(Lock(core, *lease));
                   } else {
                     done(lease.error());
                   }
                 });
}

}  // namespace redlock::client
