#include "client/cpp/include/redlock/client.h"

#include <utility>

#include "client/cpp/src/driver.h"

namespace redlock::client {
namespace {

Result<void> Await(const std::function<void(Driver::CallDone)>& start) {
  const auto answer = std::make_shared<std::promise<Result<void>>>();
  auto future = answer->get_future();
  start([answer](Result<void> result) { answer->set_value(std::move(result)); });
  return future.get();
}

}  // namespace

Lock::Lock(std::shared_ptr<Driver> driver, std::shared_ptr<HeldLease> lease)
    : driver_(std::move(driver)), lease_(std::move(lease)) {}

Lock::Lock(Lock&&) noexcept = default;

Lock& Lock::operator=(Lock&& other) noexcept {
  if (this == &other) return *this;
  Drop();
  driver_ = std::move(other.driver_);
  lease_ = std::move(other.lease_);
  return *this;
}

Lock::~Lock() { Drop(); }

void Lock::Drop() {
  if (lease_) driver_->Release(*lease_, nullptr);
  lease_.reset();
}

const std::string& Lock::key() const { return lease_->lease->key(); }
const std::string& Lock::token() const { return lease_->lease->token(); }
std::uint64_t Lock::fencing_token() const { return driver_->FencingToken(*lease_); }
Duration Lock::validity() const { return driver_->Validity(*lease_); }
Duration Lock::time_to_stop() const { return driver_->TimeToStop(*lease_); }
std::stop_token Lock::lost() const { return lease_->lost.get_token(); }
std::optional<Error> Lock::loss() const { return driver_->Loss(*lease_); }

Result<void> Lock::release() {
  return Await([this](Driver::CallDone done) { driver_->Release(*lease_, std::move(done)); });
}

Result<void> Lock::extend(Duration ttl) {
  return Await([&](Driver::CallDone done) { driver_->Extend(*lease_, ttl, std::move(done)); });
}

Client::Client(Options options) : driver_(Driver::Start(options)) {}

Client::~Client() { driver_->Close(); }

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
  driver_->Acquire(
      key, std::move(options),
      [driver = driver_, done = std::move(done)](Result<std::shared_ptr<HeldLease>> lease) {
        if (lease) {
          done(Lock(driver, *lease));
        } else {
          done(lease.error());
        }
      });
}

}  // namespace redlock::client
