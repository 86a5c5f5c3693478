// The two ways in which a worker acquires a contended lock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "tests/bench/documented_client.h"
#include "tests/support/daemon.h"

namespace redlock::bench {

// The key for which all workers contend, and its TTL.
inline constexpr const char* kContendedKey = "contended";
inline constexpr std::chrono::milliseconds kContendedTtl{10'000};

// Returns a stub with its own connection.
[[nodiscard]] std::unique_ptr<v1::LockService::Stub> ConnectTo(const std::string& address);
// A request that acquires the key through the service and waits.
[[nodiscard]] v1::AcquireRequest AcquireContended();

// The lock client of one worker. Acquire waits until it has the lock, or until `stop`.
class Locker {
 public:
  virtual ~Locker() = default;
  virtual bool Acquire(const std::atomic<bool>& stop) = 0;
  virtual void Release() = 0;
  // The index of the daemon that it uses.
  [[nodiscard]] virtual std::size_t daemon() const { return 0; }
};

// Makes unary calls to a daemon.
class ServiceLocker final : public Locker {
 public:
  ServiceLocker(const testing::Daemon& daemon, std::size_t number);
  bool Acquire(const std::atomic<bool>& stop) override;
  void Release() override;
  [[nodiscard]] std::size_t daemon() const override { return number_; }

 private:
  const std::unique_ptr<v1::LockService::Stub> stub_;
  const std::size_t number_;
  std::string token_;
};

// Follows the Redis documentation: tries, and sleeps for a random time between the two bounds after
// a failure.
class PollingLocker final : public Locker {
 public:
  PollingLocker(const std::vector<std::uint16_t>& ports, double least_ms, double most_ms);
  bool Acquire(const std::atomic<bool>& stop) override;
  void Release() override;

 private:
  DocumentedClient client_;
  std::uniform_real_distribution<double> pause_ms_;
  std::mt19937_64 random_{std::random_device{}()};
  std::string token_;
};

}  // namespace redlock::bench
