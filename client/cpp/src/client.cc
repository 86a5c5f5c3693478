#include "redlock/client.h"

#include <utility>

#include "client/cpp/core/keys.h"
#include "client/cpp/src/driver.h"
#include "client/cpp/src/future.h"

namespace redlock::client {
namespace {

AcquireCommand CommandOf(const std::string& key, AcquireOptions& options) {
  return {.key = key,
          .ttl = options.ttl,
          .wait = options.wait,
          .token = std::move(options.token),
          .owner = std::move(options.owner),
          .margin = options.margin,
          .retry = options.retry,
          .value = std::move(options.value),
          .lock_delay = options.lock_delay,
          .keep_for = options.keep_for};
}

constexpr RetryPolicy kOnce{.max_retries = 0};

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
  if (lease_) driver_->Release(*lease_, lease_->lease->keep_for(), nullptr);
  lease_.reset();
}

const std::string& Lock::key() const { return lease_->lease->key(); }
std::vector<std::string> Lock::keys() const { return NamesOf(key()); }
bool Lock::shared() const { return IsShared(key()); }
int Lock::max_holders() const { return LimitOf(key()); }
int Lock::slot() const { return lease_->lease->slot(); }
const std::string& Lock::token() const { return lease_->lease->token(); }
std::uint64_t Lock::fencing_token() const { return driver_->FencingToken(*lease_); }
Duration Lock::validity() const { return driver_->Validity(*lease_); }
Duration Lock::time_to_stop() const { return driver_->TimeToStop(*lease_); }
std::stop_token Lock::lost() const { return lease_->lost.get_token(); }
std::optional<Error> Lock::loss() const { return driver_->Loss(*lease_); }

Result<void> Lock::release(const ReleaseOptions& options) {
  return Future<void>(
             [&](auto done) { driver_->Release(*lease_, options.keep_for, std::move(done)); })
      .get();
}

Result<void> Lock::proclaim(const std::string& value) {
  return Future<void>([&](auto done) { driver_->Proclaim(*lease_, value, std::move(done)); }).get();
}

Result<Lock> Lock::downgrade() {
  auto share = Future<std::shared_ptr<HeldLease>>([this](auto done) {
                 driver_->Downgrade(*lease_, std::move(done));
               }).get();
  if (!share) return share.error();
  return Lock(driver_, *std::move(share));
}

Result<void> Lock::extend(Duration ttl) {
  return Future<void>(
             [&](auto done) { driver_->Extend(*lease_, ttl, std::nullopt, std::move(done)); })
      .get();
}

Result<void> Lock::try_extend(Duration ttl) {
  return Future<void>([&](auto done) { driver_->Extend(*lease_, ttl, kOnce, std::move(done)); })
      .get();
}

std::vector<std::string> Lease::keys() const { return NamesOf(key); }
bool Lease::shared() const { return IsShared(key); }
int Lease::max_holders() const { return LimitOf(key); }
int Lease::slot() const { return SlotOf(key); }

Duration Lease::validity() const {
  const TimePoint now = SystemClock().Now();
  const TimePoint until{valid_until};
  return until <= now ? Duration{} : until - now;
}

std::vector<std::string> WatchEvent::keys() const {
  return key.empty() ? std::vector<std::string>{} : NamesOf(key);
}

Watch::Watch(std::shared_ptr<Driver> driver, std::shared_ptr<WatchState> state)
    : driver_(std::move(driver)), state_(std::move(state)) {}

Watch::Watch(Watch&&) noexcept = default;

Watch& Watch::operator=(Watch&& other) noexcept {
  if (this == &other) return *this;
  close();
  driver_ = std::move(other.driver_);
  state_ = std::move(other.state_);
  return *this;
}

Watch::~Watch() { close(); }

void Watch::close() {
  if (state_) driver_->CloseWatch(*state_);
}

Observer::Observer(std::shared_ptr<Driver> driver, std::uint64_t id)
    : driver_(std::move(driver)), id_(id) {}

Observer::Observer(Observer&&) noexcept = default;

Observer& Observer::operator=(Observer&& other) noexcept {
  if (this == &other) return *this;
  Drop();
  driver_ = std::move(other.driver_);
  id_ = other.id_;
  return *this;
}

Observer::~Observer() { Drop(); }

void Observer::Drop() {
  if (driver_) driver_->ForgetObserver(id_);
  driver_.reset();
}

Result<KeyState> Observer::next(std::optional<Duration> wait) {
  return driver_->NextState(id_, wait);
}

void Observer::close() { driver_->CloseObserver(id_); }

Client::Client(Options options) : driver_(Driver::Start(options)) {}

Client::~Client() { driver_->Close(); }

// --- Locks that the client keeps alive

Result<Lock> Client::acquire(const std::string& key, AcquireOptions options) {
  return acquire_async(key, std::move(options)).get();
}

std::future<Result<Lock>> Client::acquire_async(const std::string& key, AcquireOptions options) {
  return Future<Lock>([&](auto done) { acquire_async(key, std::move(options), std::move(done)); });
}

void Client::acquire_async(const std::string& key, AcquireOptions options, LockDone done) {
  Start(driver_, CommandOf(key, options), options, std::move(done));
}

Result<Lock> Client::try_acquire(const std::string& key, AcquireOptions options) {
  options.wait = Duration{};
  return acquire(key, std::move(options));
}

Result<Lock> Client::acquire_or_extend(const std::string& key, const std::string& token,
                                       AcquireOptions options) {
  return acquire_or_extend_async(key, token, std::move(options)).get();
}

std::future<Result<Lock>> Client::acquire_or_extend_async(const std::string& key,
                                                          const std::string& token,
                                                          AcquireOptions options) {
  return Future<Lock>(
      [&](auto done) { acquire_or_extend_async(key, token, std::move(options), std::move(done)); });
}

void Client::acquire_or_extend_async(const std::string& key, const std::string& token,
                                     AcquireOptions options, LockDone done) {
  AcquireCommand command = CommandOf(key, options);
  command.token = token;
  command.way = Way::kAcquireOrExtend;
  Start(driver_, std::move(command), options, std::move(done));
}

Result<Lock> Client::adopt(const std::string& key, const std::string& token, AdoptOptions options) {
  return adopt_async(key, token, std::move(options)).get();
}

std::future<Result<Lock>> Client::adopt_async(const std::string& key, const std::string& token,
                                              AdoptOptions options) {
  return Future<Lock>(
      [&](auto done) { adopt_async(key, token, std::move(options), std::move(done)); });
}

void Client::adopt_async(const std::string& key, const std::string& token, AdoptOptions options,
                         LockDone done) {
  AcquireOptions acquire{.ttl = options.ttl,
                         .wait = options.wait,
                         .stop = std::move(options.stop),
                         .token = token,
                         .margin = options.margin};
  AcquireCommand command = CommandOf(key, acquire);
  command.way = Way::kAdopt;
  Start(driver_, std::move(command), acquire, std::move(done));
}

void Client::Start(const std::shared_ptr<Driver>& driver, AcquireCommand command,
                   AcquireOptions& options, LockDone done) {
  driver->Acquire(std::move(command), options.stop, std::move(options.queued),
                  [driver, done = std::move(done)](Result<std::shared_ptr<HeldLease>> lease) {
                    if (lease) {
                      done(Lock(driver, *lease));
                    } else {
                      done(lease.error());
                    }
                  });
}

// --- Locks by key and token

Result<Lease> Client::acquire_detached(const std::string& key, DetachedOptions options) {
  return acquire_detached_async(key, std::move(options)).get();
}

std::future<Result<Lease>> Client::acquire_detached_async(const std::string& key,
                                                          DetachedOptions options) {
  return Future<Lease>(
      [&](auto done) { acquire_detached_async(key, std::move(options), std::move(done)); });
}

void Client::acquire_detached_async(const std::string& key, DetachedOptions options,
                                    LeaseDone done) {
  driver_->Call({.kind = UnaryCommand::Kind::kAcquire,
                 .key = key,
                 .token = std::move(options.token),
                 .owner = std::move(options.owner),
                 .ttl = options.ttl,
                 .wait = options.wait,
                 .retry = options.retry,
                 .value = std::move(options.value),
                 .lock_delay = options.lock_delay},
                options.stop, std::move(done));
}

Result<Lease> Client::extend(const std::string& key, const std::string& token, Duration ttl,
                             Duration timeout, std::optional<RetryPolicy> retry) {
  return Future<Lease>([&](auto done) {
           driver_->Call({.kind = UnaryCommand::Kind::kExtend,
                          .key = key,
                          .token = token,
                          .ttl = ttl,
                          .wait = timeout,
                          .retry = std::move(retry)},
                         {}, std::move(done));
         })
      .get();
}

Result<Lease> Client::try_extend(const std::string& key, const std::string& token, Duration ttl,
                                 Duration timeout) {
  return extend(key, token, ttl, timeout, kOnce);
}

Result<void> Client::release(const std::string& key, const std::string& token, Duration timeout,
                             const ReleaseOptions& options) {
  return Future<void>([&](auto done) {
           driver_->Call({.kind = UnaryCommand::Kind::kRelease,
                          .key = key,
                          .token = token,
                          .wait = timeout,
                          .keep_for = options.keep_for},
                         std::move(done));
         })
      .get();
}

Result<void> Client::proclaim(const std::string& key, const std::string& token,
                              const std::string& value, Duration timeout) {
  return Future<void>([&](auto done) {
           driver_->Call({.kind = UnaryCommand::Kind::kProclaim,
                          .key = key,
                          .token = token,
                          .wait = timeout,
                          .value = value},
                         std::move(done));
         })
      .get();
}

Result<Observer> Client::observe(const std::string& key) {
  const auto id = driver_->StartObserver(key);
  if (!id) return id.error();
  return Observer(driver_, *id);
}

Result<Watch> Client::watch(std::vector<WatchItem> items,
                            std::function<void(const WatchEvent& event)> on_event,
                            WatchOptions options) {
  auto state = driver_->StartWatch(std::move(items), std::move(on_event), options);
  if (!state) return state.error();
  return Watch(driver_, *std::move(state));
}

}  // namespace redlock::client
